// One chart: lines, shades, a legend that is the read-out, and the keys of the keyboard.

const HEIGHT = 220;
const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3]];
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const faint = (color, share) => `color-mix(in srgb, ${color} ${share}%, transparent)`;

class Chart {
  /** @param element the place of the chart @param state what all charts share: zoom, smoothing, hidden runs */
  constructor(element, state) {
    this.element = element;
    this.spec = PAGE.charts[element.dataset.chart];
    this.state = state;
    this.isLog = this.spec.log || (this.state.log && this.spec.canLog);
    this.hidden = new Set();
    this.step = element.querySelector(".step");
    this.logButton = element.querySelector(".log");
    this.logButton?.addEventListener("click", () => this.setLog(!this.isLog));
    this.items = [...element.querySelectorAll(".legend button")].map((button, i) => this.item(button, i));
    const plot = element.querySelector(".plot");
    plot.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => plot.clientWidth !== this.plot.width && this.plot.setSize({ width: plot.clientWidth, height: HEIGHT })).observe(plot);
    this.frame = plot;
    this.draw();
  }

  item(button, i) {
    button.addEventListener("click", () => {
      this.hidden.has(i) ? this.hidden.delete(i) : this.hidden.add(i);
      this.show();
    });
    button.addEventListener("mouseenter", () => this.plot.setSeries(1 + i, { focus: true }));
    button.addEventListener("mouseleave", () => this.plot.setSeries(null, { focus: false }));
    return { button, value: button.querySelector("b") };
  }

  /** The columns of every line, on one axis: the smoothed or plain line, then what else it draws. */
  columns() {
    const weight = this.spec.smooth && this.state.smoothing;
    const byPositions = new Map();
    this.spec.lines.forEach((line, i) => {
      const raw = drawable(numbers(line.y), this.isLog);
      const own = [[i, "line", weight ? smoothed(raw, weight) : raw]];
      if (weight) own.push([i, "raw", raw]);
      if (line.lower !== null) {
        own.push([i, "lower", drawable(numbers(line.lower), this.isLog)], [i, "upper", drawable(numbers(line.upper), this.isLog)]);
      }
      byPositions.set(line.x, [...(byPositions.get(line.x) ?? []), ...own]);
    });
    const tables = [...byPositions].map(([x, its]) => [numbers(x, Float64Array), ...its.map(([, , values]) => values)]);
    const joined = uPlot.join(tables);
    const roles = [...byPositions.values()].flat().map(([i, role]) => ({ i, role }));
    const order = roles.map((role, k) => ({ ...role, values: joined[1 + k] }));
    const first = order.filter((column) => column.role === "line").sort((a, b) => a.i - b.i);
    return { x: joined[0], columns: [...first, ...order.filter((column) => column.role !== "line")] };
  }

  draw() {
    const { x, columns } = this.columns();
    this.parts = columns;
    const place = (i, role) => 1 + columns.findIndex((column) => column.i === i && column.role === role);
    const bands = this.spec.lines.flatMap((line, i) =>
      line.lower === null ? [] : [{ series: [place(i, "upper"), place(i, "lower")], fill: faint(style(`--c${line.color}`), 18) }],
    );
    const ink = style("--ink-soft");
    const grid = { stroke: style("--line"), width: 1 };
    const axis = { stroke: ink, font: "12px system-ui, sans-serif", grid, ticks: { show: false } };
    this.plot?.destroy();
    this.plot = new uPlot(
      {
        width: this.frame.clientWidth,
        height: HEIGHT,
        padding: [8, 12, 0, 0],
        legend: { show: false },
        focus: { alpha: 0.25 },
        cursor: {
          y: false,
          drag: { x: true, y: false, setScale: false },
          points: { size: 7 },
          sync: { key: this.spec.axis, filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
          bind: { dblclick: () => () => this.state.zoom(this.spec.axis, null) },
        },
        scales: {
          x: { time: false, range: (_, least, most) => this.state.range(this.spec.axis) ?? [least, most] },
          y: { distr: this.isLog ? 3 : 1, range: this.isLog ? paddedLog : padded },
        },
        axes: [
          { ...axis, size: 28, space: 70, values: (_, ticks) => ticks.map((tick) => written(tick, finer)) },
          { ...axis, size: 58, space: 36, ...(this.isLog && { splits: decades, filter: (_, ticks) => ticks }), values: (_, ticks) => ticks.map((tick) => written(tick, finer)) },
        ],
        series: [{}, ...columns.map((column) => this.look(column))],
        bands,
        hooks: { setCursor: [() => this.read()], setSelect: [(plot) => this.select(plot)] },
      },
      [x, ...columns.map((column) => column.values)],
      this.frame,
    );
    this.logButton?.setAttribute("aria-pressed", String(this.isLog));
    this.mark();
    this.read();
  }

  look({ i, role, values }) {
    const line = this.spec.lines[i];
    const color = style(`--c${line.color}`);
    const show = !this.isOff(i);
    if (role === "lower" || role === "upper") return { show, points: { show: false } };
    if (role === "raw") return { show, stroke: faint(color, 40), width: 1, points: { show: false } };
    const dots = lonely(values);
    const points = { show: false, size: 6, fill: color, stroke: color, filter: () => dots };
    return { show, stroke: color, width: 1.75, dash: DASHES[line.dash], points };
  }

  /** Whether a line is switched off, here or by its run. */
  isOff(i) {
    return this.hidden.has(i) || this.state.hiddenRuns.has(this.spec.lines[i].run);
  }

  /** Shows in the legend what is switched off. */
  mark() {
    this.items.forEach(({ button }, i) => button.setAttribute("aria-pressed", String(!this.isOff(i))));
  }

  /** Draws what is not switched off. */
  show() {
    this.mark();
    this.plot.batch(() => this.parts.forEach(({ i }, k) => this.plot.setSeries(1 + k, { show: !this.isOff(i) })));
  }

  setLog(isLog) {
    this.isLog = isLog;
    this.draw();
  }

  /** The read-out: the value that was logged at or last before the cursor, or the last one. */
  read() {
    const { idx } = this.plot?.cursor ?? {};
    const at = this.plot && idx != null ? this.plot.data[0][idx] : null;
    this.step.textContent = at === null ? "last" : `${this.spec.axis} ${written(at, whole)}`;
    this.items.forEach(({ value }, i) => {
      const line = this.spec.lines[i];
      const place = at === null ? numbers(line.y).length - 1 : before(numbers(line.x, Float64Array), at);
      value.textContent = place < 0 ? "–" : written(numbers(line.y)[place]);
    });
  }

  select(plot) {
    const { left, width } = plot.select;
    if (width > 3) this.state.zoom(this.spec.axis, [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }

  zoomed() {
    const x = this.plot.data[0];
    const [min, max] = this.state.range(this.spec.axis) ?? [x[0], x[x.length - 1]];
    this.plot.setScale("x", { min, max });
  }

  key(event) {
    const x = this.plot.data[0];
    const { min, max } = this.plot.scales.x;
    const at = this.plot.cursor.idx ?? before(x, max);
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 }[event.key];
    if (step) {
      const next = x[Math.min(Math.max(at + step, 0), x.length - 1)];
      this.plot.setCursor({ left: this.plot.valToPos(Math.min(Math.max(next, min), max), "x"), top: 0 });
    } else if (event.key === "+" || event.key === "-") {
      const half = (max - min) / (event.key === "+" ? 4 : 1);
      const middle = Math.min(Math.max(x[at], min), max);
      this.state.zoom(this.spec.axis, event.key === "+" ? [middle - half, middle + half] : null);
    } else return;
    event.preventDefault();
  }
}

/** The index of the last entry that is not above the limit; −1 if there is none. */
function before(ascending, limit) {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ascending[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** The range of a linear axis; a constant gets room above and below. */
function padded(_, least, most) {
  if (least === null) return [0, 1];
  const room = least === most ? Math.abs(least) * 0.1 || 1 : (most - least) * 0.06;
  const from = least >= 0 && least - room < 0 ? 0 : least - room;
  return [from, most + room];
}

/** The range of a logarithmic axis. */
function paddedLog(_, least, most) {
  if (least === null) return [0.1, 1];
  const room = least === most ? 2 : (most / least) ** 0.06;
  return [least / room, most * room];
}

/** The ticks of a logarithmic axis: powers of ten, with 2 and 5 between where these are few. */
function decades(_, __, least, most) {
  const first = Math.floor(Math.log10(least));
  const last = Math.ceil(Math.log10(most));
  const span = Math.log10(most / least);
  const every = Math.max(1, Math.round(span / 5));
  const factors = span < 2 ? [1, 2, 5] : [1];
  const powers = Array.from({ length: last - first + 1 }, (_, i) => first + i).filter((power) => power % every === 0);
  return powers.flatMap((power) => factors.map((factor) => factor * 10 ** power)).filter((tick) => tick >= least && tick <= most);
}
