"""Does GradNorm do on the paper's toy problem what the paper says, here and in the peers?

Two tasks of scales 1 and 100, and ten of scales between 3 and 81; alpha 0.12; the problem is stated in `_toy.py`.
Reported are L_i(t) / L_i(0) on held-out data, the weights, whether one of them ever left the positive numbers, and by
how much the gradient that the model receives differs from that of the weighted sum that the method claims to minimise.
"""

import statistics
from collections.abc import Callable, Sequence

import torch
from _common import arguments, publish, table
from _figure import draw
from _methods import GradnormPytorch, LibMTLGradNorm, Method, Network, Ours, PlainSum
from _toy import Problem, Run

from lightning_losses.balancers import GradNorm, Uncertainty

ALPHA = 0.12
TWO, TWO_STEPS = (1.0, 100.0), 2000
TEN, TEN_STEPS = (48.0, 3.0, 54.0, 16.0, 9.0, 30.0, 52.0, 26.0, 47.0, 81.0), 1000
EQUAL, AT_WEIGHTS = "equal weights", "ours: GradNorm, last shared layer"


def methods(sigmas: Sequence[float]) -> dict[str, Callable[[Network], Method]]:
    """Every method by name; the oracle knows the scales."""
    inverse = [sigma**-2 for sigma in sigmas]
    oracle = [len(inverse) * value / sum(inverse) for value in inverse]
    return {
        EQUAL: PlainSum,
        "oracle: 1 / scale^2": lambda net: PlainSum(net, oracle),
        AT_WEIGHTS: lambda net: Ours(net, GradNorm(alpha=ALPHA), at="weight"),
        "ours: GradNorm, features": lambda net: Ours(net, GradNorm(alpha=ALPHA)),
        "ours: Uncertainty": lambda net: Ours(net, Uncertainty()),
        "LibMTL: GradNorm": lambda net: LibMTLGradNorm(net, ALPHA),
        "gradnorm-pytorch": lambda net: GradnormPytorch(net, ALPHA),
    }


def summary(run: Run, sigmas: Sequence[float]) -> dict[str, float]:
    """The numbers of one training; weights are scaled to sum T and averaged over the last 100 steps."""
    small, large = sigmas.index(min(sigmas)), sigmas.index(max(sigmas))
    last, weights = run.ratios[-1], run.weights[-100:].mean(0)
    weights = len(sigmas) * weights / weights.sum()
    trunk, heads = zip(*run.errors.values(), strict=True)
    return {
        "sum of ratios": float(last.sum()),
        f"ratio, scale {min(sigmas):g}": float(last[small]),
        f"ratio, scale {max(sigmas):g}": float(last[large]),
        f"weight, scale {min(sigmas):g}": float(weights[small]),
        f"weight, scale {max(sigmas):g}": float(weights[large]),
        "steps with a weight <= 0": int((run.weights <= 0).any(1).sum()),
        "gradient error, trunk": max(trunk),
        "gradient error, heads": max(heads),
    }


def rows(summaries: dict[str, list[dict[str, float]]]) -> list[list[str]]:
    """A method a row: the median of the seeds and, where they differ, the range."""
    return [[name, *(_cell([run[key] for run in runs]) for key in runs[0])] for name, runs in summaries.items()]


def _cell(values: Sequence[float]) -> str:
    low, middle, high = map(_number, (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} [{low}, {high}]"


def _number(value: float) -> str:
    return f"{value:.3f}" if 0.1 <= abs(value) < 1000 and value % 1 else f"{value:.2g}"


def verdict(summaries: dict[str, list[dict[str, float]]]) -> str:
    """The paper's claims, checked in every seed."""
    equal, ours = (summaries[name] for name in (EQUAL, AT_WEIGHTS))
    checks = {
        "equal weights drive the small task above 1.05 of its first loss": [r["ratio, scale 1"] > 1.05 for r in equal],
        "GradNorm keeps it below 1.03": [r["ratio, scale 1"] < 1.03 for r in ours],
        "GradNorm's weight of it is in [1.95, 1.98]": [1.95 <= r["weight, scale 1"] <= 1.98 for r in ours],
        "no weight of GradNorm was ever <= 0": [r["steps with a weight <= 0"] == 0 for r in ours],
        "the model's gradient is that of the weighted sum, to the bit": [
            r["gradient error, trunk"] == r["gradient error, heads"] == 0 for r in ours
        ],
    }
    return "\n".join(f"- {'yes' if all(held) else f'NO ({sum(held)}/{len(held)})'}: {c}" for c, held in checks.items())


def main() -> None:
    options = arguments(__doc__, repeats=3)
    torch.set_num_threads(1)
    seeds = range(options.repeats)
    two = {n: [Problem(TWO, seed).train(m, TWO_STEPS) for seed in seeds] for n, m in methods(TWO).items()}
    ten = {n: [Problem(TEN, 0).train(m, TEN_STEPS)] for n, m in methods(TEN).items()}
    parts, data = [], {}
    for runs, sigmas, steps in ((two, TWO, TWO_STEPS), (ten, TEN, TEN_STEPS)):
        found = {name: [summary(run, sigmas) for run in of_method] for name, of_method in runs.items()}
        columns = [f"{len(sigmas)} tasks", *next(iter(found.values()))[0]]
        seeds_of = "median [range] of " * (len(runs[EQUAL]) > 1) + f"{len(runs[EQUAL])} seed(s)"
        parts += [table(columns, rows(found)), f"{steps} steps, {seeds_of}. Gradient errors: the largest found."]
        data[f"{len(sigmas)} tasks"] = found
        parts += [verdict(found)] if sigmas == TWO else []
    draw(two, TWO, options.output.with_suffix(".png"))
    publish(
        options.output, "What does GradNorm do on the paper's toy problem?", "\n\n".join(parts), {"summaries": data}
    )


if __name__ == "__main__":
    main()
