// Links that let somebody without an account watch: making, copying and revoking them.
const byId = (id) => document.getElementById(id);

export function start({ form, copy }) {
  const { url } = byId("share").dataset;

  function say(sentence) { byId("share-said").textContent = sentence; }

  // The answer's body; throws a sentence that says why there is none.
  async function post(address, extra = {}) {
    const fields = new FormData(form);
    for (const [name, value] of Object.entries(extra)) fields.set(name, value);
    let answer;
    try {
      answer = await fetch(address, { method: "POST", body: fields, redirect: "error" });
    } catch {
      throw new Error("The panel does not answer.");
    }
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(body.error?.message ?? "That was refused.");
    return body;
  }

  async function refresh() {
    const answer = await fetch(url, { redirect: "error" }).catch(() => null);
    if (answer?.ok) byId("share-list").innerHTML = await answer.text(); // a template of ours, escaped there
    else say("The panel does not answer.");
  }

  byId("share-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    say("");
    try {
      const { secret } = await post(url, { kind: byId("share-kind").value, life: byId("share-life").value });
      byId("share-link").value = `${location.origin}${byId("share").dataset.entrance}#${secret}`;
      byId("share-new").hidden = false;
      byId("share-link").select();
    } catch (error) {
      say(error.message);
    }
    refresh();
  });
  byId("share-copy").addEventListener("click", async () => {
    say(await copy(byId("share-link").value) ? "Copied." : "The browser did not take it into the clipboard.");
  });
  byId("share-list").addEventListener("click", async ({ target }) => {
    const button = target.closest("button[data-url]");
    if (!button) return;
    try {
      await post(button.dataset.url);
      say("Revoked. Who watched by it is put out.");
    } catch (error) {
      say(error.message);
    }
    refresh();
  });
  byId("share").addEventListener("close", () => {
    byId("share-link").value = "";
    byId("share-new").hidden = true;
    say("");
  });
  return {
    show() {
      byId("share").showModal();
      refresh();
    },
  };
}
