"""Every combination of the values that some keys take."""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lightning_losses.cli.assembly import Job
from lightning_losses.config import ConfigError
from lightning_losses.launch.planning import Planned, plan

PAIRS = {"]": "[", "}": "{", ")": "("}


def parse(axes: Sequence[str]) -> dict[str, list[str]]:
    """The values of each key, from `key=first,second`.

    >>> parse(["model.lr=0.1,0.01", "data.size=[64,64],[32,32]"])
    {'model.lr': ['0.1', '0.01'], 'data.size': ['[64,64]', '[32,32]']}

    Raises:
        ConfigError: there is no key, one comes twice, or a value comes twice.
    """
    values: dict[str, list[str]] = {}
    for axis in axes:
        key, equals, text = axis.partition("=")
        if not (key and equals):
            raise ConfigError(f"--sweep must be key=value,value,..., found {axis!r}.")
        if key in values:
            raise ConfigError(f"--sweep must name each key once, found {key} twice.")
        values[key] = split(text)
        for value in values[key]:
            if values[key].count(value) > 1:
                raise ConfigError(f"--sweep {key} must have different values, found {value!r} twice.")
    return values


def split(text: str) -> list[str]:
    """The parts between those commas that are in no bracket and no quotes.

    >>> split("Fixed,{class_path: GradNorm, init_args: {alpha: 1}},'a,b'")
    ['Fixed', '{class_path: GradNorm, init_args: {alpha: 1}}', "'a,b'"]
    """
    parts, quote = [""], ""
    opened: list[str] = []
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and (opened or not parts[-1].strip()):  # in YAML, an apostrophe within a word is none
            quote = character
        elif character in PAIRS.values():
            opened.append(character)
        elif opened and PAIRS.get(character) == opened[-1]:
            opened.pop()
        elif character == "," and not opened:
            parts.append("")
            continue
        parts[-1] += character
    return parts


def expand(job: Job, values: dict[str, list[str]]) -> list[tuple[Job, dict[str, str]]]:
    """A job for every combination, the last key varying fastest, with the values that are its own.

    Raises:
        ConfigError: `run_dir` is given, which all runs would share.
    """
    if values and ("run_dir" in values or any(override.startswith("run_dir=") for override in job.overrides)):
        raise ConfigError("run_dir must not be given with --sweep: each run has a directory of its own.")
    swept = [key for key in values if len(values[key]) > 1]
    jobs = []
    for combination in itertools.product(*values.values()):
        own = dict(zip(values, combination, strict=True))
        overrides = [*job.overrides, *(f"{key}={value}" for key, value in own.items())]
        jobs.append((replace(job, overrides=overrides), {key: own[key] for key in swept}))
    return jobs


def plan_all(jobs: Sequence[tuple[Job, dict[str, str]]], *, elsewhere: bool) -> list[Planned]:
    """Check every run of a sweep; nothing is written.

    Raises:
        ConfigError: a configuration is wrong, or two runs would share their directory.
    """
    runs: dict[Path, Planned] = {}
    for job, values in jobs:
        try:
            run = plan(job, elsewhere=elsewhere, values=values)
        except ConfigError as error:
            raise ConfigError(f"{describe(values)}: {error}" if values else str(error)) from error
        if run.directory in runs:
            both = f"{describe(runs[run.directory].values)} and {describe(values)}"
            raise ConfigError(f"Every run of a sweep must have its own directory, found {run.directory} for {both}.")
        runs[run.directory] = run
    return list(runs.values())


def folder(runs: Sequence[Planned]) -> Path:
    """Where a sweep keeps what belongs to no single run; it follows from the runs' directories."""
    names = json.dumps([str(run.directory) for run in runs])
    return runs[0].directory.parent / f"sweep-{hashlib.sha256(names.encode()).hexdigest()[:8]}"


def describe(values: dict[str, str]) -> str:
    """The values of a run, in a line."""
    return " ".join(f"{key}={value}" for key, value in values.items())
