"""How long does the report of a long training take to write and to open?

A CSVLogger's file with 100,000 rows of 20 series. Writing includes reading the log. Opening is the time from navigation
in headless Chromium until the charts in view are drawn, by the browser's own clock. Target: open in less than 3 s.
"""

import csv
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import arguments, publish, spread, table
from playwright.sync_api import Browser, sync_playwright

from lightning_losses.dashboards import report

ROWS = 100_000
GROUPS = ("train/raw", "losses/normalized", "losses/share", "gradients/term_norm", "gradients/norm")
KEYS = [f"{group}/{name}" for group in GROUPS for name in ("boxes", "classes", "centerness", "masks")]
OPENED = "() => document.querySelectorAll('canvas').length >= 3 && performance.now()"


def log(folder: Path, rows: int) -> None:
    """The table that a CSVLogger leaves."""
    steps = np.arange(rows)
    noise = np.random.default_rng(0).normal(size=(rows, len(KEYS)))
    values = np.exp(-3 * steps / rows)[:, None] * (1 + 0.1 * noise)
    with (folder / "metrics.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow([*KEYS, "epoch", "step"])
        lines.writerows([*row, step // 1000, step] for step, row in zip(steps.tolist(), values.tolist(), strict=True))


def opening(browser: Browser, file: Path) -> float:
    """Seconds from navigation to the drawn charts."""
    page = browser.new_page(viewport={"width": 1440, "height": 1400})
    page.goto(f"file://{file}")
    milliseconds = float(page.wait_for_function(OPENED, polling=10).json_value())
    page.close()
    return milliseconds / 1000


def main() -> None:
    options = arguments(__doc__, repeats=5)
    rows, numbers = [], {}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for count in (1000, ROWS):
            folder = Path(name, str(count))
            folder.mkdir()
            log(folder, count)
            begin = time.process_time()
            file = report.write([folder])
            writing = time.process_time() - begin
            times = [opening(browser, file) for _ in range(options.repeats)]
            size = file.stat().st_size / 1e6
            rows.append((f"{count:,}", f"{writing:.1f} s", f"{size:.1f} MB", spread(times).text(unit=" s")))
            numbers[count] = {"writing_cpu_seconds": writing, "megabytes": size, "opening_wall_seconds": times}
        browser.close()
    seconds = spread(numbers[ROWS]["opening_wall_seconds"]).median
    verdict = f"{ROWS:,} rows of {len(KEYS)} series open in {seconds:.1f} s; target 3 s."
    columns = ("rows", "CPU time to write", "size", "time to open")
    text = f"{table(columns, rows)}\n\n{verdict} Median [quartiles] of {options.repeats} openings."
    publish(options.output, "How long does a report take?", text, {"rows": numbers})


if __name__ == "__main__":
    main()
