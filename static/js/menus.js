// Menus are <details>: they work without this. It closes them on Escape and on a click elsewhere,
// and lets toasts be dismissed.
const open = () => document.querySelectorAll("details[data-menu][open]");

document.addEventListener("click", (event) => {
  for (const menu of open()) {
    if (!menu.contains(event.target) || event.target.closest("a, button")) {
      // A submit button inside needs its form until the click is through.
      if (!event.target.closest("[data-theme-choice]")) setTimeout(() => { menu.open = false; });
    }
  }
  event.target.closest("[data-toast-close]")?.closest("[data-toast]").remove();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const menu of open()) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  const search = document.getElementById("search");
  if (event.key === "/" && search && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    search.focus();
  }
});

for (const toast of document.querySelectorAll("[data-toast]")) {
  // Errors stay until they are dismissed.
  if (!toast.classList.contains("toast-error")) setTimeout(() => toast.remove(), 8000);
}
