// Draws what [data-graphs] names: an address that answers with evenly spaced points. Without this
// script, or if the address does not answer, the table below the place says the same.
const MINUTE = 60000;
const STEPS = ["", "k", "M", "G", "T"];
const place = document.querySelector("[data-graphs]");
let plots = [];

// 1,500,000 bit/s are 1.5 Mbit/s; MiB become GiB; null is not known.
function words(value, unit) {
  if (value === null || value === undefined) return "–";
  if (!unit) return value.toFixed(value < 10 ? 1 : 0);
  if (unit === "%") return `${value.toFixed(value < 10 ? 1 : 0)} %`;
  if (unit === "MiB") return value < 1024 ? `${Math.round(value)} MiB` : `${(value / 1024).toFixed(1)} GiB`;
  let step = 0;
  while (Math.abs(value) >= 1000 && step < STEPS.length - 1) { value /= 1000; step += 1; }
  return `${value.toFixed(value < 10 && step ? 1 : 0)} ${STEPS[step]}${unit}`;
}

function colours() {
  const style = getComputedStyle(place);
  const read = (name) => style.getPropertyValue(name).trim();
  return { text: style.color, grid: read("--graph-grid"), lines: [read("--graph-first"), read("--graph-second")] };
}

function options(graph, width) {
  const { text, grid, lines } = colours();
  const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } };
  return {
    width,
    height: 180,
    cursor: { sync: { key: "graphs" } },
    scales: { y: { range: (plot, least, most) => [0, Math.max(graph.top || 0, most || 0) * 1.05 || 1] } },
    axes: [axis, { ...axis, size: 78, values: (plot, ticks) => ticks.map((tick) => words(tick, graph.unit)) }],
    series: [
      { value: (plot, at) => (at ? new Date(at * 1000).toLocaleString() : "–") },
      ...graph.lines.map((line, number) => ({
        label: line.label,
        stroke: lines[number % lines.length],
        width: 1.5,
        points: { show: false },
        dash: number ? [6, 3] : undefined, // not by colour alone
        value: (plot, value) => words(value, graph.unit),
      })),
    ],
  };
}

function draw(answer) {
  for (const plot of plots) plot.destroy();
  const times = Array.from({ length: answer.points }, (none, point) => answer.start + point * answer.step);
  plots = answer.graphs.map((graph, number) => {
    const figure = place.children[number];
    const target = figure.querySelector("[data-plot]");
    const width = Math.max(200, target.clientWidth);
    return new uPlot(options(graph, width), [times, ...graph.lines.map((line) => line.values)], target);
  });
}

// The places of the graphs are in the page; the newest answer fills them.
let latest = null;
async function load() {
  let response;
  try { response = await fetch(place.dataset.graphs, { credentials: "same-origin", redirect: "error" }); } catch { return; }
  if (!response.ok) return;
  latest = await response.json();
  place.hidden = false;
  draw(latest);
}

function redraw() { if (latest) draw(latest); }

if (place && window.uPlot) {
  let width = 0;
  new ResizeObserver(([entry]) => {
    const now = Math.round(entry.contentRect.width);
    if (now && now !== width) { width = now; redraw(); }
  }).observe(place);
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme", "data-bs-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  document.querySelector("[data-graph-table]")?.removeAttribute("open");
  load();
  setInterval(() => { if (!document.hidden) load(); }, MINUTE);
}
