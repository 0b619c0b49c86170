// Writes static/vendor from the packages that package-lock.json pins: run `npm ci && npm run build` in this folder.
// VENDOR.json says for each file what it was made of, so that a test can tell a file that was edited by hand.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const modules = join(here, "node_modules");
const out = resolve(here, "../../static/vendor");
const icons = JSON.parse(readFileSync(join(here, "icons.json"), "utf8"));
const files = [];
const licences = new Map();

function about(name) {
  const folder = join(modules, name);
  const { version, license, author } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const text = readdirSync(folder).find((file) => /^licen[cs]e(\.md|\.txt)?$/i.test(file));
  const who = typeof author === "string" ? author : author?.name;
  licences.set(`${name} ${version}`, text
    ? readFileSync(join(folder, text), "utf8").trim()
    : `${license}${who ? `, copyright ${who}` : ""}; the notice stands at the head of the file.`);
  return { name, version, licence: license };
}

// The maps stay behind: a link to a file that is not there makes collectstatic fail.
function withoutMap(text) {
  return text.replace(/\n?(\/\/# sourceMappingURL=\S+|\/\*# sourceMappingURL=\S+ \*\/)\s*$/, "\n");
}

function write(file, text, packages) {
  writeFileSync(join(out, file), text);
  const sha256 = createHash("sha256").update(text).digest("hex");
  files.push({ file, sha256, made_from: packages.map(about) });
}

function symbol(id, svg, drawing) {
  const inner = svg.slice(svg.indexOf(">") + 1, svg.lastIndexOf("</svg>"))
    .replace(/<title>.*?<\/title>/, "")
    .replace(/<path stroke="none" d="M0 0h24v24H0z" fill="none" ?\/>/, "")
    .replace(/\s+/g, " ").trim();
  return `<symbol id="${id}" viewBox="0 0 24 24" ${drawing}>${inner}</symbol>`;
}

function sprite() {
  const line = 'fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"';
  const symbols = icons.tabler.map((name) =>
    symbol(name, readFileSync(join(modules, "@tabler/icons/icons/outline", `${name}.svg`), "utf8"), line));
  for (const name of icons["simple-icons"]) {
    const svg = readFileSync(join(modules, "simple-icons/icons", `${name}.svg`), "utf8");
    symbols.push(symbol(`os-${name}`, svg, 'fill="currentColor" stroke="none"'));
  }
  return `<svg xmlns="http://www.w3.org/2000/svg">\n${symbols.join("\n")}\n</svg>\n`;
}

async function bundle(entry, format) {
  const result = await build({
    entryPoints: [join(here, entry)],
    bundle: true,
    minify: true,
    write: false,
    target: "es2022",
    ...format,
    legalComments: "inline",
    logLevel: "warning",
  });
  return result.outputFiles[0].text;
}

if (existsSync(out)) rmSync(out, { recursive: true });
mkdirSync(out, { recursive: true });
const read = (path) => withoutMap(readFileSync(join(modules, path), "utf8"));
write("tabler.min.css", read("@tabler/core/dist/css/tabler.min.css"), ["@tabler/core"]);
write("tabler.min.js", read("@tabler/core/dist/js/tabler.min.js"), ["@tabler/core"]);
write("uplot.css", read("uplot/dist/uPlot.min.css"), ["uplot"]);
write("uplot.js", read("uplot/dist/uPlot.iife.min.js"), ["uplot"]);
write("xterm.css", read("@xterm/xterm/css/xterm.css"), ["@xterm/xterm"]);
write("xterm.js", await bundle("xterm.js", { format: "iife", globalName: "xterm" }), [
  "@xterm/xterm", "@xterm/addon-clipboard", "@xterm/addon-fit", "@xterm/addon-search", "@xterm/addon-web-links", "js-base64",
]);
// A module, because noVNC awaits something at its top level.
write("novnc.js", await bundle("novnc.js", { format: "esm" }), ["@novnc/novnc"]);
licences.set("pako (part of @novnc/novnc)", readFileSync(join(modules, "@novnc/novnc/vendor/pako/LICENSE"), "utf8").trim());
write("icons.svg", sprite(), ["@tabler/icons", "simple-icons"]);
const notices = [...licences].sort().map(([name, text]) => `${name}\n${"=".repeat(name.length)}\n\n${text}\n`).join("\n\n");
write("LICENCES.txt", notices, []);
writeFileSync(join(out, "VENDOR.json"), `${JSON.stringify({ files }, null, 2)}\n`);
