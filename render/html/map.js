// The map of memory: the address space from low to high as one bar. Each mapping
// is as wide as its size (to scale), or as the logarithm of it; what nothing is
// mapped at is cut short. Only what can be seen is drawn.

(() => {
  const map = byID("map");
  if (!map) return;
  const svgNS = "http://www.w3.org/2000/svg";
  const canvas = map.querySelector(".canvas"), overview = map.querySelector(".overview"), chosen = map.querySelector(".chosen");
  const page = 4096, captions = 36; // bytes, px

  const rows = [...document.querySelectorAll("#regions tbody tr")];
  const regions = rows.map((row) => {
    const cells = [...row.cells].map((c) => c.textContent);
    const [kind, path] = cells.slice(-2);
    return { row, kind, path, perm: cells.at(-3), addr: BigInt(row.dataset.a), size: Number(row.dataset.n), ram: Number(row.dataset.r) };
  });
  if (regions.length === 0) {
    map.hidden = true;
    return;
  }
  const fault = map.dataset.fault ? BigInt(map.dataset.fault) : null;

  let scale = "log", total = 0, from = 0, to = 0, selected = -1;
  let faultAt = null;

  // lay gives each mapping its place on the bar.
  function lay() {
    const measure = scale === "log" ? (n) => Math.log2(Math.max(n, page) / page) + 1 : (n) => n;
    const sum = regions.reduce((s, r) => s + measure(r.size), 0);
    const gap = scale === "log" ? 0.6 : sum / 400;
    let at = 0, end = 0n;
    faultAt = null;
    for (const r of regions) {
      if (r.addr > end) {
        if (fault !== null && fault >= end && fault < r.addr) faultAt = at + gap / 2;
        at += gap;
      }
      r.from = at;
      at += measure(r.size);
      r.to = at;
      end = r.addr + BigInt(r.size);
      if (fault !== null && fault >= r.addr && fault < end) faultAt = r.from + (Number(fault - r.addr) / r.size) * (r.to - r.from);
    }
    if (fault !== null && faultAt === null) faultAt = at;
    total = at;
  }

  function make(name, attributes, parent) {
    const e = document.createElementNS(svgNS, name);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
    parent.append(e);
    return e;
  }

  // paint draws the bar between two places of it.
  function paint(into, begin, end, height, labels) {
    const width = into.clientWidth;
    if (width === 0) return null;
    const svg = document.createElementNS(svgNS, "svg");
    const x = (u) => ((u - begin) / (end - begin)) * width;
    let drawn = -1; // up to which pixel
    regions.forEach((r, i) => {
      if (r.to < begin || r.from > end) return;
      const left = Math.max(x(r.from), -2), right = Math.min(x(r.to), width + 2);
      if (right < drawn + 0.4) return; // too narrow to be seen beside what is there
      const w = Math.max(right - left, 0.8);
      drawn = left + w;
      make("rect", { class: `all ${r.kind}`, x: left, y: 0, width: w, height, "data-i": i }, svg);
      if (r.ram > 0) {
        const h = Math.max((height - (labels ? captions : 0)) * Math.min(r.ram / r.size, 1), 1.5);
        make("rect", { class: `ram ${r.kind}`, x: left, y: height - h, width: w, height: h, "data-i": i }, svg);
      }
      if (labels && w > 3) make("line", { class: "edge", x1: right, x2: right, y1: 0, y2: height }, svg);
      if (labels && w > 46) {
        const t = make("text", { x: Math.max(left, 0) + 4, y: 15 }, svg);
        t.textContent = clip(name(r), (Math.min(right, width) - Math.max(left, 0) - 8) / 6.7);
        const s = make("text", { x: Math.max(left, 0) + 4, y: 30, opacity: 0.75 }, svg);
        s.textContent = clip(bytes(r.size), (Math.min(right, width) - Math.max(left, 0) - 8) / 6.7);
      }
    });
    if (faultAt !== null && faultAt >= begin && faultAt <= end) {
      const at = Math.min(Math.max(x(faultAt), 1), width - 1);
      make("line", { class: "fault", x1: at, x2: at, y1: 0, y2: height }, svg);
      if (labels) make("path", { class: "faultmark", d: `M${at - 5},0h10l-5,8z` }, svg);
    }
    return { svg, x };
  }

  const name = (r) => r.path.split("/").pop() || r.kind;
  const clip = (s, n) => (s.length <= n ? s : n < 2 ? "" : s.slice(0, n - 1) + "…");

  function bytes(n) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let u = 0;
    while (n >= 1024 && u < units.length - 1) {
      n /= 1024;
      u++;
    }
    return `${n >= 100 || Number.isInteger(n) ? n.toFixed(0) : n.toFixed(1)} ${units[u]}`;
  }

  function draw() {
    const height = canvas.clientHeight;
    const main = paint(canvas, from, to, height, true);
    if (!main) return;
    if (selected >= 0) {
      const r = regions[selected], left = main.x(r.from);
      make("rect", { class: "selected", x: left, y: 1.5, width: Math.max(main.x(r.to) - left, 2), height: height - 3 }, main.svg);
    }
    canvas.replaceChildren(main.svg);
    const small = paint(overview, 0, total, overview.clientHeight, false);
    if (small) {
      const left = small.x(from);
      make("rect", { class: "window", x: left, y: 0, width: Math.max(small.x(to) - left, 3), height: overview.clientHeight }, small.svg);
      overview.replaceChildren(small.svg);
    }
    canvas.dataset.zoom = (total / (to - from)).toFixed(2);
  }

  function show(begin, end) {
    const least = total / 1e7;
    let length = Math.min(Math.max(end - begin, least), total);
    from = Math.min(Math.max(begin, 0), total - length);
    to = from + length;
    draw();
  }

  function zoomBy(factor, at = (from + to) / 2) {
    show(at - (at - from) * factor, at + (to - at) * factor);
  }

  function select(i, follow) {
    selected = i;
    const r = regions[i];
    const end = (r.addr + BigInt(r.size)).toString(16);
    const head = document.createElement("b");
    head.textContent = `0x${r.addr.toString(16)}–0x${end}`;
    chosen.replaceChildren(head, `  ${bytes(r.size)}${r.ram > 0 ? `, ${bytes(r.ram)} in RAM` : ""}, ${r.perm}, ${r.kind}`, document.createElement("br"), r.path);
    if (follow && (r.from < from || r.to > to)) {
      const length = Math.max(to - from, r.to - r.from);
      const middle = (r.from + r.to) / 2;
      show(middle - length / 2, middle + length / 2);
    } else {
      draw();
    }
  }

  const at = (e, box) => from + ((e.clientX - box.left) / box.width) * (to - from);

  function under(place) {
    // The last mapping that begins at or before it.
    let low = 0, high = regions.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (regions[middle].from <= place) low = middle + 1;
      else high = middle;
    }
    return low - 1 >= 0 && place <= regions[low - 1].to ? low - 1 : -1;
  }

  let drag = null;
  canvas.addEventListener("pointerdown", (e) => {
    drag = { x: e.clientX, from, to, moved: false };
    canvas.setPointerCapture(e.pointerId);
  });
  canvas.addEventListener("pointermove", (e) => {
    const box = canvas.getBoundingClientRect();
    if (drag) {
      const by = ((e.clientX - drag.x) / box.width) * (drag.to - drag.from);
      if (Math.abs(e.clientX - drag.x) > 3) drag.moved = true;
      if (drag.moved) show(drag.from - by, drag.to - by);
      return;
    }
    const i = under(at(e, box));
    if (i >= 0 && i !== selected) select(i, false);
  });
  canvas.addEventListener("pointerup", () => { drag = null; });
  canvas.addEventListener("pointercancel", () => { drag = null; });
  canvas.addEventListener("dblclick", (e) => zoomBy(0.25, at(e, canvas.getBoundingClientRect())));
  canvas.addEventListener("wheel", (e) => {
    if (!e.ctrlKey && document.activeElement !== canvas) return; // the page scrolls
    e.preventDefault();
    zoomBy(e.deltaY < 0 ? 0.8 : 1.25, at(e, canvas.getBoundingClientRect()));
  }, { passive: false });
  overview.addEventListener("pointerdown", (e) => {
    const box = overview.getBoundingClientRect(), middle = ((e.clientX - box.left) / box.width) * total, half = (to - from) / 2;
    show(middle - half, middle + half);
  });

  canvas.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const last = regions.length - 1;
    const first = selected < 0 ? Math.max(under((from + to) / 2), 0) : selected;
    const actions = {
      ArrowRight: () => select(selected < 0 ? 0 : Math.min(first + 1, last), true),
      ArrowLeft: () => select(selected < 0 ? last : Math.max(first - 1, 0), true),
      Home: () => select(0, true),
      End: () => select(last, true),
      "+": () => zoomBy(0.5, middleOf(selected)),
      "=": () => zoomBy(0.5, middleOf(selected)),
      "-": () => zoomBy(2, middleOf(selected)),
      "0": () => show(0, total),
      Escape: () => show(0, total),
      Enter: () => {
        if (selected < 0) return;
        const r = regions[selected], room = 0.2 * (r.to - r.from);
        show(r.from - room, r.to + room);
      },
    };
    if (!actions[e.key]) return;
    e.preventDefault();
    e.stopPropagation();
    actions[e.key]();
  });
  const middleOf = (i) => (i >= 0 && regions[i].to >= from && regions[i].from <= to ? (regions[i].from + regions[i].to) / 2 : (from + to) / 2);

  for (const b of map.querySelectorAll("[data-scale]")) {
    b.addEventListener("click", () => {
      for (const other of map.querySelectorAll("[data-scale]")) other.setAttribute("aria-pressed", other === b);
      scale = b.dataset.scale;
      lay();
      show(0, total);
    });
  }
  const zooms = { in: () => zoomBy(0.5, middleOf(selected)), out: () => zoomBy(2, middleOf(selected)), all: () => show(0, total) };
  for (const b of map.querySelectorAll("[data-zoom]")) b.addEventListener("click", zooms[b.dataset.zoom]);

  lay();
  to = total;
  new ResizeObserver(draw).observe(canvas);
  draw();
})();
