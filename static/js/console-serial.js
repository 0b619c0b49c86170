// The serial console: a terminal on the server's serial port.
const CHUNK = 16 * 1024;
const LONGEST_PASTE = 200 * 1024;
const encoder = new TextEncoder();
const byId = (id) => document.getElementById(id);

// Begins it; the answer is what the page may do with it.
export function start({ Link, newTerminal, search, copy, serverId, mayType, form, view, leave, say }) {
  const COLUMNS = 80; // what a guest on a serial line believes to have
  const FONT = { least: 9, usual: 14, most: 28, key: "console-font-size" };
  function savedSize() {
    try {
      const size = Number(localStorage.getItem(FONT.key));
      return size >= FONT.least && size <= FONT.most ? size : FONT.usual;
    } catch {
      return FONT.usual;
    }
  }

  const { terminal, fit } = newTerminal(byId("terminal"), {
    cursorBlink: true,
    fontSize: savedSize(),
    scrollback: 5000,
    overviewRuler: { width: 10 },
    disableStdin: !mayType,
    openLink: askToOpen,
  });

  function resize() {
    const size = fit.proposeDimensions();
    if (!size || !Number.isFinite(size.rows)) return;
    terminal.resize(Math.max(size.cols, COLUMNS), Math.max(size.rows, 4));
    byId("size").textContent = `${terminal.cols} × ${terminal.rows}`;
    byId("stty").textContent = `stty rows ${terminal.rows} cols ${terminal.cols}`;
    tellSize();
  }

  function tellSize() { link?.tell({ type: "size", columns: terminal.cols, rows: terminal.rows }); }

  function changeFont(step) {
    terminal.options.fontSize = Math.min(FONT.most, Math.max(FONT.least, terminal.options.fontSize + step));
    resize();
    try {
      localStorage.setItem(FONT.key, terminal.options.fontSize);
    } catch { /* a private window remembers nothing */ }
  }

  terminal.attachCustomKeyEventHandler((event) => {
    if (event.type !== "keydown") return true;
    if (event.shiftKey && event.key === "F6") {
      event.preventDefault();
      leave();
      return false;
    }
    if (event.ctrlKey && event.shiftKey && event.code === "KeyC") {
      event.preventDefault(); // else the browser's own tools open
      copySelection();
      return false;
    }
    if (event.ctrlKey && event.shiftKey && event.code === "KeyF") {
      event.preventDefault();
      finder.open();
      return false;
    }
    // The browser's own paste; xterm.js takes what it brings.
    return !(event.ctrlKey && event.shiftKey && event.code === "KeyV");
  });

  async function copySelection() {
    if (!terminal.hasSelection()) return view.remark("Select something first: drag over it with the mouse.");
    const done = await copy(terminal.getSelection());
    if (done) say("Copied.");
    else view.remark("The browser did not take it into the clipboard.");
  }

  let link = null;

  function askToOpen(address) {
    let url;
    try {
      url = new URL(address);
    } catch {
      return;
    }
    if (!["http:", "https:"].includes(url.protocol)) return;
    byId("link-address").textContent = url.href;
    byId("link-open").href = url.href;
    byId("link").showModal();
  }

  // --- the socket -----------------------------------------------------------------------------------------------------

  link = new Link({ kind: "serial", serverId, form, view, hear, take, lost: () => { broken = wasOpen; } });
  const OPEN = ["connected", "watching", "taken"];
  let wasOpen = false;
  let broken = false;
  let past = 0; // bytes still to come that were written before: what they ask is not answered
  let muted = false;

  function take(data, done) {
    if (past > 0) {
      muted = true;
      past -= data.byteLength;
    }
    terminal.write(new Uint8Array(data), () => {
      muted = past > 0;
      done();
    });
  }

  function hear(message) {
    if (message.type === "notice") return view.remark(message.message);
    if (message.type === "past") past = message.bytes;
    if (message.type !== "state") return;
    const { state } = message;
    resumed(OPEN.includes(state), ["busy", "connecting"].includes(state));
    terminal.options.disableStdin = !(message.types && state === "connected");
    byId("take").textContent = state === "taken" ? "Take it back" : "Take over";
    view.show(state, message.message, offers(message));
    showOthers(message);
    if (state === "connected") tellSize();
    byId("take-here").hidden = !(message.types && state === "watching");
    if (state === "connected" && document.activeElement === document.body) focus();
  }

  // A line of ours between what the server wrote before and what it writes now.
  function resumed(open, undecided) {
    if (open && broken) terminal.write(`\r\n\x1b[0;2m— reconnected at ${new Date().toLocaleTimeString("en-GB")} —\x1b[0m\r\n`);
    if (!undecided) broken = !open && wasOpen;
    wasOpen ||= open;
  }

  function offers({ state, types, others }) {
    if (!types || !["busy", "taken"].includes(state)) return "";
    return others?.length ? ["take", "watch"] : ["take"];
  }

  function showOthers({ others = [], recording = "" }) {
    const words = others.map(({ name, types }) => `${name} ${types ? "types" : "watches"}`).join(" · ");
    if (words !== byId("serial-others-text").textContent) byId("serial-others-text").textContent = words;
    byId("serial-others-text").hidden = !words;
    const recorded = recording ? `Recorded by ${recording}` : "";
    if (recorded !== byId("recording").textContent) byId("recording").textContent = recorded;
    byId("recording").hidden = !recorded;
    byId("record")?.setAttribute("aria-pressed", String(Boolean(recorded)));
    byId("serial-others").hidden = !words && !recorded;
  }

  function type(bytes) {
    if (muted || !link.open || view.state !== "connected") return;
    if (bytes.length > LONGEST_PASTE) {
      view.remark("That is too much to paste at once. Copy it as a file instead, for example with scp.");
      return;
    }
    for (let start = 0; start < bytes.length; start += CHUNK) link.send(bytes.subarray(start, start + CHUNK));
  }

  terminal.onData((text) => type(encoder.encode(text)));
  terminal.onBinary((text) => type(Uint8Array.from(text, (char) => char.charCodeAt(0))));

  // --- buttons --------------------------------------------------------------------------------------------------------

  function focus() {
    if (!byId("panel-serial").hidden) terminal.focus();
  }

  const finder = search.start({ terminal, focus });
  const press = (id, action) => byId(id)?.addEventListener("click", action);
  press("smaller", () => changeFont(-1));
  press("larger", () => changeFont(1));
  press("link-open", () => byId("link").close());
  press("reader", (event) => { terminal.options.screenReaderMode = event.target.checked; });
  for (const id of ["take", "take-here"]) {
    press(id, () => {
      link.tell({ type: "take" });
      focus();
    });
  }
  press("record", (event) => {
    link.tell({ type: "record", on: event.currentTarget.getAttribute("aria-pressed") !== "true" });
    focus();
  });
  press("watch", () => {
    link.tell({ type: "watch" });
    focus();
  });
  press("copy", async () => {
    await copySelection();
    focus();
  });
  press("stty-copy", async () => {
    const done = await copy(byId("stty").textContent);
    byId("stty-said").textContent = done ? "Copied. Paste it on the server." : "The browser did not take it into the clipboard.";
  });
  press("paste", async () => {
    try {
      terminal.paste(await navigator.clipboard.readText());
    } catch {
      view.remark("The browser did not hand over the clipboard. Press Ctrl+Shift+V instead.");
    }
    focus();
  });

  new ResizeObserver(resize).observe(byId("terminal"));
  resize();
  focus();
  link.connect();
  return { focus, restart: () => link.restart() };
}
