// The page of a link: posts the secret that stands behind the # of its address, and goes on to the console.
const form = document.getElementById("shared-form");
const secret = location.hash.slice(1);
history.replaceState(null, "", location.pathname); // neither the address bar nor the history keeps it

function say(sentence) { document.getElementById("shared-said").textContent = sentence; }

async function enter() {
  if (!secret) return say("This link is not complete. Copy all of it.");
  const fields = new FormData(form);
  fields.set("secret", secret);
  try {
    const answer = await fetch(form.action, { method: "POST", body: fields, redirect: "error" });
    const body = await answer.json();
    if (answer.ok) location.replace(body.url);
    else say(body.error.message);
  } catch {
    say("The panel does not answer. Open the link again in a while.");
  }
}

enter();
