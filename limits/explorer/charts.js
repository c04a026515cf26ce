// Curves of the runs as pictures in SVG, and as tables.
const Charts = (() => {
  "use strict";
  const H = 300, LEFT = 58, TOP = 12, BOTTOM = 46;
  const MARKS = ["circle", "square", "triangle", "diamond"];

  const power = (exponent) => `10<tspan dy="-5" font-size="75%">${String(exponent).replace("-", "−")}</tspan>`;
  const tag = (name, attributes, body = "") =>
    `<${name} ${Object.entries(attributes).map(([k, v]) => `${k}="${v}"`).join(" ")}>${body}</${name}>`;

  const mark = (kind, x, y, style) => {
    const r = 4.5, at = (dx, dy) => `${(x + dx).toFixed(1)} ${(y + dy).toFixed(1)}`;
    const shapes = {
      circle: `M${at(-r, 0)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
      square: `M${at(-4, -4)}h8v8h-8Z`,
      triangle: `M${at(0, -5.5)}L${at(5.2, 4)}L${at(-5.2, 4)}Z`,
      diamond: `M${at(0, -5.8)}L${at(5.2, 0)}L${at(0, 5.8)}L${at(-5.2, 0)}Z`,
    };
    return `<path class="mark ${style}" d="${shapes[kind]}"/>`;
  };
  const cross = (x, y, style) =>
    `<path class="cross ${style}" d="M${x - 5} ${y - 5}l10 10m0 -10l-10 10"/>`;

  /** A frame with logarithmic y from 10^low to 10^high: scales, axes, and paths that leave it where values do. */
  const frame = ({ low, high, x, ticks, right, width: W, xTitle, yTitle, label, id }) => {
    const inner = W - LEFT - right, height = H - TOP - BOTTOM;
    const px = (v) => LEFT + inner * x(v);
    const py = (v) => TOP + height * (1 - (Math.log10(v) - low) / (high - low));
    const parts = [], stride = high - low > 6 ? 2 : 1;
    for (let e = low; e <= high; e += stride) {
      parts.push(tag("line", { class: "grid", x1: LEFT, x2: W - right, y1: py(10 ** e), y2: py(10 ** e) }));
      parts.push(tag("text", { class: "tick", x: LEFT - 7, y: py(10 ** e) + 5, "text-anchor": "end" }, power(e)));
    }
    for (const v of ticks) {
      parts.push(tag("text", { class: "tick", x: px(v), y: H - BOTTOM + 18, "text-anchor": "middle" }, v));
    }
    parts.push(tag("rect", { class: "frame", x: LEFT, y: TOP, width: inner, height }));
    parts.push(tag("text", { class: "title", x: LEFT + inner / 2, y: H - 6, "text-anchor": "middle" }, xTitle));
    parts.push(tag("text", { class: "title", transform: `translate(13 ${TOP + height / 2}) rotate(-90)`, "text-anchor": "middle" }, yTitle));
    const clip = `<clipPath id="${id}"><rect x="${LEFT}" y="${TOP - 1}" width="${inner}" height="${height + 2}"/></clipPath>`;
    const limit = (y) => Math.max(-9e3, Math.min(9e3, y));
    const path = (xs, ys, style) => {
      const d = xs.map((v, i) => (ys[i] > 0 ? `${px(v).toFixed(1)} ${limit(py(ys[i])).toFixed(1)}` : null)).filter(Boolean);
      return d.length > 1 ? `<path class="${style}" clip-path="url(#${id})" d="M${d.join("L")}"/>` : "";
    };
    const open = `<svg class="chart" viewBox="0 0 ${W} ${H}" width="${W}" height="${H}" role="img" aria-label="${label}"><defs>${clip}</defs>`;
    return { px, py, path, open, parts, top: TOP, bottom: H - BOTTOM, right: W - right };
  };

  /** A whisker and a mark for a value over seeds; an arrow where it is outside of the frame. */
  const point = (f, x, { mid, low, high }, kind, style, shift = 0) => {
    const at = f.px(x) + shift;
    if (mid === null || f.py(mid) < f.top) return tag("path", { class: `arrow ${style}`, d: `M${at - 4} ${f.top + 8}l4 -7l4 7Z` });
    if (f.py(mid) > f.bottom) return tag("path", { class: `arrow ${style}`, d: `M${at - 4} ${f.bottom - 8}l4 7l4 -7Z` });
    const end = high === null ? f.top : Math.max(f.top, f.py(high)), begin = Math.min(f.bottom, low > 0 ? f.py(low) : f.bottom);
    return tag("line", { class: `whisker ${style}`, x1: at, x2: at, y1: end, y2: begin }) + mark(kind, at, f.py(mid), style);
  };

  const between = (values, choices) => choices.find((c) => values.every((v) => v <= 10 ** c)) ?? choices[choices.length - 1];
  const finite = (values) => values.flat(9).filter((v) => v !== null && v > 0);
  const seeds = (row, i) => ({ mid: row.mid[i], low: row.low[i], high: row.high[i] });

  /** Losses against steps: networks as marks, infinite width as lines, the limit dashed. */
  const losses = (run, lattice, label, width) => {
    const all = finite([run.losses.map((row) => row.mid), run.wide || [], run.deep || []]);
    const high = between(all, [0, 1, 4]), low = Math.max(high > 1 ? -3 : -5, Math.min(-1, Math.floor(Math.log10(Math.min(...all)))));
    const steps = [...Array(lattice.steps + 1).keys()];
    const f = frame({
      low, high, x: (t) => 0.04 + (0.92 * t) / lattice.steps, ticks: steps, right: 14, width, id: "clip-losses",
      xTitle: "step", yTitle: "loss", label,
    });
    const drawn = [...f.parts];
    if (run.deep) drawn.push(f.path(steps, run.deep, "limit"));
    (run.wide || []).forEach((row, i) => drawn.push(f.path(steps, row.map((v) => v ?? Infinity), `curve size-${i}`)));
    run.losses.forEach((row, i) => {
      const end = row.mid.findIndex((v) => v === null || Math.log10(v) > high), upTo = end < 0 ? steps.length : end + 1;
      if (!run.wide) drawn.push(f.path(steps.slice(0, upTo), row.mid.slice(0, upTo).map((v) => v ?? Infinity), `thread size-${i}`));
      steps.slice(0, upTo).forEach((t) => drawn.push(point(f, t, seeds(row, t), MARKS[i % 4], `size-${i}`, 3.5 * (i - 1))));
      const gone = run.diverged[i][0] && row.mid.indexOf(null);
      if (gone > 0 && f.px(gone) > 0) drawn.push(cross(f.px(gone) + 3.5 * (i - 1), f.top + 16, `size-${i}`));
    });
    return `${f.open}${drawn.join("")}</svg>`;
  };

  const NAMES = ["initial", "features", "updates"];
  const range = (values) => {
    const logs = values.map(Math.log10), inner = (v) => Math.max(-8, Math.min(8, v));
    let low = Math.floor(inner(Math.min(...logs, 0))), high = Math.ceil(inner(Math.max(...logs, 0)));
    while (high - low < 3) high - low === 2 ? (high += 1) : (low -= 1);
    return { low, high };
  };

  /** Sizes after the first step against blocks, both logarithmic: networks, infinite width, and lines with the exact slope. */
  const sizes = (run, lattice, label, wide) => {
    const blocks = lattice.blocks, far = run.wide_sizes ? [...blocks, ...lattice.deeper] : blocks, last = blocks.length - 1;
    const shown = finite([NAMES.map((n) => run.sizes[n].mid), run.wide_sizes ? NAMES.map((n) => run.wide_sizes[n] || []) : []]);
    const begin = Math.log(far[0]), width = Math.log(far[far.length - 1]) - begin;
    const f = frame({
      ...range(shown), x: (l) => 0.04 + (0.92 * (Math.log(l) - begin)) / width, ticks: far, right: 14, width: wide, id: "clip-sizes",
      xTitle: "blocks L", yTitle: "size after one step", label,
    });
    const drawn = [...f.parts];
    NAMES.forEach((name, j) => {
      const row = run.sizes[name], [exact] = run.exact[name], anchor = row.mid[last];
      if (exact !== null && anchor > 0) {
        const slope = Exact.value(Exact.read(exact)), line = far.map((l) => anchor * (l / blocks[last]) ** slope);
        drawn.push(f.path(far, line, `slope kind-${j}`));
      }
      if (run.wide_sizes && run.wide_sizes[name]) drawn.push(f.path(far, run.wide_sizes[name].map((v) => v ?? Infinity), `curve kind-${j}`));
      blocks.forEach((l, i) => drawn.push(point(f, l, seeds(row, i), MARKS[j], `kind-${j}`, 5 * (j - 1))));
    });
    return `${f.open}${drawn.join("")}</svg>`;
  };

  const swatch = (kind, style) => `<svg class="key" viewBox="0 0 16 16" aria-hidden="true">${mark(kind, 8, 8, style)}</svg>`;
  const stroke = (style) => `<svg class="key wide" viewBox="0 0 30 16" aria-hidden="true"><path class="${style}" d="M1 8H29"/></svg>`;

  return { losses, sizes, swatch, stroke, MARKS, NAMES };
})();
