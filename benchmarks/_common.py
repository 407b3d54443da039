"""What the benchmarks share: interleaved timing, ratios, tables, and results that say where they come from."""

import argparse
import gc
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    *("lightning-losses", "torch", "lightning", "torchjd", "gradnorm-pytorch", "LibMTL", "torch-harness"),
    *("torchvision", "pyhessian", "curvlinops-for-pytorch", "hessian-eigenthings", "backpack-for-pytorch"),
    *("cockpit-for-pytorch", "monai", "segmentation-models-pytorch", "kornia", "pytorch-metric-learning", "timm"),
)


class Spread(NamedTuple):
    """The median of repeated measurements and the quartiles around it."""

    median: float
    lower: float
    upper: float

    def text(self, digits: int = 2, unit: str = "") -> str:
        """The median, then the interquartile range in brackets."""
        return f"{self.median:.{digits}f}{unit} [{self.lower:.{digits}f}, {self.upper:.{digits}f}]"


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles; of a single value, that value."""
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * [values[0]]
    return Spread(median, lower, upper)


class Clocks(NamedTuple):
    """Seconds per call, one entry a round."""

    cpu: list[float]
    wall: list[float]


def interleave(candidates: Mapping[str, Callable[[], None]], rounds: int, calls: int) -> dict[str, Clocks]:
    """Time each candidate once a round, in a new random order every round, after one round that does not count.

    The machine's mood changes slowly compared with a round, so that ratios within a round are steady where times are
    not. CPU time of the process is the main clock: unlike wall time it does not count what other processes take.
    Between two candidates the garbage collector runs, so that none pays for the cycles of another.
    """
    gc.collect()
    gc.freeze()
    times = {name: Clocks([], []) for name in candidates}
    order = random.Random(0)
    for turn in range(rounds + 1):
        for name in order.sample(list(candidates), len(candidates)):
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls):
                candidates[name]()
            if turn > 0:
                times[name].cpu.append((time.process_time() - cpu) / calls)
                times[name].wall.append((time.perf_counter() - wall) / calls)
    return times


def ratios(times: Sequence[float], base: Sequence[float]) -> Spread:
    """Ratios taken round by round."""
    return spread([t / b for t, b in zip(times, base, strict=True)])


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A markdown table; all columns but the first are aligned right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def arguments(doc: str, repeats: int) -> argparse.Namespace:
    """The command line of a benchmark: `--repeats` and `--output`; the latter defaults to results/<script>.json."""
    name = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats, help=f"repetitions (default {repeats})")
    parser.add_argument("--output", type=Path, default=RESULTS / f"{name}.json", help="where the JSON goes")
    return parser.parse_args()


def publish(output: Path, question: str, text: str, data: Mapping[str, Any]) -> None:
    """Print the text, and write it as markdown beside the data as JSON, both with the origin of the numbers."""
    origin = _origin()
    page = f"{text}\n\n{_origin_sentence(origin)}\n"
    print(page)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"question": question, "origin": origin, **data}, indent=1) + "\n")
    output.with_suffix(".md").write_text(f"# {question}\n\n{page}")


def _origin() -> dict[str, Any]:
    return {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _origin_sentence(origin: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in origin["versions"].items())
    return (
        f"`{origin['command']}`, {origin['date']}, {origin['cpu']}, torch on {origin['threads']} thread(s), "
        f"Python {origin['python']}, {versions}."
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
