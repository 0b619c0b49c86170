// Keeps a part of the page current. A websocket says that a server changed; the part is fetched
// again as HTML. While the socket is down, it is fetched every few seconds.
const POLL = 5000; // while there is no socket
const CHECK = 10000; // with one: when it was last seen, and what a poke might have missed
const find = () => document.querySelector("[data-live]"); // the filter of the list puts another one in its place
const mark = document.getElementById("live-mark");
let tries = 0;
let waiting = 0;
let last = Date.now();

function say(state, words) {
  if (!mark || mark.dataset.state === state) return;
  mark.dataset.state = state;
  mark.querySelector("[data-live-word]").textContent = words;
}

function selecting() {
  const selection = getSelection();
  return selection && !selection.isCollapsed && find()?.contains(selection.anchorNode);
}

// Several pokes at once are one fetch; while text is being selected, it waits.
function refresh() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    if (selecting()) { refresh(); return; }
    last = Date.now();
    const part = find();
    if (part) htmx.trigger(part, "poke");
  }, selecting() ? 1000 : 100);
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}${document.documentElement.dataset.site}ws/events/?watch=${find().dataset.live}`);
  socket.addEventListener("message", (event) => {
    let message;
    try { message = JSON.parse(event.data); } catch { return; }
    if (message.type === "ready") {
      tries = 0;
      say("live", "live");
      refresh();
    } else if (message.type === "changed") {
      refresh();
    }
  });
  socket.addEventListener("close", (event) => {
    if (event.code === 4401) { say("off", "signed out"); return; }
    say("polling", "polling");
    tries += 1;
    setTimeout(connect, Math.min(30000, 1000 * 2 ** tries) * (0.5 + Math.random() / 2));
  });
}

if (find() && window.htmx) {
  let menus = [];
  const ours = (event) => event.target.matches?.("[data-live]");
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (!ours(event) || event.detail.requestConfig?.elt !== event.target) return;
    if (event.detail.xhr.responseURL.includes("/accounts/login/")) {
      event.detail.shouldSwap = false;
      location.reload();
      return;
    }
    const part = event.target;
    const etag = event.detail.xhr.getResponseHeader("ETag");
    if (etag && etag === part.dataset.etag) { event.detail.shouldSwap = false; return; }
    part.dataset.etag = etag || "";
    menus = [...part.querySelectorAll("details[open][id]")].map((menu) => menu.id);
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (!ours(event)) return;
    for (const id of menus) {
      const menu = document.getElementById(id);
      if (menu) menu.open = true;
    }
    menus = [];
  });
  document.addEventListener("htmx:responseError", (event) => {
    // Signed out, or no longer to be seen: let the whole page say so.
    if (ours(event) && [403, 404].includes(event.detail.xhr.status)) location.reload();
  });
  connect();
  setInterval(() => {
    const pause = mark?.dataset.state === "live" ? CHECK : POLL;
    if (!document.hidden && Date.now() - last >= pause) refresh();
  }, 1000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
}
