// The console's page: its two tabs, and what belongs to both: power, full screen, help.
const byId = (id) => document.getElementById(id);
const load = (name) => import(document.querySelector(`link[data-module="${name}"]`).href);
const serverId = document.body.dataset.server;
const serverName = document.body.dataset.name;
const mayType = document.body.dataset.types === "yes";
const SIGNED_OUT = 4401;
const { Link, address, askTicket } = await load("link");

// --- what the page says ---------------------------------------------------------------------------------------------

const WORDS = {
  connecting: "Connecting", connected: "Connected", stopped: "Server is off", reconnecting: "Reconnecting", unreachable: "Host unreachable",
  busy: "In use", watching: "Watching", taken: "Taken over", offline: "Disconnected", ended: "Closed",
};

const QUIET = new Set(["connected", "watching"]); // nothing to say over the console

function say(sentence) { byId("said").textContent = sentence; }

// Into the clipboard; whether the browser took it. Pages without TLS have only the old way.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    const before = document.activeElement;
    area.value = text;
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    return done;
  }
}

// The state of one console: the word in its tab, and a notice over it. `offer` is the button that helps, or several.
class View {
  state = "";
  #message = "";
  #timer;

  constructor(name, prefix, offers) {
    this.name = name;
    this.prefix = prefix;
    this.offers = offers;
  }

  #part(id) { return byId(`${this.prefix}${id}`); }

  show(state, message = "", offer = "") {
    if (state !== this.state) say(`${this.name}: ${WORDS[state]}`);
    this.state = state;
    const pill = this.#part("connection");
    pill.dataset.state = state;
    pill.textContent = WORDS[state];
    this.#message = QUIET.has(state) ? "" : message;
    for (const id of this.offers) this.#part(id).hidden = ![offer].flat().includes(id);
    if (!this.#timer || this.#message) this.#rest();
  }

  // Said for some seconds in the place of the notice.
  remark(message) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#rest(), 5000);
    this.#part("notice-text").textContent = message;
    this.#part("notice").hidden = false;
  }

  #rest() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#part("notice-text").textContent = this.#message;
    this.#part("notice").hidden = !this.#message;
  }
}

// --- tabs -----------------------------------------------------------------------------------------------------------

const common = { Link, serverId, serverName, mayType, form: byId("ticket"), leave: () => byId("help").focus(), say };
const starts = {
  serial: async () => (await load("serial")).start({
    ...common, ...(await load("terminal")), search: await load("search"), copy, view: new View("Serial", "", ["take", "watch", "again", "sign-in"]),
  }),
  screen: async () => (await load("screen")).start({
    ...common, keys: await load("keys"), novnc: document.body.dataset.novnc, view: new View("Screen", "screen-", ["again", "sign-in"]),
  }),
};
const consoles = {};
let shown = "serial";

// A console begins when it is first looked at, and stays while the other is shown.
async function select(name, { grab = false } = {}) {
  shown = name;
  for (const each of Object.keys(starts)) {
    const on = each === name;
    byId(`tab-${each}`).setAttribute("aria-selected", String(on));
    byId(`tab-${each}`).tabIndex = on ? 0 : -1;
    byId(`panel-${each}`).hidden = !on;
    byId(`tools-${each}`).hidden = !on;
  }
  history.replaceState(null, "", name === "serial" ? location.pathname : `#${name}`);
  consoles[name] ??= starts[name]();
  const one = await consoles[name];
  if (grab && shown === name) one.focus();
}

const tabs = [byId("tab-serial"), byId("tab-screen")];
for (const tab of tabs) {
  tab.addEventListener("click", (event) => select(tab.id.slice(4), { grab: event.detail > 0 }));
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = tabs.find((each) => each !== tab);
    other.focus();
    select(other.id.slice(4));
  });
}

// --- the power badge and menu ---------------------------------------------------------------------------------------

async function fill(element) {
  try {
    const answer = await fetch(element.dataset.url, { redirect: "error" });
    if (answer.ok) element.innerHTML = await answer.text(); // a template of ours, escaped there
  } catch { /* the next poke or poll brings it */ }
}

function refresh() {
  fill(byId("status"));
  if (byId("power")?.open && !byId("power").contains(document.activeElement)) fill(byId("power-verbs"));
}

function followStatus() {
  const pokes = new WebSocket(address(`${document.body.dataset.site}ws/events/?watch=${serverId}`));
  let poll;
  pokes.onmessage = refresh;
  pokes.onclose = ({ code }) => {
    if (code === SIGNED_OUT) return;
    poll = setInterval(refresh, 5000);
    setTimeout(() => { clearInterval(poll); followStatus(); }, 15000);
  };
}

async function power(verb, name) {
  const fields = new FormData(byId("ticket"));
  fields.set("verb", verb);
  let said;
  try {
    const answer = await fetch(byId("power-verbs").dataset.url, { method: "POST", body: fields, redirect: "error" });
    const body = await answer.json();
    said = answer.ok ? `${name}: asked for.` : body.error.message;
  } catch {
    said = "The panel does not answer.";
  }
  byId("power-said").textContent = said;
  byId("power-said").hidden = false;
  setTimeout(() => { byId("power-said").hidden = true; }, 5000);
  refresh();
}

// Whether the person says yes.
async function confirmed(title, text, yes) {
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = yes;
  byId("confirm").returnValue = "";
  byId("confirm").showModal();
  await new Promise((closed) => byId("confirm").addEventListener("close", closed, { once: true }));
  return byId("confirm").returnValue === "yes";
}

byId("power")?.addEventListener("toggle", () => { if (byId("power").open) fill(byId("power-verbs")); });
byId("power-verbs")?.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-verb]");
  if (!button) return;
  byId("power").open = false;
  const { verb, ask } = button.dataset;
  if (!ask) return power(verb, button.textContent.trim());
  const name = button.textContent.trim();
  if (await confirmed(`${name} ${serverName}?`, ask, name)) power(verb, name);
});

// --- menus, dialogs, buttons ----------------------------------------------------------------------------------------

const openMenus = () => document.querySelectorAll("details.menu[open]");
document.addEventListener("pointerdown", (event) => {
  for (const menu of openMenus()) if (!menu.contains(event.target)) menu.open = false;
}, true);
document.addEventListener("focusin", (event) => {
  for (const menu of openMenus()) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  for (const menu of event.key === "Escape" ? openMenus() : []) {
    menu.open = false;
    menu.querySelector("summary").focus();
    event.stopPropagation();
  }
}, true);

const focusShown = async () => (await consoles[shown])?.focus();
const press = (id, action) => byId(id)?.addEventListener("click", action);
let log;
press("boot-log", async () => {
  log ??= (await load("log")).start({ askTicket, address, serverId, serverName, form: byId("ticket") });
  log.show();
});
let recordings;
press("recordings-open", async () => {
  recordings ??= (await load("player")).start({ ...(await load("terminal")), ask: confirmed, form: byId("ticket") });
  recordings.show();
});
press("help", () => byId("help-text").showModal());
press("reconnect", async () => {
  const one = await consoles[shown];
  one.restart();
  one.focus();
});
for (const [id, name] of [["again", "serial"], ["screen-again", "screen"]]) {
  press(id, async () => {
    const one = await consoles[name];
    one.restart();
    one.focus();
  });
}
press("fullscreen", async () => {
  if (document.fullscreenElement) return document.exitFullscreen();
  await document.documentElement.requestFullscreen();
  navigator.keyboard?.lock?.().catch(() => {}); // Escape and Ctrl+W then reach the server, where the browser can do that
  focusShown();
});
for (const id of ["help-text", "link", "log", "recordings"]) byId(id).addEventListener("close", focusShown);

followStatus();
select(location.hash === "#screen" ? "screen" : "serial");
