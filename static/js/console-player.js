// Recordings of the serial console: their list, and a player for them.
const byId = (id) => document.getElementById(id);
const LONGEST_PAUSE = 2; // seconds: nobody wants to watch an idle prompt

// An asciicast (v2) as its size, its length, and its output by time; pauses cut short, or not.
export function read(text, cut) {
  const [head, ...lines] = text.trimEnd().split("\n").map((line) => JSON.parse(line));
  let at = 0;
  let before = 0;
  const events = lines.map(([time, kind, data]) => {
    const gap = Math.max(0, time - before);
    before = time;
    at += cut ? Math.min(gap, LONGEST_PAUSE) : gap;
    return { at, kind, data };
  });
  return { columns: head.width, rows: head.height, length: at, events };
}

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

class Player {
  #terminal; #changed;
  #cast = { events: [], length: 0 };
  #next = 0; // the first event that is not shown yet
  #at = 0;
  #since = 0;
  #frame = 0;
  speed = 1;

  constructor(terminal, changed) {
    this.#terminal = terminal;
    this.#changed = changed;
  }

  get playing() { return this.#frame !== 0; }
  get at() { return this.#at; }
  get length() { return this.#cast.length; }

  load(cast) {
    this.pause();
    this.#cast = cast;
    this.seek(0);
  }

  seek(to) {
    this.#terminal.reset();
    this.#terminal.resize(this.#cast.columns ?? 80, this.#cast.rows ?? 24);
    this.#next = 0;
    this.#at = Math.min(Math.max(0, to), this.length);
    this.#show();
  }

  play() {
    if (this.playing) return;
    if (this.#at >= this.length) this.seek(0);
    this.#since = performance.now();
    this.#frame = requestAnimationFrame((now) => this.#tick(now));
    this.#changed();
  }

  pause() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#changed();
  }

  #tick(now) {
    this.#at = Math.min(this.length, this.#at + ((now - this.#since) / 1000) * this.speed);
    this.#since = now;
    this.#show();
    if (this.#at >= this.length) return this.pause();
    this.#frame = requestAnimationFrame((next) => this.#tick(next));
  }

  #show() {
    const { events } = this.#cast;
    let text = "";
    for (; this.#next < events.length && events[this.#next].at <= this.#at; this.#next += 1) {
      const { kind, data } = events[this.#next];
      if (kind === "o") text += data;
      if (kind !== "r") continue;
      this.#terminal.write(text);
      text = "";
      const [columns, rows] = data.split("x").map(Number);
      this.#terminal.resize(columns, rows);
    }
    if (text) this.#terminal.write(text);
    this.#changed();
  }
}

export function start({ newTerminal, ask, form }) {
  const list = byId("recordings-list");
  let player = null;
  let text = "";

  function say(sentence) { byId("recordings-said").textContent = sentence; }

  function changed() {
    if (!player) return;
    byId("player-seek").max = player.length;
    byId("player-seek").value = player.at;
    byId("player-time").textContent = `${clock(player.at)} / ${clock(player.length)}`;
    byId("player-play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
    byId("player-play").setAttribute("aria-pressed", String(player.playing));
  }

  async function refresh() {
    try {
      const answer = await fetch(byId("recordings").dataset.url, { redirect: "error" });
      if (!answer.ok) throw new Error();
      list.innerHTML = await answer.text(); // a template of ours, escaped there
    } catch {
      say("The panel does not answer.");
    }
  }

  async function open(url) {
    say("Reading …");
    try {
      const answer = await fetch(url, { redirect: "error" });
      if (!answer.ok) throw new Error();
      text = await answer.text();
    } catch {
      return say("The recording could not be read.");
    }
    say("");
    byId("player").hidden = false;
    player ??= new Player(newTerminal(byId("player-screen"), { disableStdin: true, fontSize: 12, openLink: () => {} }).terminal, changed);
    player.load(read(text, byId("player-cut").checked));
    player.play();
    byId("player-play").focus();
  }

  async function remove(url) {
    if (!await ask("Delete this recording?", "Nobody can bring it back.", "Delete")) return;
    const answer = await fetch(url, { method: "POST", body: new FormData(form), redirect: "error" }).catch(() => null);
    say(answer?.ok ? "Deleted." : "It was not deleted.");
    refresh();
  }

  list.addEventListener("click", ({ target }) => {
    const button = target.closest("button[data-do]");
    if (button?.dataset.do === "play") open(button.closest("[data-url]:not(button)").dataset.url);
    if (button?.dataset.do === "delete") remove(button.dataset.url);
  });
  byId("player-play").addEventListener("click", () => (player.playing ? player.pause() : player.play()));
  byId("player-seek").addEventListener("input", ({ target }) => player.seek(Number(target.value)));
  byId("player-speed").addEventListener("change", ({ target }) => { player.speed = Number(target.value); });
  byId("player-cut").addEventListener("change", ({ target }) => player.load(read(text, target.checked)));
  byId("recordings").addEventListener("close", () => player?.pause());
  return {
    show() {
      byId("recordings").showModal();
      refresh();
    },
  };
}
