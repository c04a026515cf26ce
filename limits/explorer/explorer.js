// The page: a point of the plane, what is said of it, and how it is moved.
(() => {
  "use strict";
  const known = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const { of, add, equal, text, value, near, parse, read } = Exact;
  const STEP = of(1, 8), FINE = of(1, 64), FREE = 32, FREE_TOUCH = 16;
  const REACH = { mouse: 7, touch: 14 };
  const STROKES = { unfaithful: "line", redundant: "line" };
  const [[west, east], [south, north]] = known.window.map((side) => side.map((v) => value(read(v))));
  const named = known.named.map((n) => ({ name: n.name, at: { alpha: read(n.at[0]), gamma: read(n.at[1]) } }));

  // What is looked at: a point that stays, one under the pointer, blocks, and an optimizer.
  const state = { pinned: named[0].at, hovered: null, k: "1", optimizer: "sgd", near: null };
  const plane = () => known.planes[state.k];
  const point = () => state.hovered || state.pinned;
  const same = (p, q) => equal(p.alpha, q.alpha) && equal(p.gamma, q.gamma);

  // Mathematics as text.
  const escape = (s) => s.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
  const signs = (s) => s.replace(/ - /g, " − ").replace(/(^|[ (=])-(?=[\dαγ])/g, "$1−");
  const typeset = (plain) =>
    signs(escape(plain).replace(/\balpha\b/g, "α").replace(/\bgamma\b/g, "γ").replace(/(\d)\*/g, "$1").replace(/Theta/g, "Θ"))
      .replace(/&lt;=/g, "≤").replace(/&gt;=/g, "≥")
      .replace(/L\^\(([^)]*)\)/g, (_, e) => (e === "1" ? "<i>L</i>" : `<i>L</i><sup>${e}</sup>`))
      .replace(/\be_(\w)/g, "<i>e</i><sub>$1</sub>");
  const fraction = (x) => text(x).replace("-", "−");
  const place = (p) => `(${fraction(p.alpha)}, ${fraction(p.gamma)})`;
  const kind = (regime) => regime.replace(/ /g, "-");
  const swatch = (regime) => document.querySelector(`[data-swatch="${kind(regime)}"]`).innerHTML;
  const capital = (s) => s[0].toUpperCase() + s.slice(1);
  const short = (v) => {
    if (v === null) return "∞";
    const size = Math.abs(v);
    return (size !== 0 && (size < 1e-3 || size >= 1e4) ? v.toExponential(1).replace("e+", "e") : String(Number(v.toPrecision(3)))).replace(/-/g, "−");
  };

  // The picture: where points are, and the marks that move.
  const SVG = "http://www.w3.org/2000/svg";
  const drawing = () => $(`plane-${state.k}`);
  const scale = (svg) => ({ unit: +svg.dataset.unit, left: +svg.dataset.left, top: +svg.dataset.top });
  const pixel = (p, svg) => {
    const { unit, left, top } = scale(svg);
    return [left + unit * (value(p.alpha) - west), top + unit * (north - value(p.gamma))];
  };
  const clamp = (v, low, high) => Math.max(low, Math.min(high, v));

  const draw = (shown) => {
    for (const k of Object.keys(known.planes)) $(`plane-${k}`).classList.toggle("away", k !== state.k);
    const svg = drawing(), { unit, left, top } = scale(svg);
    const right = left + unit * (east - west), bottom = top + unit * (north - south);
    let [x, y] = pixel(point(), svg);
    const outside = x < left || x > right || y < top || y > bottom;
    [x, y] = [clamp(x, left, right), clamp(y, top, bottom)];
    let marks = `<path class="hair" d="M${left} ${y}H${right}M${x} ${top}V${bottom}"/>`;
    if (shown) {
      const [u, v] = pixel(shown, svg);
      if (!same(shown, point())) marks += `<path class="tie" d="M${x} ${y}L${u} ${v}"/>`;
      if (!same(shown, point())) marks += `<circle class="trained" cx="${u}" cy="${v}" r="4.5"/>`;
    }
    if (state.hovered && !same(state.hovered, state.pinned)) {
      const [u, v] = pixel(state.pinned, svg);
      if (u >= left && u <= right && v >= top && v <= bottom) marks += `<circle class="stayed" cx="${u}" cy="${v}" r="8"/>`;
    }
    marks += `<circle class="ring-back" cx="${x}" cy="${y}" r="13"/><circle class="ring${outside ? " outside" : ""}" cx="${x}" cy="${y}" r="13"/>`;
    let group = svg.querySelector(".marks");
    if (!group) {
      group = document.createElementNS(SVG, "g");
      group.setAttribute("class", "marks");
      svg.append(group);
    }
    group.innerHTML = marks;
    return outside;
  };

  /** The point meant by a place on the screen: a corner, a point with a name, a line, or the nearest simple fractions. */
  const meant = (event) => {
    const svg = drawing(), box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal, ratio = view.width / box.width;
    const touch = event.pointerType === "touch", reach = (touch ? REACH.touch : REACH.mouse) * ratio, free = touch ? FREE_TOUCH : FREE;
    const { unit, left, top } = scale(svg);
    const x = (event.clientX - box.left) * ratio, y = (event.clientY - box.top) * ratio;
    const alpha = clamp(west + (x - left) / unit, west, east), gamma = clamp(north - (y - top) / unit, south, north);
    const away = (p) => Math.hypot(value(p.alpha) - alpha, value(p.gamma) - gamma) * unit;
    const marked = [...plane().corners.map(([a, g]) => ({ alpha: read(a), gamma: read(g) })), ...named.map((n) => n.at)];
    const closest = marked.map((p) => [away(p), p]).sort((p, q) => p[0] - q[0])[0];
    if (closest && closest[0] < 1.6 * reach) return closest[1];
    const rounded = { alpha: near(alpha, free), gamma: near(gamma, free) };
    for (const { form } of plane().steps) {
      const [c0, c1, c2] = form.map((c) => value(read(c))), norm = Math.hypot(c1, c2);
      const distance = (c0 + c1 * alpha + c2 * gamma) / norm;
      if (Math.abs(distance) * unit < reach) {
        const foot = { alpha: near(alpha - (distance * c1) / norm, free), gamma: near(gamma - (distance * c2) / norm, free) };
        return Exact.onLine(form, foot);
      }
    }
    return rounded;
  };

  // Which runs are near: the corners of the cell of the lattice, those of the same regime first.
  const neighbours = (values, v) => {
    const all = values.map(read), here = value(v);
    const below = all.filter((x) => value(x) <= here).pop() || all[0];
    const above = all.find((x) => value(x) >= here) || all[all.length - 1];
    return equal(below, above) ? [below] : [below, above];
  };
  const runAt = (p) => known.runs[`${state.k} ${state.optimizer}`][`${text(p.alpha)} ${text(p.gamma)}`];
  const around = (regime) => {
    const { lattice } = known, here = point();
    const found = neighbours(lattice.alphas, here.alpha).flatMap((alpha) => neighbours(lattice.gammas, here.gamma).map((gamma) => ({ alpha, gamma })));
    const far = (p) => Math.hypot(value(p.alpha) - value(here.alpha), value(p.gamma) - value(here.gamma));
    const other = (p) => (runAt(p).regime === regime ? 0 : 1);
    return found.sort((p, q) => other(p) - other(q) || far(p) - far(q));
  };

  // What is said.
  const words = (e) => e.toLowerCase();
  const grows = (exponent) => (exponent === "0" ? "1" : exponent === "1" ? "L" : `L**(${exponent})`);
  const script = (found) => {
    const raw = found.raw[state.optimizer], adam = state.optimizer === "adam";
    const lines = [
      ["multiplier", `a * ${grows(raw.multiplier)}`],
      ["lr", `eta * ${grows(raw.lr)}${adam ? " / n" : ""}`],
      ...(raw.epsilon === undefined ? [] : [["eps", `eps_0 * ${grows(raw.epsilon)} / n`]]),
    ];
    return lines.map(([name, said]) => `${name.padEnd(10)} = ${said.replace(" * 1", "")}`).join("\n");
  };

  /** The id of a claim; a link to its proof where the page is part of a site. */
  const proof = (id) => (known.site && known.site[id] ? `[<a href="${escape(known.site[id])}">${id}</a>]` : `[${id}]`);

  const say = (found, outside) => {
    $("regime").innerHTML = `<span class="place">${place(point())}</span> ${swatch(found.regime)} <span>${escape(found.regime)}</span>`;
    $("meaning").innerHTML = typeset(known.meanings[found.regime] + (outside ? " (The point is outside of the picture.)" : ""));
    $("remark").innerHTML = found.remark ? typeset(found.remark) : "";
    $("steps").innerHTML = found.steps
      .map((s) => `<tr class="${s.sign ? "" : "tight"}"><th scope="row">${typeset(s.claim)}</th><td>${typeset(s.because)}</td><td class="reference">${proof(s.reference)}</td></tr>`)
      .join("");
    $("where").innerHTML = found.where.split(" and ").map((part) => `<span class="whole">${typeset(part)}</span>`).join(" and ");
    const deep = state.k === "1" ? "" : `--block-depth ${state.k} `;
    $("command").innerHTML = `<code>limits classify ${deep}${text(point().alpha)} ${text(point().gamma)}</code>`;
    const rows = found.properties.map((p) => [p.holds, p.name]);
    const kappa = found.diversity === null ? "none" : fraction(read(found.diversity));
    $("properties").innerHTML =
      rows.map(([yes, name]) => `<li class="${yes ? "yes" : "no"}"><span class="sign" aria-hidden="true">${yes ? "✓" : "✗"}</span> ${yes ? "" : '<span class="hidden">not </span>'}${name}</li>`).join("") +
      `<li><span class="sign" aria-hidden="true">κ</span> diversity exponent: ${kappa}</li>`;
    const adam = state.optimizer === "adam";
    $("script-title").textContent = `In a script, with ${adam ? "Adam" : "SGD"}`;
    $("script").textContent = script(found);
    $("script-note").innerHTML = adam
      ? "γ is the exponent of what an update does, so the verdict is that of every optimizer. Adam does not know the gradient’s size: its raw rate is <i>L</i><sup>−γ</sup>, and its ε must be as small as the gradient. <i>n</i> is the width."
      : "γ is the exponent of what an update does, so the verdict is that of every optimizer. The gradient is of order <i>L</i><sup>−α</sup>, so the raw rate of SGD is <i>L</i><sup>α−γ</sup>.";
    $("bar-point").textContent = place(point());
    $("bar-regime").textContent = found.regime;
  };

  const legend = (run, lattice) => {
    const runs = lattice.blocks.map((l, i) => `<li>${Charts.swatch(Charts.MARKS[i % 4], `size-${i}`)} L = ${l}</li>`);
    const wide = run.wide ? `<li>${Charts.stroke("curve size-2")} the same at infinite width${state.k === "1" && state.optimizer === "sgd" ? ", exactly" : `, L = ${lattice.blocks[0]} and ${lattice.blocks[1]}`}</li>` : "";
    const deep = run.deep ? `<li>${Charts.stroke("limit")} the limit, L = ∞</li>` : "";
    return runs.join("") + wide + deep;
  };

  const wide = (element) => Math.max(280, Math.min(620, Math.round(element.clientWidth)));

  const QUANTITIES = { initial: "|x<sup>L</sup> − x<sup>0</sup>| / |x<sup>0</sup>|, before training", features: "|Δx<sup>L</sup>|, the change of features", updates: "|ΔW x|, the update of one layer" };

  const table = (run, lattice) => {
    const head = `<thead><tr><th scope="col">loss at step</th>${run.losses[0].mid.map((_, t) => `<th scope="col">${t}</th>`).join("")}</tr></thead>`;
    const row = (name, values) => `<tr><th scope="row">${name}</th>${values.map((v) => `<td>${short(v)}</td>`).join("")}</tr>`;
    const rows = run.losses.map((r, i) => row(`networks, L = ${lattice.blocks[i]}`, r.mid));
    (run.wide || []).forEach((r, i) => rows.push(row(`infinite width, L = ${lattice.blocks[i]}`, r)));
    if (run.deep) rows.push(row("limit, L = ∞", run.deep));
    return `${head}<tbody>${rows.join("")}</tbody>`;
  };

  const curves = (regime) => {
    if (!known.runs) return null;
    const found = around(regime), { lattice } = known;
    const chosen = (state.near && found.find((p) => same(p, state.near))) || found[0], run = runAt(chosen);
    $("near").innerHTML = found
      .map((p, i) => `<button type="button" data-near="${i}" aria-pressed="${same(p, chosen)}" title="${runAt(p).regime}">${swatch(runAt(p).regime)} ${place(p)}</button>`)
      .join("");
    [...$("near").children].forEach((b, i) => (b.onclick = () => { state.near = found[i]; show(); $("near").children[i].focus(); }));
    $("near-note").textContent = run.regime === regime ? "" : `These networks are in another regime: ${run.regime}.`;
    const at = place(chosen), optimizer = state.optimizer === "adam" ? "Adam" : "SGD";
    $("losses").innerHTML = Charts.losses(run, lattice, `Loss against steps of networks at ${at}, ${optimizer}; the numbers are in a table below`, wide($("losses")));
    $("losses-key").innerHTML = legend(run, lattice);
    const gone = run.diverged.map(([count, t], i) => [count, t, lattice.blocks[i]]).filter(([count]) => count);
    $("diverged").innerHTML = gone.map(([count, t, l]) => `<span class="sign" aria-hidden="true">✗</span> L = ${l}: ${count} of ${lattice.seeds} networks left the range of numbers, the first ${t ? `after ${t} step${t > 1 ? "s" : ""}` : "before training"}.`).join("<br>");
    $("sizes").innerHTML = Charts.sizes(run, lattice, `Sizes after one step against the number of blocks at ${at}; exponents are in the table below`, wide($("sizes")));
    $("sizes-key").innerHTML = `<li>${Charts.stroke("slope kind-1")} exact slope</li>` + (run.wide_sizes ? `<li>${Charts.stroke("curve kind-1")} infinite width, exactly</li>` : "");
    $("exact").innerHTML = Charts.NAMES.map((name, j) => {
      const [slope, error] = run.slopes[name] || [null, null], [exact, because] = run.exact[name];
      const measured = slope === null ? "no power" : `${short(Number(slope.toFixed(2)))} ± ${short(Number((error ?? 0).toFixed(2)))}`;
      const said = exact === null ? `<span class="because">${typeset(because)}</span>` : `<b>${fraction(read(exact))}</b>`;
      return `<tr><th scope="row">${Charts.swatch(Charts.MARKS[j], `kind-${j}`)} ${QUANTITIES[name]}</th><td>${measured}</td><td>${said}</td></tr>`;
    }).join("");
    $("numbers").innerHTML = table(run, lattice);
    return chosen;
  };

  const method = () => {
    if (!known.runs) return;
    const l = known.lattice, [s, adam] = [l.lr.sgd, l.lr.adam];
    $("method").innerHTML =
      `Linear blocks of width ${l.width}, ${l.seeds} networks of every size: marks are medians, bars reach from the lowest to the highest. Three inputs ` +
      `${escape(JSON.stringify(l.inputs)).replace(/-/g, "−")} with targets ${escape(JSON.stringify(l.targets)).replace(/-/g, "−")}, squared error, η = ${s} (SGD) or ${adam} (Adam). ` +
      `Trained at ${l.alphas.length * l.gammas.length} points, the dots in the plane. Slopes are least squares over L = ${l.blocks.join(", ")} with their standard error; exact ones hold as L → ∞. ` +
      `At infinite width: <code>recurse</code>, exact for k = 1 and SGD, else means over ${8 * l.particles} neurons; the limit: <code>solve</code>.`;
  };

  const say_aloud = (found) => {
    const layers = state.k === "1" ? "one layer" : `${state.k} layers`;
    $("announce").textContent = `alpha ${text(point().alpha)}, gamma ${text(point().gamma)}, blocks of ${layers}: ${found.regime}.`.replace(/-/g, "minus ");
  };

  const show = ({ aloud = false, typing = false } = {}) => {
    const found = Exact.verdict(plane(), point());
    const shown = curves(found.regime);
    say(found, draw(shown));
    $("plane").setAttribute("aria-label", `Plane of exponents: ${place(point())}, ${found.regime}`);
    if (!typing) {
      $("alpha").value = fraction(point().alpha);
      $("gamma").value = fraction(point().gamma);
    }
    document.querySelectorAll("#named button").forEach((b, i) => b.setAttribute("aria-pressed", same(named[i].at, state.pinned)));
    document.querySelectorAll("#lines button").forEach((b, i) => b.setAttribute("aria-pressed", found.steps[i].sign === 0));
    document.querySelectorAll(".scroll").forEach((e) => e.toggleAttribute("tabindex", e.scrollWidth > e.clientWidth + 1));
    document.querySelectorAll(".scroll[tabindex]").forEach((e) => e.setAttribute("tabindex", "0"));
    if (aloud) say_aloud(found);
  };

  // How it is moved.
  const link = () => `#a=${text(state.pinned.alpha)}&g=${text(state.pinned.gamma)}&k=${state.k}&o=${state.optimizer}`;
  const remember = () => { try { history.replaceState(null, "", link()); } catch { /* a page that may not */ } };
  const pin = (p, options = {}) => {
    state.pinned = p;
    state.hovered = state.near = null;
    complain("");
    remember();
    show({ aloud: true, ...options });
  };
  const complain = (sentence, input = null) => {
    $("typed").textContent = sentence;
    for (const id of ["alpha", "gamma"]) $(id).setAttribute("aria-invalid", String(input === id));
  };
  const follow = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    const a = parse(asked.get("a") ?? ""), g = parse(asked.get("g") ?? "");
    if (known.planes[asked.get("k")]) state.k = asked.get("k");
    if (plane().raw[asked.get("o")]) state.optimizer = asked.get("o");
    if (a && g) state.pinned = { alpha: a, gamma: g };
    state.hovered = state.near = null;
    for (const name of ["k", "optimizer"]) {
      const radio = document.querySelector(`input[name="${name[0]}"][value="${state[name]}"]`);
      if (radio) radio.checked = true;
    }
    lines();
    show();
  };

  const lines = () => {
    $("lines").innerHTML = plane().steps.map((s) => `<button type="button" aria-pressed="false"><span>${typeset(`${s.said} = 0`)}</span></button>`).join("");
    [...$("lines").children].forEach((b, i) => (b.onclick = () => pin(Exact.onLine(plane().steps[i].form, state.pinned))));
  };

  const typed = () => {
    const a = parse($("alpha").value), g = parse($("gamma").value);
    if (!a || !g) return complain(`${a ? "γ" : "α"} must be a fraction such as 1/2 or −0.25, of at most twelve digits.`, a ? "gamma" : "alpha");
    pin({ alpha: a, gamma: g }, { typing: true });
  };

  const moved = (event) => {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Home") pin(named[0].at);
    else if (event.key === "Enter" || event.key === " ") pin(point());
    else if (event.key === "Escape") { state.hovered = null; show(); }
    else if (direction) {
      const step = event.shiftKey ? FINE : STEP, from = state.pinned;
      const by = (n) => (n > 0 ? step : n < 0 ? Exact.minus(step) : of(0));
      pin({ alpha: add(from.alpha, by(direction[0])), gamma: add(from.gamma, by(direction[1])) });
    } else return;
    event.preventDefault();
  };

  const begin = () => {
    const area = $("plane");
    area.tabIndex = 0;
    area.setAttribute("role", "application");
    area.setAttribute("aria-roledescription", "plane");
    area.addEventListener("keydown", moved);
    let waiting = 0;
    area.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch") return;
      const p = meant(event);
      if (state.hovered && same(p, state.hovered)) return;
      state.hovered = p;
      state.near = null;
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(() => show());
    });
    area.addEventListener("pointerleave", () => { cancelAnimationFrame(waiting); if (state.hovered) { state.hovered = null; show(); } });
    area.addEventListener("click", (event) => { pin(meant(event)); area.focus({ preventScroll: true }); });
    for (const id of ["alpha", "gamma"]) {
      $(id).addEventListener("input", typed);
      $(id).addEventListener("blur", () => { if ($(id).getAttribute("aria-invalid") !== "true") show(); });
    }
    $("controls").addEventListener("submit", (event) => { event.preventDefault(); typed(); });
    document.querySelectorAll('input[name="k"]').forEach((r) => r.addEventListener("change", () => { state.k = r.value; lines(); pin(state.pinned); }));
    document.querySelectorAll('input[name="o"]').forEach((r) => r.addEventListener("change", () => { state.optimizer = r.value; pin(state.pinned); }));
    $("named").innerHTML = named.map((n) => `<button type="button" aria-pressed="false"><span>${typeset(n.name)}</span></button>`).join("");
    [...$("named").children].forEach((b, i) => (b.onclick = () => pin(named[i].at)));
    $("curves").classList.toggle("away", !known.runs);
    method();
    addEventListener("hashchange", follow);
    addEventListener("resize", () => show());
    follow();
  };
  begin();
})();
