"use strict";
// The numbers of the page: decoded when they are first needed, smoothed, and written for people.

const PAGE = JSON.parse(document.getElementById("data").textContent);
const decoded = new Map();

/** An array of the page by its index: float64 for positions, float32 for values. */
function numbers(index, Kind = Float32Array) {
  if (!decoded.has(index)) {
    const text = atob(PAGE.arrays[index]);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    decoded.set(index, new Kind(bytes.buffer));
  }
  return decoded.get(index);
}

/** What can be drawn: NaN, infinities and, on a logarithmic axis, what is not above 0 are gaps. */
function drawable(values, isLog) {
  return Array.from(values, (value) => (Number.isFinite(value) && !(isLog && value <= 0) ? value : null));
}

/** The exponential running mean with this weight of the past, its start corrected; gaps stay gaps. */
function smoothed(values, weight) {
  let sum = 0;
  let mass = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return sum / mass;
  });
}

/** Places of values with no neighbour to draw a line to, which need a dot to be seen; all where there are few. */
function lonely(values) {
  const found = [];
  let count = 0;
  let before = null;
  let last = -1;
  for (let i = 0; i < values.length; i++) {
    if (values[i] === undefined) continue; // another line's place
    if (last >= 0 && values[last] !== null && before === null && values[i] === null) found.push(last);
    before = last >= 0 ? values[last] : null;
    last = i;
    count += values[i] !== null;
  }
  if (last >= 0 && values[last] !== null && before === null) found.push(last);
  return count > 12 ? found : [...values.keys()].filter((i) => values[i] != null);
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const finer = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });

/** A number in a form that is quickly read: 0.412, 1,024, 3.1e-7. */
function written(value, format = plain) {
  if (value == null) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(format === finer ? 4 : 2).replace(/\.?0+e/, "e").replace("e+", "e");
  return format.format(value).replace("-", "−");
}
