// One classic script: window.xterm has the terminal and its addons.
export { Terminal } from "@xterm/xterm";
export { ClipboardAddon } from "@xterm/addon-clipboard";
export { FitAddon } from "@xterm/addon-fit";
export { SearchAddon } from "@xterm/addon-search";
export { WebLinksAddon } from "@xterm/addon-web-links";
