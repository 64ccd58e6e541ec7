// The flame graph: the stacks of all threads, or goroutines, as a tree, its root
// on top. A box is as wide as there are threads, or as their processor time, that
// have the frame. Only
// boxes that can be seen are made, so that the tree may be of any size.

const flame = (() => {
  const place = byID("flame"), info = byID("flameinfo"), out = byID("flameout");
  const rowHeight = 20, narrowest = 2.5, deepest = 400; // px, px, rows

  // tree joins the stacks of a section. The frames of each are there from the
  // innermost to the outermost.
  function tree(of) {
    const root = { name: `all ${of}`, module: "", depth: 0, children: new Map(), parent: null, count: 0, cpu: 0 };
    for (const group of document.querySelectorAll(`#${of} .group`)) {
      const count = Number(group.dataset.count), cpu = Number(group.dataset.cpu);
      const add = (node) => {
        node.count += count;
        node.cpu += cpu;
        node.blamed ||= group.classList.contains("blamed");
      };
      let node = root;
      add(node);
      const rows = group.querySelectorAll(".frames li");
      for (let i = rows.length - 1; i >= 0; i--) {
        const row = rows[i];
        const name = (row.querySelector("b") ?? row).textContent;
        // What was inlined belongs to the module of the frame round it.
        const module = row.querySelector("s")?.textContent ?? (row.classList.contains("inlined") ? node.module : "");
        const key = name + "\0" + module;
        let child = node.children.get(key);
        if (!child) {
          child = { name, module, script: row.classList.contains("script"), depth: node.depth + 1, children: new Map(), parent: node, count: 0, cpu: 0 };
          node.children.set(key, child);
        }
        node = child;
        add(node);
      }
    }
    return root;
  }

  let of = "threads", root = tree(of), weight = "count", top = root, sought = "", focused = root;
  const boxes = new Map(); // of each node that is shown

  // hue is a module's colour, the same in every report.
  function hue(module) {
    let h = 7;
    for (const c of module) h = (h * 31 + c.codePointAt(0)) % 3600;
    return (h * 137.5) % 360;
  }

  const matches = (node) => sought !== "" && (node.name + " " + node.module).toLowerCase().includes(sought);

  function share(node) {
    const part = root[weight] === 0 ? 0 : (100 * node[weight]) / root[weight];
    return `${part.toFixed(part < 10 ? 1 : 0)} %`;
  }

  function words(node) {
    const amount = weight === "cpu" ? `${(node.cpu / 1e6).toFixed(2)} s` : plural(node.count, of.slice(0, -1));
    return `${node.name}${node.module ? " in " + node.module : ""}: ${amount}, ${share(node)}`;
  }

  function draw() {
    const width = place.clientWidth;
    boxes.clear();
    const made = document.createDocumentFragment();
    let rows = 0;
    const box = (node, x, w, row) => {
      if (w < narrowest || row > deepest) return;
      rows = Math.max(rows, row + 1);
      const e = document.createElement("div");
      e.setAttribute("role", "treeitem");
      e.setAttribute("aria-level", node.depth + 1);
      e.setAttribute("aria-label", words(node));
      e.tabIndex = node === focused ? 0 : -1;
      e.title = words(node);
      e.textContent = w > 24 ? node.name : "";
      e.classList.toggle("script", !!node.script);
      e.style.left = `${x}px`;
      e.style.width = `${w}px`;
      e.style.top = `${row * rowHeight}px`;
      if (node.module) e.style.setProperty("--hue", hue(node.module).toFixed(0));
      else e.classList.add("nohue");
      e.classList.toggle("blamed", Boolean(node.blamed));
      e.classList.toggle("above", node.depth < top.depth);
      e.classList.toggle("hit", matches(node));
      e.node = node;
      boxes.set(node, e);
      made.append(e);
    };
    const path = [];
    for (let n = top.parent; n; n = n.parent) path.unshift(n);
    path.forEach((n, row) => box(n, 0, width, row));
    const scale = top[weight] > 0 ? width / top[weight] : 0;
    const stack = [[top, 0]];
    while (stack.length > 0) {
      const [node, x] = stack.pop();
      box(node, x, node[weight] * scale, node.depth);
      if (!boxes.has(node)) continue;
      let at = x;
      for (const child of sorted(node)) {
        stack.push([child, at]);
        at += child[weight] * scale;
      }
    }
    if (!boxes.has(focused)) {
      focused = top;
      const e = boxes.get(top);
      if (e) e.tabIndex = 0;
    }
    place.replaceChildren(made);
    place.style.height = `${rows * rowHeight}px`;
    out.disabled = top === root;
  }

  // redraw draws at another width; who has the focus keeps it.
  function redraw() {
    drawn = place.clientWidth;
    const has = place.contains(document.activeElement);
    draw();
    if (has) boxes.get(focused)?.focus({ preventScroll: true });
  }

  // sorted are the frames that a frame called, the heaviest first.
  const sorted = (node) => {
    if (node.sortedBy !== weight) {
      node.sorted = [...node.children.values()].sort((a, b) => b[weight] - a[weight] || (a.name < b.name ? -1 : 1));
      node.sortedBy = weight;
    }
    return node.sorted;
  };

  function zoom(node, keepFocus) {
    top = node;
    focused = node;
    draw();
    info.textContent = node === root ? "" : words(node);
    if (keepFocus) boxes.get(focused)?.focus({ preventScroll: true });
  }

  function move(to) {
    const e = to && boxes.get(to);
    if (!e) return;
    const before = boxes.get(focused);
    if (before) before.tabIndex = -1;
    focused = to;
    e.tabIndex = 0;
    e.focus();
  }

  function beside(node, by) {
    if (!node.parent) return null;
    const all = sorted(node.parent).filter((n) => boxes.has(n));
    return all[all.indexOf(node) + by];
  }

  place.addEventListener("click", (e) => {
    const box = e.target.closest("[role=treeitem]");
    if (box) zoom(box.node, true);
  });
  const tell = (e) => {
    const box = e.target.closest("[role=treeitem]");
    if (box) info.textContent = words(box.node);
  };
  place.addEventListener("mouseover", tell);
  place.addEventListener("focusin", tell);
  place.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const actions = {
      ArrowDown: () => move(sorted(focused).find((n) => boxes.has(n))),
      ArrowUp: () => move(focused.parent),
      ArrowLeft: () => move(beside(focused, -1)),
      ArrowRight: () => move(beside(focused, 1)),
      Home: () => move(root),
      Enter: () => zoom(focused, true),
      " ": () => zoom(focused, true),
      Escape: () => zoom(top.parent ?? root, true),
    };
    if (!actions[e.key]) return;
    e.preventDefault();
    e.stopPropagation();
    actions[e.key]();
  });
  out.addEventListener("click", () => zoom(root, false));
  const weights = [...document.querySelectorAll("[data-weight]")], sources = [...document.querySelectorAll("[data-of]")];
  const press = (all, one) => { for (const b of all) b.setAttribute("aria-pressed", b === one); };

  // weighted lets processor time be chosen where it is known.
  function weighted() {
    for (const b of weights) b.disabled = b.dataset.weight === "cpu" && root.cpu === 0;
  }
  for (const b of weights) {
    b.addEventListener("click", () => {
      press(weights, b);
      weight = b.dataset.weight;
      zoom(root, false);
    });
  }
  for (const b of sources) {
    b.addEventListener("click", () => {
      press(sources, b);
      press(weights, weights[0]);
      of = b.dataset.of;
      weight = "count";
      root = tree(of);
      weighted();
      zoom(root, false);
    });
  }
  weighted();
  let drawn = place.clientWidth;
  new ResizeObserver(() => {
    if (place.clientWidth !== drawn) redraw();
  }).observe(place);
  addEventListener("beforeprint", redraw);
  draw();

  return {
    search(words) {
      sought = words;
      for (const [node, box] of boxes) box.classList.toggle("hit", matches(node));
    },
    focus: () => (boxes.get(focused) ?? boxes.get(top))?.focus(),
  };
})();
