// Links marked data-dialog open their page in a dialog; without this script they are pages of their own.
const dialog = document.getElementById("dialog");
const headers = { "X-Dialog": "1" };
let opener = null;

function fill(html) {
  // The answer comes from our own pages and is escaped there; scripts in it would not run anyway.
  dialog.innerHTML = html + '<div class="visually-hidden" role="status" aria-live="polite" data-announce></div>';
  if (!dialog.open) dialog.showModal();
  const wrong = dialog.querySelector(".is-invalid");
  (wrong || dialog.querySelector("[autofocus], input:not([type=hidden]):not([type=radio]), textarea, select, .btn-primary, .btn-danger"))?.focus?.();
}

async function show(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { headers, credentials: "same-origin", redirect: "error", ...options });
  } catch {
    location.reload(); // signed out, or the panel is away: let the browser say so
    return;
  }
  const go = response.headers.get("X-Location");
  if (go) { location.assign(go); return; }
  if (response.status !== 200 && response.status !== 422) { location.assign(url); return; }
  fill(await response.text());
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-dialog]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    opener = link.id;
    show(link.href);
    return;
  }
  const asked = event.target.closest("button[data-dialog-post]");
  if (asked) {
    event.preventDefault();
    opener = asked.id;
    show(asked.formAction, { method: "POST", body: new FormData(asked.form) });
    return;
  }
  if (event.target.closest("[data-dialog-close]") && dialog.open) {
    event.preventDefault();
    dialog.close();
  } else if (event.target === dialog) {
    dialog.close(); // a click on what is behind it
  }
});

dialog?.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  if (form.dataset.sent) return;
  form.dataset.sent = "1";
  for (const button of form.querySelectorAll("[type=submit]")) button.disabled = true;
  show(form.action, { method: "POST", body: new FormData(form) });
});

dialog?.addEventListener("close", () => {
  dialog.replaceChildren(); // a secret does not stay in the page
  document.getElementById(opener)?.focus();
});
