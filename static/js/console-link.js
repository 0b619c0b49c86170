// One console's socket: fetches a ticket, opens it, tells what it hears, and comes back when it was cut.
const ACK_EVERY = 32 * 1024;
const WAITS = [500, 1000, 2000, 4000, 8000];
// Closed for good, and what helps then.
const FINAL = new Map([
  [4400, "again"], [4401, "sign-in"], [4403, "again"], [4404, ""], [4411, "again"], [4429, "again"], [1009, "again"],
]);
// What the close codes of `consoleproxy` mean; it has no messages beside the screen's bytes.
const PROXIED = { 4405: "stopped", 4412: "reconnecting", 4500: "reconnecting", 4503: "unreachable" };

// `path` may also be a whole ws: or wss: address.
export function address(path) {
  if (!path.startsWith("/")) return path;
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
}

// A fresh ticket, or the HTTP status and the sentence that say why there is none. Throws when the panel does not answer.
export async function askTicket(form, kind) {
  const fields = new FormData(form);
  fields.set("kind", kind);
  const answer = await fetch(form.action, { method: "POST", body: fields, redirect: "error" });
  const body = await answer.json().catch(() => ({}));
  return { http: answer.status, message: body.error?.message, ...body };
}

export class Link {
  #kind; #form; #path; #view; #take;
  #socket = null;
  #failures = 0;
  #retry;
  #drawn = 0;
  #again = false; // whether something was drawn already
  #lines = 0; // connections through consoleproxy
  #refusals = 0; // of consoleproxy, one after another: then it goes without
  #proxied = null; // the socket, once a screen has come through it

  // `view.show(state, message, offer)` says how it is; `hear(message)` gets the panel's messages and
  // `take(bytes, done)` the guest's bytes: it calls `done` once they are drawn.
  constructor({ kind, serverId, form, view, hear, take, lost = () => {} }) {
    this.#kind = kind;
    this.#form = form;
    this.#path = `${document.body.dataset.consoles}${kind}/${serverId}/`;
    this.#view = view;
    this.hear = hear;
    this.#take = take;
    this.lost = lost;
  }

  get open() { return this.#socket?.readyState === WebSocket.OPEN; }

  restart() {
    this.#failures = 0;
    this.connect();
  }

  async connect({ quiet = false } = {}) {
    clearTimeout(this.#retry);
    this.#drop();
    if (!quiet) this.#view.show("connecting", this.#failures ? "Connecting to the panel …" : "");
    let got;
    try {
      got = await askTicket(this.#form, this.#kind);
    } catch {
      return this.#later("The panel does not answer. Trying again …");
    }
    if (got.ticket && got.proxy && this.#refusals < 2) return this.#openProxied(got);
    if (got.ticket) return this.#openSocket(got.ticket);
    if (got.http === 401) return this.#view.show("ended", "You are signed out.", "sign-in");
    if (got.http === 403 || got.http === 404) return this.#view.show("ended", got.message ?? "You have no access to this console.", "again");
    return this.#later(got.message ?? "The panel does not answer. Trying again …");
  }

  // Ends it for good, with a sentence that says why.
  stop(message) {
    clearTimeout(this.#retry);
    this.#drop();
    this.#view.show("ended", message, "again");
  }

  tell(message) { if (this.open && this.#socket !== this.#proxied) this.#socket.send(JSON.stringify(message)); }
  send(bytes) { if (this.open) this.#socket.send(bytes); }

  #drop() {
    const before = this.#socket;
    this.#socket = null;
    before?.close(1000);
    if (before) this.lost();
  }

  #later(message) {
    this.#view.show("offline", message, "again");
    this.#retry = setTimeout(() => this.connect(), this.#pause());
  }

  #pause() {
    const wait = WAITS[Math.min(this.#failures, WAITS.length - 1)];
    this.#failures += 1;
    return wait;
  }

  #openSocket(ticket) {
    this.#drop(); // somebody was quicker
    const mine = new WebSocket(address(this.#path));
    this.#socket = mine;
    this.#drawn = 0;
    mine.binaryType = "arraybuffer";
    mine.onopen = () => mine.send(JSON.stringify({ type: "hello", ticket, acks: true, again: this.#again }));
    mine.onmessage = ({ data }) => {
      if (this.#socket !== mine) return;
      if (typeof data !== "string") return this.#take(data, () => this.#acknowledge(mine, data.byteLength));
      const message = JSON.parse(data);
      if (message.type === "state") this.#failures = 0;
      this.hear(message);
    };
    mine.onclose = ({ code, reason }) => {
      if (this.#socket !== mine) return;
      this.#socket = null;
      this.lost();
      if (FINAL.has(code)) this.#view.show("ended", reason || "The console was closed.", FINAL.get(code));
      else this.#later("The connection to the panel was lost. Reconnecting …");
    };
  }

  // The screen's bytes and nothing else. The ticket is a cookie for this address, which ends up in logs.
  #openProxied({ proxy, types }) {
    this.#drop();
    const mine = new WebSocket(address(proxy), "binary");
    this.#socket = mine;
    let opened = false;
    mine.binaryType = "arraybuffer";
    mine.onopen = () => { opened = true; };
    mine.onmessage = ({ data }) => {
      if (this.#socket !== mine) return;
      if (this.#proxied !== mine) this.#begin(mine, types);
      this.#take(data, () => {});
    };
    mine.onclose = ({ code, reason }) => {
      if (this.#socket !== mine) return;
      this.#socket = this.#proxied = null;
      this.lost();
      if (!opened) this.#refusals += 1;
      if (FINAL.has(code)) return this.#view.show("ended", reason || "The console was closed.", FINAL.get(code));
      if (!PROXIED[code]) return this.#later("The connection to the panel was lost. Reconnecting …");
      this.#view.show(PROXIED[code], reason);
      this.#retry = setTimeout(() => this.connect({ quiet: true }), code === 4412 ? 0 : this.#pause());
    };
  }

  // Its first bytes: the screen is there.
  #begin(mine, types) {
    this.#proxied = mine;
    this.#failures = this.#refusals = 0;
    this.hear({ type: "state", state: "connected", message: "Connected.", types, line: this.#lines += 1, others: [] });
  }

  // The panel sends no more than the page has drawn, so a flood never piles up in the browser.
  #acknowledge(mine, bytes) {
    if (this.#socket !== mine) return;
    this.#drawn += bytes;
    this.#again = true;
    if (this.#drawn < ACK_EVERY || mine.readyState !== WebSocket.OPEN) return;
    mine.send(JSON.stringify({ type: "ack", bytes: this.#drawn }));
    this.#drawn = 0;
  }
}
