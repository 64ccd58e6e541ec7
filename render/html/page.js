// The report's page: search over all parts, expanding, keys. Everything it
// works on is in the markup; flame.js and map.js draw from the same.
"use strict";

const byID = (id) => document.getElementById(id);
const groups = [...document.querySelectorAll(".group")];
const search = byID("search");

for (const e of document.querySelectorAll("#search, #keys, #threads > .tools, #graph, #map")) e.hidden = false;

// What the search looks through: each item is shown or hidden as a whole. Text
// of a closed part is not laid out, so it is read once, and kept.
const items = [];
for (const g of groups) items.push({ element: g, group: true });
for (const row of document.querySelectorAll("main tbody tr")) {
  if (!row.closest(".kinds")) items.push({ element: row });
}
for (const line of document.querySelectorAll(".warnings li, .args li")) items.push({ element: line });
const textOf = (item) => (item.text ??= item.element.textContent.toLowerCase().replace(/\s+/g, " "));

let sought = "";

function find(words) {
  sought = words.trim().toLowerCase().replace(/\s+/g, " ");
  const stacks = { threads: 0, goroutines: 0 }, members = { threads: 0, goroutines: 0 };
  let others = 0;
  for (const item of items) {
    const hit = sought === "" || textOf(item).includes(sought);
    item.element.hidden = !hit;
    if (!hit) continue;
    if (item.group) {
      const of = item.element.closest("section").id;
      stacks[of]++;
      members[of] += Number(item.element.dataset.count);
    } else {
      others++;
    }
  }
  // What is folded and has a hit is opened for the time of the search.
  for (const fold of document.querySelectorAll(".fold")) {
    const hit = sought !== "" && fold.querySelector("tbody tr:not([hidden])") !== null;
    if (hit && !fold.open) {
      fold.open = true;
      fold.dataset.opened = "";
    } else if (!hit && "opened" in fold.dataset) {
      fold.open = false;
      delete fold.dataset.opened;
    }
  }
  document.querySelector("#threads .none").hidden = stacks.threads > 0 || groups.length === 0;
  const counts = [plural(members.threads, "thread")];
  if (byID("goroutines")) counts.push(plural(members.goroutines, "goroutine"));
  byID("found").textContent = sought === "" ? "" : `${counts.join(", ")}, ${others} other`;
  for (const g of groups) if (g.open) markFrames(g);
  flame.search(sought);
}

const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

// markFrames marks what is sought in the frames of an open stack.
function markFrames(group) {
  for (const m of group.querySelectorAll("mark")) m.replaceWith(m.textContent);
  if (sought === "") return;
  for (const e of group.querySelectorAll(".frames b, .frames a, .frames s")) {
    const text = e.textContent, at = text.toLowerCase().indexOf(sought);
    if (at < 0) continue;
    const mark = document.createElement("mark");
    mark.textContent = text.slice(at, at + sought.length);
    e.replaceChildren(text.slice(0, at), mark, text.slice(at + sought.length));
  }
}

let pending = 0;
search.addEventListener("input", () => {
  clearTimeout(pending);
  pending = setTimeout(() => find(search.value), 60);
});
search.addEventListener("keydown", (e) => {
  if (e.key === "Escape") {
    search.value = "";
    find("");
    search.blur();
  } else if (e.key === "Enter") {
    e.preventDefault();
    clearTimeout(pending);
    find(search.value);
    step(1, true);
  }
});

for (const g of groups) g.addEventListener("toggle", () => { if (g.open) markFrames(g); });

// openAll opens or closes all stacks that the search has left.
function openAll(open) {
  for (const g of groups) if (!g.hidden) g.open = open;
}
byID("expand").addEventListener("click", () => openAll(true));
byID("collapse").addEventListener("click", () => openAll(false));

// step puts the focus on the next stack that is shown, or the one before.
function step(by, fromStart) {
  const shown = groups.filter((g) => !g.hidden);
  if (shown.length === 0) return;
  const at = fromStart ? -1 : shown.findIndex((g) => g.contains(document.activeElement));
  const next = shown[at < 0 ? 0 : Math.min(Math.max(at + by, 0), shown.length - 1)];
  next.querySelector("summary").focus();
  next.scrollIntoView({ block: "nearest" });
}

const help = byID("help");
byID("keys").addEventListener("click", () => help.showModal());

const keys = {
  "/": () => { search.focus(); search.select(); },
  "?": () => help.showModal(),
  j: () => step(1),
  k: () => step(-1),
  e: () => openAll(true),
  c: () => openAll(false),
  g: () => flame.focus(),
  m: () => document.querySelector("#map .canvas")?.focus(),
};
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented || help.open || e.target.closest("input, textarea, select")) return;
  const action = keys[e.key];
  if (action) {
    e.preventDefault();
    action();
  }
});

// Paper has no folds.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const d of folded) d.open = true;
});
addEventListener("afterprint", () => {
  for (const d of folded) d.open = false;
});
