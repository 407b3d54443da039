"""What do balancers and monitors send between ranks, and what will that come to on a large cluster?

Every collective of every process is counted (see `_collectives`) in trainings of a small model on 2, 4 and 8 processes,
and compared with the same training by DDP or FSDP2 alone and with a formula. The formulas, with a model of a network,
say what 1,024 GPUs would send. What monitors hold in memory is measured at small sizes too, and extrapolated.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from _collectives import Message
from _common import RESULTS, publish, table
from _scaling_cases import BALANCERS, CASES, LOSSES, MONITORS, PARAMETER_SIZED, PLAIN, PLAIN_SHARDED, SHARDED
from _scaling_count import Steps, agrees, counted, extra, sizes
from _scaling_memory import coefficients
from _scaling_model import BANDWIDTH, FLOAT, LATENCY, LOGGED, MODELS, RANKS, TOKENS, cluster, duration


def size(numbers: Iterable[Message]) -> int:
    """Bytes of some messages."""
    return sum(message.bytes for message in numbers)


def counts(found: Mapping[int, Mapping[str, Steps]], names: Iterable[str]) -> str:
    """The table of what was counted."""
    rows = []
    for name in names:
        measured = {ranks: max(extra(of, name), key=len) for ranks, of in found.items()}
        by_formula = all(agrees(extra(of, name), CASES[name], ranks) for ranks, of in found.items())
        most = max(map(len, measured.values()))
        rows.append(
            (
                name,
                CASES[name].formula,
                most,
                *(size(step) for step in measured.values()),
                "yes" if by_formula else "NO",
            )
        )
    columns = ("a measured step sends", "numbers of each message", "messages", *(f"bytes, {n} ranks" for n in found))
    return table((*columns, "as the formula says"), rows)


def human(number: float) -> str:
    """Bytes with a unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def brief(seconds: float) -> str:
    """A duration with a unit."""
    for unit, length in {"s": 1.0, "ms": 1e-3}.items():
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{1e6 * seconds:.3g} us"


def at_scale(names: Iterable[str]) -> list[dict[str, Any]]:
    """What the formulas say of a large model on many ranks."""
    rows = []
    for name in names:
        terms = 1 if name in LOSSES else cluster(1).T
        sent = {ranks: CASES[name].messages(cluster(ranks)._replace(T=terms)) for ranks in RANKS}
        every = LOGGED if CASES[name].monitor else 1
        times = {ranks: duration(step, ranks) for ranks, step in sent.items()}
        rows.append(
            {"name": name, "bytes": {n: size(step) for n, step in sent.items()}, "seconds": times, "every": every}
        )
    return rows


def scaled(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of these."""
    last = RANKS[-1]
    columns = ("a measured step", f"bytes, {last:,} GPUs", *(f"time, {n:,} GPUs" for n in RANKS), "time a step")
    cells = [
        (
            row["name"],
            human(row["bytes"][last]),
            *(brief(row["seconds"][n]) for n in RANKS),
            brief(row["seconds"][last] / row["every"]),
        )
        for row in rows
    ]
    gradients = [Message("all_reduce", cluster(n).P, "BFloat16") for n in RANKS]
    times = [duration([message], n) for message, n in zip(gradients, RANKS, strict=True)]
    own = ("*DDP's gradients, in bf16*", human(gradients[-1].bytes), *map(brief, times), brief(times[-1]))
    return table(columns, [own, *cells])


def memory(found: Mapping[str, float]) -> tuple[str, dict[str, dict[str, float]]]:
    """What monitors hold with growing models, as a table and as bytes."""
    held = {
        model.name: {
            "the parameters in float32": FLOAT * model.parameters,
            "GradientNormMonitor, DDP": FLOAT * found["GradientNormMonitor"] * model.parameters,
            f"GradientNormMonitor, FSDP2 on {RANKS[-1]:,}": FLOAT * model.parameters / RANKS[-1],
            "trace of the Hessian, one sequence": FLOAT * found["trace"] * TOKENS * model.width * model.blocks,
            "critical (not under FSDP2)": FLOAT * found["critical"] * model.parameters,
            "lambda_max (not under FSDP2)": FLOAT * found["lambda_max"] * model.parameters,
        }
        for model in MODELS
    }
    rows = [(what, *(human(held[model.name][what]) for model in MODELS)) for what in held[MODELS[0].name]]
    return table(("held beside the training, a GPU", *held), rows), held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8], help="numbers of processes (2 4 8)")
    parser.add_argument("--output", type=Path, default=RESULTS / "scaling.json", help="where the JSON goes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {ranks: counted(ranks) for ranks in options.ranks}
    held = coefficients()
    alone = {n: {name: of[name][0] for name in (PLAIN, PLAIN_SHARDED)} for n, of in found.items()}
    by_rank = {n: {name: extra(of, name) for name in CASES} for n, of in found.items()}
    formulas = {n: {name: case.messages(sizes(n)) for name, case in CASES.items()} for n in found}
    grown = at_scale(name for name, case in CASES.items() if case.messages(cluster(2)))
    memory_table, memory_bytes = memory(held)
    shown = f"T = {sizes(1).T} terms, P = {sizes(1).P} parameters, Q = {sizes(1).Q} of them in the shared layer"
    text = "\n\n".join(
        [
            f"Counted, {shown}; b: a broadcast of the balancer's state by DDP, all other messages are all-reduces.",
            *(counts(found, names) for names in (BALANCERS, LOSSES, MONITORS, SHARDED)),
            f"On a cluster, by the formulas: {cluster(RANKS[-1])}, of a loss one term; a latency of {brief(LATENCY)} "
            f"and {human(BANDWIDTH)}/s; messages one after the other, hidden behind nothing. Monitors send every "
            f"{LOGGED} steps, Lightning's default.",
            scaled(grown),
            "Memory, from measured coefficients: "
            + ", ".join(f"{name} {value:.2f}" for name, value in held.items())
            + f" numbers in float32 (a parameter; for the trace a token, block and unit of width, {TOKENS} tokens).",
            memory_table,
        ]
    )
    data = {"sizes": sizes(1)._asdict(), "alone": alone, "measured": by_rank, "formulas": formulas}
    data |= {"parameter_sized": sorted(PARAMETER_SIZED), "cluster": grown, "coefficients": held, "memory": memory_bytes}
    publish(options.output, "What do balancers and monitors send and hold as models and clusters grow?", text, data)


if __name__ == "__main__":
    main()
