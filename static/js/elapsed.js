// Keeps times current: "seen 3 s ago", and how long something has been going on.
const plural = (n, unit) => `${n} ${unit}${n === 1 ? "" : "s"}`;

function ago(seconds) {
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${plural(Math.floor(seconds / 3600), "hour")} ago`;
  return `${plural(Math.floor(seconds / 86400), "day")} ago`;
}

function elapsed(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

// The server's clock is the measure: its Date header on the fetched part corrects ours.
let skew = 0;
document.addEventListener("htmx:afterRequest", (event) => {
  const date = Date.parse(event.detail.xhr.getResponseHeader("Date") || "");
  if (date && Math.abs(date - Date.now()) > 5000) skew = date - Date.now();
});

export function tick(root = document) {
  const now = Date.now() + skew;
  for (const time of root.querySelectorAll("time[data-time]")) {
    const then = Date.parse(time.dateTime);
    const seconds = (now - then) / 1000;
    const mode = time.dataset.time;
    const words = mode === "elapsed" ? elapsed(seconds) : mode === "at" ? clock.format(then) : ago(seconds);
    if (time.textContent !== words) time.textContent = words;
  }
}

tick();
setInterval(tick, 1000);
document.addEventListener("htmx:afterSwap", () => tick());
