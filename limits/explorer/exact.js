// Exact fractions, and the verdict on a point: every form and inequality comes from the data, none from here.
const Exact = (() => {
  "use strict";
  const LONGEST = 12; // digits of a number that is typed

  const gcd = (a, b) => (b === 0n ? (a < 0n ? -a : a) : gcd(b, a % b));
  const make = (n, d) => {
    const common = gcd(n, d) * (d < 0n ? -1n : 1n);
    return { n: n / common, d: d / common };
  };
  const of = (n, d = 1) => make(BigInt(n), BigInt(d));
  const add = (x, y) => make(x.n * y.d + y.n * x.d, x.d * y.d);
  const times = (x, y) => make(x.n * y.n, x.d * y.d);
  const minus = (x) => ({ n: -x.n, d: x.d });
  const over = (x, y) => make(x.n * y.d, x.d * y.n);
  const sign = (x) => (x.n > 0n ? 1 : x.n < 0n ? -1 : 0);
  const equal = (x, y) => x.n === y.n && x.d === y.d;
  const text = (x) => (x.d === 1n ? `${x.n}` : `${x.n}/${x.d}`);
  const value = (x) => Number(x.n) / Number(x.d);

  /** The multiple of 1/parts that is nearest to a number. */
  const near = (number, parts) => of(Math.round(number * parts), parts);

  /** What a text such as "1/2", "-0.25" or "−3/8" says; null if it says no fraction. */
  const parse = (typed) => {
    const said = String(typed).trim().replace(/[−–]/g, "-").replace(/\s*\/\s*/, "/");
    const found = /^([+-]?)(\d*)(?:\.(\d*)|\/(\d+))?$/.exec(said);
    if (!found || said.replace(/\D/g, "").length > LONGEST) return null;
    const [, minusSign, whole, decimals, below] = found;
    if (!whole && !decimals) return null;
    if (below !== undefined && (!whole || BigInt(below) === 0n)) return null;
    const d = below !== undefined ? BigInt(below) : 10n ** BigInt((decimals || "").length);
    const n = BigInt(whole + (decimals || "") || "0");
    return make(minusSign === "-" ? -n : n, d);
  };

  const cache = new Map();
  const read = (said) => {
    if (!cache.has(said)) cache.set(said, parse(said));
    return cache.get(said);
  };

  /** c0 + c1 alpha + c2 gamma at a point. */
  const at = (form, point) =>
    add(add(read(form[0]), times(read(form[1]), point.alpha)), times(read(form[2]), point.gamma));

  const holds = (inequality, point) => {
    const found = sign(at(inequality.form, point));
    return inequality.relation === "<" ? found < 0 : inequality.relation === "=" ? found === 0 : found <= 0;
  };
  const within = (piece, point) => piece.every((inequality) => holds(inequality, point));
  const inside = (pieces, point) => pieces.some((piece) => within(piece, point));

  const step = (known, point) => {
    const order = at(known.form, point), where = sign(order);
    const compared = where ? ` ${where < 0 ? "<" : ">"} 0` : "";
    const because = known.because[where + 1].replace("VALUE", text(order)).replace("NEGATIVE", text(minus(order)));
    return { claim: `${known.said} = ${text(order)}${compared}`, because, reference: known.reference, sign: where };
  };

  /** Everything the data say of a point: its regime, the piece it lies in, the steps, the properties, raw exponents. */
  const verdict = (plane, point) => {
    const region = plane.regions.find((r) => inside(r.pieces, point));
    const piece = region.pieces.findIndex((p) => within(p, point));
    const kappa = plane.diversity.find((d) => inside(d.pieces, point));
    const remark = plane.remarks.find((r) => inside(r.pieces, point));
    const raw = {};
    for (const [optimizer, forms] of Object.entries(plane.raw)) {
      raw[optimizer] = Object.fromEntries(Object.entries(forms).map(([name, form]) => [name, text(at(form, point))]));
    }
    return {
      regime: region.name,
      where: region.said[piece],
      steps: plane.steps.map((known) => step(known, point)),
      properties: plane.properties.map((p) => ({ name: p.name, holds: inside(p.pieces, point) })),
      diversity: kappa ? kappa.value : null,
      remark: remark ? remark.text : null,
      raw,
    };
  };

  /** The point of a line that shares a coordinate with a point: alpha, unless the line fixes it. */
  const onLine = (form, point) => {
    const [c0, c1, c2] = form.map(read);
    if (sign(c2)) return { alpha: point.alpha, gamma: minus(over(add(c0, times(c1, point.alpha)), c2)) };
    return { alpha: minus(over(c0, c1)), gamma: point.gamma };
  };

  return { of, add, minus, sign, equal, text, value, near, parse, read, at, verdict, onLine };
})();
if (typeof module !== "undefined") module.exports = Exact;
