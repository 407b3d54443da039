// What the page does as a whole: charts are drawn when they come into view, and share zoom, smoothing and runs.

const find = (selector) => [...document.querySelectorAll(selector)];
const smoothing = document.getElementById("smoothing");
const reset = document.getElementById("reset");
const charts = new Map();
const ranges = {};

const state = {
  smoothing: Number(smoothing.value),
  log: false,
  hiddenRuns: new Set(),
  range: (axis) => ranges[axis] ?? PAGE.extent[axis],
  zoom(axis, range) {
    const [first, last] = PAGE.extent[axis];
    ranges[axis] = range && [Math.max(range[0], first), Math.min(range[1], last)];
    charts.forEach((chart) => chart.spec.axis === axis && chart.zoomed());
    reset.hidden = !Object.values(ranges).some(Boolean);
  },
};

const near = new IntersectionObserver(
  (entries) =>
    entries.forEach(({ isIntersecting, target }) => {
      if (!isIntersecting || charts.has(target)) return;
      charts.set(target, new Chart(target, state));
      near.unobserve(target);
    }),
  { rootMargin: "100px" },
);
find("[data-chart]").forEach((element) => near.observe(element));

smoothing.addEventListener("input", () => {
  state.smoothing = Number(smoothing.value);
  smoothing.nextElementSibling.textContent = state.smoothing.toFixed(2);
  charts.forEach((chart) => chart.spec.smooth && chart.draw());
});

document.getElementById("log").addEventListener("change", ({ target }) => {
  state.log = target.checked;
  charts.forEach((chart) => chart.setLog(chart.spec.log || (state.log && chart.spec.canLog)));
});

reset.addEventListener("click", () => Object.keys(ranges).forEach((axis) => state.zoom(axis, null)));

find("[data-run]").forEach((box) =>
  box.addEventListener("change", () => {
    const run = Number(box.dataset.run);
    box.checked ? state.hiddenRuns.delete(run) : state.hiddenRuns.add(run);
    charts.forEach((chart) => chart.show());
  }),
);

const viewer = document.getElementById("viewer");
find("button.picture").forEach((button) =>
  button.addEventListener("click", () => {
    const picture = viewer.querySelector("img");
    picture.src = button.querySelector("img").src;
    picture.alt = button.querySelector("img").alt;
    viewer.showModal();
  }),
);
viewer.addEventListener("click", () => viewer.close());

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.draw()));
