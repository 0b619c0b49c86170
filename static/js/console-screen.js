// The screen: noVNC on the server's VNC, with what a keyboard in a browser cannot send by itself.
const byId = (id) => document.getElementById(id);
const EVENT_PAUSE = 12; // milliseconds: QEMU itself hands on a key event each ten; a PS/2 keyboard remembers sixteen bytes
const LONGEST_PASTE = 5000;
const LARGEST = { side: 8192, pixels: 7680 * 4320 };
const LAYOUT_KEY = "console-keyboard";

// What noVNC takes for a websocket: one connection to the guest within our socket, which outlives it.
class Channel {
  binaryType = "arraybuffer";
  protocol = "";
  readyState = "open";
  onopen = null; onmessage = null; onclose = null; onerror = null;

  constructor(send) { this.sendOn = send; }

  send(data) { if (this.readyState === "open") this.sendOn(data); }

  close() {
    if (this.readyState === "closed") return;
    this.readyState = "closed";
    this.onclose?.({ code: 1000, reason: "", wasClean: true });
  }
}

// noVNC, which believes a server that its screen has four billion dots.
function bounded(RFB) {
  return class extends RFB {
    _resize(width, height) {
      if (!width || !height || Math.max(width, height) > LARGEST.side || width * height > LARGEST.pixels) {
        throw new RangeError("The screen has an impossible size.");
      }
      super._resize(width, height);
    }
  };
}

export async function start({ Link, keys, novnc, serverId, serverName, form, view, leave, say }) {
  const { RFB } = await import(novnc);
  const Screen = bounded(RFB);
  const box = byId("screen");
  let rfb = null;
  let channel = null;
  let line = 0;
  let mayType = false;
  let pasting = null;

  const link = new Link({ kind: "vnc", serverId, form, view, hear, take, lost: hangUp });

  // --- the connection -------------------------------------------------------------------------------------------------

  function hear(message) {
    if (message.type === "notice") return view.remark(message.message);
    if (message.type !== "state") return;
    mayType = message.types;
    view.show(message.state, message.message);
    byId("screen-others").textContent = message.others.length ? `Also here: ${message.others.join(", ")}` : "";
    byId("screen-others").hidden = !message.others.length;
    if (message.state !== "connected") hangUp();
    else if (message.line !== line || !rfb) begin(message.line);
    allow();
  }

  function begin(number) {
    hangUp();
    line = number;
    link.tell({ type: "begin", line });
    channel = new Channel((data) => link.send(data));
    const mine = new Screen(box, channel, { shared: true });
    rfb = mine;
    mine.focusOnClick = true;
    mine.background = "transparent";
    scale();
    mine.addEventListener("connect", () => { if (rfb === mine) ready(); });
    mine.addEventListener("disconnect", () => { if (rfb === mine) broken("The screen sent what cannot be shown."); });
    mine.addEventListener("credentialsrequired", () => { if (rfb === mine) broken("The screen asks for a password, which the panel does not know."); });
    mine.addEventListener("clipboard", ({ detail }) => { if (rfb === mine) received(detail.text); });
    allow();
  }

  function ready() {
    const canvas = box.querySelector("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", `Screen of ${serverName}. Shift+F6 leaves it.`);
    if (document.activeElement === document.body) focus();
  }

  function take(data, done) {
    try {
      channel?.onmessage?.({ data });
    } catch (error) {
      console.warn(error);
      broken("The screen sent what cannot be shown.");
    }
    done();
  }

  function broken(message) {
    hangUp();
    link.stop(message);
  }

  function hangUp() {
    const before = rfb;
    rfb = channel = null;
    pasting?.abort();
    for (const button of document.querySelectorAll("[data-sticky]")) button.setAttribute("aria-pressed", "false");
    try {
      before?.disconnect();
    } catch (error) {
      console.warn(error);
    }
    box.replaceChildren();
  }

  // --- what may be done -----------------------------------------------------------------------------------------------

  function allow() {
    const off = !mayType || byId("view-only")?.getAttribute("aria-pressed") === "true";
    if (rfb) rfb.viewOnly = off;
    for (const part of document.querySelectorAll("[data-types]:not(body)")) part.disabled = off;
  }

  function scale() {
    if (rfb) rfb.scaleViewport = byId("scale").getAttribute("aria-pressed") === "true";
  }

  function toggle(button) {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    return on;
  }

  function focus() {
    if (!byId("panel-screen").hidden) rfb?.focus({ preventScroll: true });
  }

  // Before noVNC, which keeps every key for the guest.
  box.addEventListener("keydown", (event) => {
    if (!event.shiftKey || event.key !== "F6") return;
    event.preventDefault();
    event.stopPropagation();
    rfb?.sendKey(keys.NAMED.ShiftLeft, "ShiftLeft", false);
    leave();
  }, true);

  // --- keys -----------------------------------------------------------------------------------------------------------

  function send(code, down) { rfb?.sendKey(keys.NAMED[code], code, down); }

  function combination(codes) {
    for (const code of codes) send(code, true);
    for (const code of [...codes].reverse()) send(code, false);
    say(`${codes.map((code) => code.replace("Left", "")).join("+")} was sent.`);
    focus();
  }

  async function typeOut(text, layout, told) {
    const { events, missing } = keys.strokesFor(text, layout);
    if (missing.length) throw new Error(`The keyboard “${keys.LAYOUTS[layout].name}” has no ${missing.join(" ")}`);
    pasting = new AbortController();
    const { signal } = pasting;
    let done = 0;
    for (const { code, keysym, down } of events) {
      if (signal.aborted && down) continue; // what is held is let go all the same
      rfb?.sendKey(keysym, code, down);
      told((done += 1) / events.length);
      await new Promise((after) => setTimeout(after, EVENT_PAUSE));
    }
    pasting = null;
    return !signal.aborted;
  }

  // --- dialogs --------------------------------------------------------------------------------------------------------

  const press = (id, action) => byId(id)?.addEventListener("click", action);
  const dialog = byId("type-text");
  const text = byId("type-what");
  const layout = byId("type-layout");
  for (const [name, { name: label }] of Object.entries(keys.LAYOUTS)) layout.add(new Option(label, name));
  try {
    layout.value = keys.LAYOUTS[localStorage.getItem(LAYOUT_KEY)] ? localStorage.getItem(LAYOUT_KEY) : "us";
  } catch { /* a private window remembers nothing */ }

  press("type", () => {
    byId("type-said").textContent = "";
    dialog.showModal();
    text.focus();
  });
  press("type-read", async () => {
    try {
      text.value = await navigator.clipboard.readText();
    } catch {
      byId("type-said").textContent = "The browser did not hand over the clipboard. Press Ctrl+V in the field instead.";
    }
  });
  dialog.addEventListener("close", () => {
    pasting?.abort();
    text.value = ""; // it may have been a password
    focus();
  });
  byId("type-form").addEventListener("submit", async (event) => {
    if (event.submitter?.value === "close") return;
    event.preventDefault();
    const said = byId("type-said");
    if (!rfb) { said.textContent = "The screen is not connected."; return; }
    if (text.value.length > LONGEST_PASTE) { said.textContent = `That is too long to type. ${LONGEST_PASTE} characters at most.`; return; }
    try {
      localStorage.setItem(LAYOUT_KEY, layout.value);
    } catch { /* it is asked again next time */ }
    byId("type-go").disabled = true;
    byId("type-bar").hidden = false;
    try {
      const all = text.value + (byId("type-enter").checked ? "\n" : "");
      const whole = await typeOut(all, layout.value, (share) => { byId("type-bar").value = share; });
      if (whole) {
        dialog.close();
        say("The text was typed.");
      }
    } catch (error) {
      said.textContent = error.message;
    } finally {
      byId("type-go").disabled = false;
      byId("type-bar").hidden = true;
    }
  });

  for (const item of document.querySelectorAll("[data-keys]")) {
    item.addEventListener("click", () => {
      item.closest("details").open = false;
      combination(item.dataset.keys.split(" "));
    });
  }
  for (const button of document.querySelectorAll("[data-sticky]")) {
    button.addEventListener("click", () => {
      send(button.dataset.sticky, toggle(button));
      focus();
    });
  }
  press("view-only", (event) => { toggle(event.currentTarget); allow(); focus(); });
  press("scale", (event) => { toggle(event.currentTarget); scale(); focus(); });
  press("screenshot", () => {
    if (!rfb) return view.remark("There is no picture to save yet.");
    rfb.toBlob((blob) => {
      const anchor = document.createElement("a");
      anchor.href = URL.createObjectURL(blob);
      anchor.download = `${serverName.replaceAll(/[^\w.-]+/g, "_")}-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.png`;
      anchor.click();
      setTimeout(() => URL.revokeObjectURL(anchor.href), 60000);
      say("The picture was saved.");
    }, "image/png");
  });

  // --- the guest's clipboard: only ever moved by hand -----------------------------------------------------------------

  function received(what) {
    byId("clipboard-theirs").value = what.slice(0, 100000);
    byId("clipboard").hidden = false;
  }
  press("clipboard", () => byId("clipboard-text").showModal());
  press("clipboard-copy", () => navigator.clipboard?.writeText(byId("clipboard-theirs").value));
  press("clipboard-send", () => rfb?.clipboardPasteFrom(byId("clipboard-ours").value));
  byId("clipboard-text").addEventListener("close", focus);

  link.connect();
  return { focus, restart: () => link.restart() };
}
