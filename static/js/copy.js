// Copy buttons: exactly the text of the button's data-copy.
function announce(words) {
  const place = document.querySelector("dialog[open] [data-announce]") || document.getElementById("announce");
  if (place) place.textContent = words;
}

async function copy(text) {
  if (navigator.clipboard) {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* not allowed here */ }
  }
  // Over plain HTTP the browser offers no clipboard; a selected text area still works.
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  const holder = document.querySelector("dialog[open]") || document.body;
  holder.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const done = await copy(button.dataset.copy);
  button.focus();
  button.classList.toggle("copied", done);
  announce(done ? "Copied" : "This browser did not allow copying");
  setTimeout(() => button.classList.remove("copied"), 1500);
});
