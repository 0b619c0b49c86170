// One console's socket: fetches a ticket, opens it, tells what it hears, and comes back when it was cut.
const ACK_EVERY = 32 * 1024;
const WAITS = [500, 1000, 2000, 4000, 8000];
// Closed for good, and what helps then.
const FINAL = new Map([[4400, "again"], [4401, "sign-in"], [4403, "again"], [4404, ""], [4429, "again"], [1009, "again"]]);

export function address(path) {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
}

// A fresh ticket, or the HTTP status and the sentence that say why there is none. Throws when the panel does not answer.
export async function askTicket(form, kind) {
  const fields = new FormData(form);
  fields.set("kind", kind);
  const answer = await fetch(form.action, { method: "POST", body: fields, redirect: "error" });
  const body = await answer.json().catch(() => ({}));
  return { http: answer.status, ticket: body.ticket, message: body.error?.message };
}

export class Link {
  #kind; #form; #path; #view; #take;
  #socket = null;
  #failures = 0;
  #retry;
  #drawn = 0;
  #again = false; // whether something was drawn already

  // `view.show(state, message, offer)` says how it is; `hear(message)` gets the panel's messages and
  // `take(bytes, done)` the guest's bytes: it calls `done` once they are drawn.
  constructor({ kind, serverId, form, view, hear, take, lost = () => {} }) {
    this.#kind = kind;
    this.#form = form;
    this.#path = `/ws/console/${kind}/${serverId}/`;
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

  async connect() {
    clearTimeout(this.#retry);
    this.#drop();
    this.#view.show("connecting", this.#failures ? "Connecting to the panel …" : "");
    let got;
    try {
      got = await askTicket(this.#form, this.#kind);
    } catch {
      return this.#later("The panel does not answer. Trying again …");
    }
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

  tell(message) { if (this.open) this.#socket.send(JSON.stringify(message)); }
  send(bytes) { if (this.open) this.#socket.send(bytes); }

  #drop() {
    const before = this.#socket;
    this.#socket = null;
    before?.close(1000);
    if (before) this.lost();
  }

  #later(message) {
    this.#view.show("offline", message, "again");
    this.#retry = setTimeout(() => this.connect(), WAITS[Math.min(this.#failures, WAITS.length - 1)]);
    this.#failures += 1;
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
