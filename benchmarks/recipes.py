"""What do the recipes reach, and does a balancer help them?

Trains recipes from the command line, one seed after the other, and adds each result to those already kept:

    python benchmarks/recipes.py segmentation --seeds 0 1 2
    python benchmarks/recipes.py segmentation/boundary --seeds 0 1 2 --set model.criterion.balancer=GradNorm
    python benchmarks/recipes.py detection/bccd --data BCCD_Dataset/BCCD --seeds 0 1 2

Without a recipe it only writes the table again. The same command goes on with a training that was stopped.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _common import RESULTS, table
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "recipes" / "measured.json"  # what `lightning-losses list` prints
PROGRAM = Path(sys.executable).with_name("lightning-losses")
KEPT = ("recipe", "size", "seed", "minutes", "hardware", "versions")
SETTING = ("recipe", "size", "overrides")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", help="a recipe of `lightning-losses list`")
    parser.add_argument("--size", default="default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="what is changed in the recipe")
    parser.add_argument("--data", help="the folder of the data, which is not kept")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmark", help="where the trainings are kept")
    parser.add_argument("--output", type=Path, default=RESULTS / "recipes.json")
    return parser.parse_args()


def train(given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """The record of one training."""
    changes = [*given.set, f"seed_everything={seed}"]
    folder = given.runs / given.recipe / f"{given.size}-{zlib.crc32(' '.join(changes).encode()):08x}"
    data = [f"data.root={Path(given.data).resolve()}"] if given.data else []
    words = ["fit", given.recipe, "--size", given.size, f"run_dir={folder}", *changes, *data]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([PROGRAM, *words], check=True, env=os.environ | {"WANDB_MODE": "offline"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = sum(getattr(after, clock) - getattr(before, clock) for clock in ("ru_utime", "ru_stime"))
    result = json.loads((folder / "result.json").read_text())
    metrics = {name: round(value, 5) for name, value in result["metrics"].items()}
    reference = OmegaConf.load(folder / "config.yaml").reference  # also where no value is promised
    return {
        **{key: result[key] for key in KEPT},
        "overrides": given.set,
        "metric": reference.metric,
        "metrics": metrics,
        "cpu_minutes": round(seconds / 60, 2),
        "date": datetime.now(UTC).date().isoformat(),
    }


def kept(output: Path, fresh: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All records, of which a fresh one replaces that of the same setting and seed."""
    records = json.loads(output.read_text())["runs"] if output.exists() else []
    by_run = {tuple(str(record[key]) for key in (*SETTING, "seed")): record for record in [*records, *fresh]}
    return [by_run[key] for key in sorted(by_run)]


def settings(records: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The records of each setting, one a seed."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(str([record[key] for key in SETTING]), []).append(record)
    return list(groups.values())


def values(group: list[dict[str, Any]]) -> list[float]:
    return [record["metrics"][record["metric"]] for record in group]


def row(group: list[dict[str, Any]]) -> list[object]:
    first, reached = group[0], values(group)
    versions = ", ".join(f"{name} {number}" for name, number in first["versions"].items() if name != "lightning-losses")
    return [
        f"`{first['recipe']}`" + ("" if first["size"] == "default" else f" ({first['size']})"),
        " ".join(f"`{override}`" for override in first["overrides"]),
        first["metric"],
        f"{statistics.mean(reached):.4f}",
        ", ".join(f"{record['seed']}: {value:.4f}" for record, value in zip(group, reached, strict=True)),
        f"{statistics.median(record['minutes'] for record in group):.1f}",
        f"{statistics.median(record['cpu_minutes'] for record in group):.1f}",
        f"{group[-1]['date']}, {versions}",
    ]


def measured(groups: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """The last result of each recipe and size as it is, for `lightning-losses list`."""
    return {
        f"{group[0]['recipe']} {group[0]['size']}": {
            "value": round(statistics.mean(values(group)), 4),
            "seeds": len(group),
            "date": max(record["date"] for record in group),
        }
        for group in groups
        if not group[0]["overrides"]
    }


def main() -> None:
    given = options()
    write(given.output, [])
    for seed in given.seeds if given.recipe else []:
        write(given.output, [train(given, seed)])


def write(output: Path, fresh: list[dict[str, Any]]) -> None:
    records = kept(output, fresh)
    groups = settings(records)
    columns = ("recipe", "changed", "metric", "mean", "by seed", "minutes", "CPU minutes", "when, with")
    page = f"# What do the recipes reach?\n\n{table(columns, map(row, groups))}\n"
    print(page)
    output.write_text(json.dumps({"runs": records}, indent=1) + "\n")
    output.with_suffix(".md").write_text(page)
    MEASURED.write_text(json.dumps(measured(groups), indent=1) + "\n")


if __name__ == "__main__":
    main()
