"""How long does `import lightning_losses` take beside `import lightning`?

Each import runs in a fresh interpreter; the interpreter's own start is not counted. Target: at most 1.10.
"""

import subprocess
import sys

from _common import arguments, publish, ratios, spread, table

IMPORTS = ("torch", "lightning", "lightning_losses", "lightning, lightning_losses")
CLOCKS = (
    "import time; wall, cpu = time.perf_counter(), time.process_time(); import {}; "
    "print(time.process_time() - cpu, time.perf_counter() - wall)"
)


def measure(names: str) -> tuple[float, float]:
    """CPU and wall seconds of one import in a new interpreter."""
    command = [sys.executable, "-c", CLOCKS.format(names)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cpu, wall = map(float, answer.split())
    return cpu, wall


def main() -> None:
    options = arguments(__doc__, repeats=9)
    for names in IMPORTS:
        measure(names)  # fills the file cache
    times: dict[str, tuple[list[float], list[float]]] = {names: ([], []) for names in IMPORTS}
    for _ in range(options.repeats):
        for names in IMPORTS:
            for clock, seconds in zip(times[names], measure(names), strict=True):
                clock.append(seconds)
    base = times["lightning"]
    rows = [
        (f"`import {names}`", spread(cpu).text(unit=" s"), ratios(cpu, base[0]).text(), ratios(wall, base[1]).text())
        for names, (cpu, wall) in times.items()
    ]
    ratio = ratios(times["lightning_losses"][0], base[0]).median
    verdict = f"`import lightning_losses` takes {ratio:.2f} times the CPU time of `import lightning`; target 1.10."
    columns = ("", "CPU time", "of lightning's CPU time", "of lightning's wall time")
    text = f"{table(columns, rows)}\n\n{verdict} Median [quartiles] of {options.repeats} interleaved interpreters."
    publish(options.output, "How long does the import take?", text, {"ratio": ratio, "seconds_cpu_wall": times})


if __name__ == "__main__":
    main()
