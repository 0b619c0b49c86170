// The boot log: what the server wrote to its serial port, kept by its host, shown as text and nothing else.
const byId = (id) => document.getElementById(id);

// What moves cursors and changes colours: whole sequences first, of which no part is meant to be read.
const SEQUENCES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])/g;
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;

export function readable(bytes) {
  return new TextDecoder().decode(bytes)
    .replace(SEQUENCES, "")
    .replace(/\r+\n?/g, "\n")
    .replace(CONTROLS, "")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
}

export function start({ askTicket, address, serverId, serverName, form }) {
  let bytes = new Uint8Array();

  function say(sentence) { byId("log-said").textContent = sentence; }

  // Everything that comes before the socket is closed. Throws a sentence that says why nothing came.
  function receive(ticket) {
    return new Promise((resolve, reject) => {
      const parts = [];
      const socket = new WebSocket(address(`/ws/console/log/${serverId}/`));
      socket.binaryType = "arraybuffer";
      socket.onopen = () => socket.send(JSON.stringify({ type: "hello", ticket }));
      socket.onmessage = ({ data }) => parts.push(data);
      socket.onclose = ({ code, reason }) => {
        if (code === 1000) new Blob(parts).arrayBuffer().then((whole) => resolve(new Uint8Array(whole)));
        else reject(new Error(reason || "The panel does not answer."));
      };
    });
  }

  async function refresh() {
    say("Reading …");
    byId("log-refresh").disabled = true;
    try {
      const got = await askTicket(form, "log");
      if (!got.ticket) throw new Error(got.message ?? "The panel does not answer.");
      bytes = await receive(got.ticket);
      byId("log-text").textContent = readable(bytes);
      byId("log-text").scrollTop = byId("log-text").scrollHeight;
      say(bytes.length ? "" : "The server has written nothing yet.");
    } catch (error) {
      say(error instanceof TypeError ? "The panel does not answer." : error.message);
    }
    byId("log-download").disabled = !bytes.length;
    byId("log-refresh").disabled = false;
  }

  function download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
    link.download = `${serverName}-boot.log`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  byId("log-refresh").addEventListener("click", refresh);
  byId("log-download").addEventListener("click", download);
  byId("log").addEventListener("close", () => { byId("log-text").textContent = ""; });
  return {
    show() {
      byId("log").showModal();
      refresh();
    },
  };
}
