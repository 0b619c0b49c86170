// A terminal that shows what a guest writes and does nothing else for it.
const { FitAddon, Terminal, WebLinksAddon } = globalThis.xterm;
const THEME = {
  background: "#0b0f17", foreground: "#d7dde8", cursor: "#8ab4f8", cursorAccent: "#0b0f17", selectionBackground: "#3a4d73",
  overviewRulerBorder: "#0b0f17",
  black: "#1b2230", red: "#ff5c57", green: "#5af78e", yellow: "#f3f99d", blue: "#57a0ff", magenta: "#ff6ac1", cyan: "#9aedfe", white: "#f1f1f0",
  brightBlack: "#7a8599", brightRed: "#ff7b76", brightGreen: "#7dfaa7", brightYellow: "#f8fcc0", brightBlue: "#82b8ff",
  brightMagenta: "#ff8fd0", brightCyan: "#b9f3ff", brightWhite: "#ffffff",
};
// What a guest may not do to the page: its title, its colours, and above all the clipboard (52).
const FORBIDDEN = [0, 1, 2, 4, 10, 11, 12, 52, 104, 110, 111, 112];

// `openLink(address)` is called when somebody clicks on one that the guest wrote.
export function newTerminal(element, { openLink, ...options }) {
  const terminal = new Terminal({
    fontFamily: 'ui-monospace, "DejaVu Sans Mono", "Liberation Mono", Menlo, Consolas, monospace',
    lineHeight: 1.15, // at 1 some fonts lose their underscores
    theme: THEME,
    allowProposedApi: true, // what marks the words that were found
    linkHandler: { activate: (event, address) => openLink(address), allowNonHttpProtocols: false },
    ...options,
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.loadAddon(new WebLinksAddon((event, address) => openLink(address)));
  for (const code of FORBIDDEN) terminal.parser.registerOscHandler(code, () => true);
  // Questions that nobody asks on a serial line. The answer to the first is itself that question, so a line that
  // echoes would go on for ever.
  terminal.parser.registerCsiHandler({ prefix: ">", final: "c" }, () => true);
  terminal.parser.registerCsiHandler({ prefix: ">", final: "q" }, () => true);
  terminal.parser.registerDcsHandler({ intermediates: "$", final: "q" }, () => true);
  terminal.open(element);
  return { terminal, fit };
}
