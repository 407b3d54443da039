"""Does lambda_max, followed by a few products, show what the exact one shows?

Full-batch gradient descent settles where lambda_max = 2 / lr (Cohen et al. 2021, arXiv:2103.00065). In their smallest
problem, 20 points of a Chebyshev polynomial and a 1-100-1 tanh network, the whole Hessian can be decomposed. A
convolutional network is followed along its first steps of SGD, where lambda_max changes fastest. Targets: a plateau
within 2 % of 2 / lr; the followed eigenvalue within 5 % of the exact one.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import mean, median

import torch
from _common import arguments, publish, table
from _resnet import BATCH, data
from _stability import (
    CONVERGED,
    EXACT_EVERY,
    LOOK_EVERY,
    SGD_LEARNING_RATE,
    SGD_LOOK_EVERY,
    STEPS,
    Follower,
    Followers,
    Look,
    gradient_descent,
    sgd,
)
from _stability_figure import draw

Problem = tuple[int, float, int]  # degree, learning rate, seed
PROBLEMS = ((4, 0.4), (4, 0.2), (5, 0.4), (3, 0.4))
SGD_STEPS, SEEDS = 100, 3
WARM_UP = 2  # looks that the first, random vector needs
PLATEAU, ERROR = 0.02, 0.05  # the targets
COMPARED = "3 products, from the last vector", "5 products, from the last vector"
FOLLOWERS: Followers = {
    "3 products, from a random vector": lambda: Follower(3, warm=False),
    "5 products, from a random vector": lambda: Follower(5, warm=False),
    COMPARED[0]: Follower,
    "4 products, from the last vector": lambda: Follower(4),
    COMPARED[1]: lambda: Follower(5),
}
Networks = Mapping[str, Mapping[str, list[Look]]]


def compared(looks: Sequence[Look]) -> list[Look]:
    """Those with an exact value, after the warm-up."""
    return [look for look in looks if not math.isnan(look.exact)][WARM_UP:]


def plateau(looks: Sequence[Look]) -> float:
    """The mean of the exact value over the last quarter."""
    exact = [look.exact for look in looks]
    return mean(exact[-(len(exact) // 4) :])


def errors(looks: Sequence[Look]) -> dict[str, float]:
    """How far what was followed is from what is exact."""
    found = [look.error for look in looks]
    covered = mean(abs(look.value - look.exact) <= look.residual for look in looks)
    return {"mean": mean(found), "median": median(found), "largest": max(found), "within the residual": covered}


def along_sgd(fresh: bool) -> dict[str, list[Look]]:
    """What each follower saw in all seeds."""
    seen: dict[str, list[Look]] = {name: [] for name in FOLLOWERS}
    for seed in range(SEEDS):
        for name, looks in sgd(data(SGD_STEPS).batches, FOLLOWERS, seed, fresh).items():
            seen[name] += compared(looks)
    return seen


def tables(runs: Mapping[Problem, list[Look]], networks: Networks) -> str:
    """A table a part."""
    columns = ("mean error", "median", "largest", "within residual")
    descent = [
        (
            f"{degree}, {lr}, {seed}",
            next(look.step for look in looks if look.value > 1),
            f"{plateau(compared(looks)):.4f}",
            *map(_percent, errors(compared(looks)).values()),
        )
        for (degree, lr, seed), looks in runs.items()
    ]
    network = [
        (name, batch, *map(_percent, errors(looks).values()))
        for batch, by_name in networks.items()
        for name, looks in by_name.items()
    ]
    first = table(("Chebyshev: degree, lr, seed", "above 2 / lr at step", "plateau", *columns), descent)
    return f"{first}\n\n{table(('convolutional network', 'measured on', *columns), network)}"


def verdict(runs: Mapping[Problem, list[Look]], networks: Networks) -> str:
    """The targets, each with what was found."""
    plateaus = [plateau(compared(looks)) for problem, looks in runs.items() if problem[:2] == PROBLEMS[0]]
    lines = [
        f"degree 4, lr 0.4: a plateau of {min(plateaus):.4f} to {max(plateaus):.4f} of 2 / lr over {len(plateaus)} "
        f"seeds, target 1 within {PLATEAU:g}: {_held(all(abs(p - 1) <= PLATEAU for p in plateaus))}."
    ]
    for batch, by_name in networks.items():
        for name in COMPARED:
            found = errors(by_name[name])["mean"]
            lines.append(
                f"convolutional network, {batch}, {name}: mean error {_percent(found)}, target {_percent(ERROR)}: "
                f"{_held(found <= ERROR)}."
            )
    return "\n".join(f"- {line}" for line in lines)


def _held(yes: bool) -> str:
    return "holds" if yes else "MISSED"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def main() -> None:
    options = arguments(__doc__, repeats=3)
    torch.set_num_threads(1)
    problems = [(*PROBLEMS[0], seed) for seed in range(options.repeats)] + [(*p, 0) for p in PROBLEMS[1:]]
    runs = {problem: gradient_descent(*problem) for problem in problems}
    networks = {"one batch": along_sgd(fresh=False), "fresh batches": along_sgd(fresh=True)}
    shown = [(f"Chebyshev {k}, lr {lr}", runs[k, lr, 0]) for k, lr in PROBLEMS[:3]]
    draw(shown, options.output.with_suffix(".png"))
    note = (
        f"Chebyshev: {STEPS} steps in float64, a look every {LOOK_EVERY}, compared with the eigenvalues of the whole "
        f"Hessian every {EXACT_EVERY}; the plateau is the mean of the exact eigenvalue over the last quarter, in units "
        f"of 2 / lr. Convolutional network: {SGD_STEPS} steps of SGD, lr {SGD_LEARNING_RATE}, batches of {BATCH}, "
        f"{data(1).name}, {SEEDS} seeds; a look every {SGD_LOOK_EVERY} steps, compared with {CONVERGED} products. The "
        f"first {WARM_UP} looks of a run do not count. Within residual: looks whose residual covers the distance to "
        "the largest eigenvalue; what it promises is an eigenvalue within, not the largest."
    )
    publish(
        options.output,
        "Does lambda_max, followed by a few products, show what the exact one shows?",
        f"{tables(runs, networks)}\n\n{verdict(runs, networks)}\n\n{note}",
        {"gradient descent": {str(p): compared(looks) for p, looks in runs.items()}, "network": networks},
    )


if __name__ == "__main__":
    main()
