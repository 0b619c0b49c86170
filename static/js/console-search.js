// Finding words in what the terminal still has: a bar over it, opened by Ctrl+Shift+F.
const { SearchAddon } = globalThis.xterm;
const byId = (id) => document.getElementById(id);
const COLOURS = {
  matchBackground: "#5c4a1a", matchOverviewRuler: "#f5b840", activeMatchBackground: "#a8620a", activeMatchColorOverviewRuler: "#ffffff",
};
const MOST = 1000; // as many the addon counts

export function start({ terminal, focus }) {
  const search = new SearchAddon({ highlightLimit: MOST });
  terminal.loadAddon(search);
  const bar = byId("search");
  const what = byId("search-what");

  function count({ resultIndex, resultCount }) {
    if (!what.value) byId("search-count").textContent = "";
    else if (!resultCount) byId("search-count").textContent = "Nothing found";
    else {
      const all = resultCount >= MOST ? `${MOST}+` : resultCount;
      byId("search-count").textContent = resultIndex < 0 ? `${all} found` : `${resultIndex + 1} of ${all}`;
    }
  }
  search.onDidChangeResults(count);

  function find(back = false, options = {}) {
    if (!what.value) {
      search.clearDecorations();
      return count({ resultCount: 0 });
    }
    const wanted = { decorations: COLOURS, ...options };
    if (back) search.findPrevious(what.value, wanted);
    else search.findNext(what.value, wanted);
  }

  function open() {
    bar.hidden = false;
    const selected = terminal.getSelection();
    if (selected && !selected.includes("\n")) what.value = selected;
    what.focus();
    what.select();
    find(true, { incremental: true });
  }

  function close() {
    bar.hidden = true;
    search.clearDecorations();
    focus();
  }

  // The newest is what somebody at the end of the text looks for: upwards first.
  what.addEventListener("input", () => find(true, { incremental: true }));
  bar.addEventListener("submit", (event) => {
    event.preventDefault();
    find(event.submitter?.id !== "search-next");
  });
  bar.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      close();
      event.stopPropagation();
    } else if (event.key === "Enter" && event.shiftKey && event.target === what) {
      event.preventDefault();
      find();
    }
  });
  byId("search-close").addEventListener("click", close);
  byId("find").addEventListener("click", () => (bar.hidden ? open() : close()));
  return { open };
}
