"""The result of a run, as a record and as the last thing that the user reads."""

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import torch

from lightning_losses.cli.assembly import Run
from lightning_losses.cli.files import CONFIG, RESULT
from lightning_losses.version import __version__

SHOWN = {
    "report": "report.html",
    "pictures": "predictions.png",
    "curves": "**/metrics.csv",
    "configuration": CONFIG,
    "result": RESULT,
}
OFFLINE = "wandb/offline-run-*"


def record(run: Run, metrics: dict[str, float], checkpoint: str | None) -> dict[str, Any]:
    """Everything needed to compare this run with another one, for `result.json`."""
    return {
        "recipe": run.job.recipe.name,
        "size": run.job.size,
        "metrics": metrics,
        "reference": asdict(run.reference) if run.reference else None,
        "seed": run.seed,
        "minutes": round(run.stopwatch.seconds / 60, 2),
        "checkpoint": checkpoint,
        "limits": limits(run),
        "hardware": hardware(run),
        "versions": {"torch": torch.__version__, "lightning": lightning.__version__, "lightning-losses": __version__},
        "command": run.job.command,
    }


def limits(run: Run) -> dict[str, Any]:
    """Where the training ends; a run with other limits is not finished."""
    return {"max_epochs": run.trainer.max_epochs, "max_steps": run.trainer.max_steps}


def hardware(run: Run) -> str:
    """The processes and what each trains on, for example "4 x NVIDIA H100"."""
    device = run.trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu()
    return f"{run.trainer.world_size} x {name}"


def text(run: Run, metrics: dict[str, float], minutes: float | None, checkpoint: Path | None) -> str:
    """The summary: the metric against its reference, then where things are."""
    lines = [f"{run.title}: {_verdict(run, metrics)}"]
    if minutes is not None:
        taken = f"{minutes:.1f} min" if minutes >= 1 else f"{60 * minutes:.0f} s"
        lines.append(_row("time", taken + _reference_time(run)))
    lines += [_row(name, path) for name, path in _files(run.directory, checkpoint)]
    return "\n".join(lines)


def _verdict(run: Run, metrics: dict[str, float]) -> str:
    reference = run.reference
    if reference is None:
        wanted = (run.config.get("reference") or {}).get("metric")
        return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if wanted in (None, name))
    measured = reference.measured(metrics)
    outcome = "reached" if reference.reached(measured) else f"missed by {reference.shortfall(measured):.4f}"
    return f"{reference.metric} {measured:.4f}, reference {reference.value:g} ± {reference.tolerance:g}: {outcome}"


def _reference_time(run: Run) -> str:
    if run.reference is None or run.reference.minutes is None:
        return ""
    on = f" on {run.reference.hardware}" if run.reference.hardware else ""
    return f" (reference: {run.reference.minutes:g} min{on})"


def _files(directory: Path, checkpoint: Path | None) -> Iterator[tuple[str, str]]:
    if checkpoint is not None:
        yield "checkpoint", str(checkpoint)
    for name, pattern in SHOWN.items():
        for path in sorted(directory.glob(pattern)):  # several for the curves, if the run was resumed
            yield name, str(path)
    for path in sorted(directory.glob(OFFLINE)):
        yield "upload", f"wandb sync {path}"


def _row(name: str, value: str) -> str:
    return f"  {name:<14}{value}"


def _cpu() -> str:
    try:
        match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        match = None
    return f"{match[1] if match else platform.machine()} ({os.cpu_count()} cores)"
