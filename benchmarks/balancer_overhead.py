"""What does a balancer cost? A training step's time and memory, as multiples of those with the plain weighted sum.

Everything measures and
updates at every step unless its row says otherwise, though ours, gradnorm-pytorch and torch-harness could all do it
less often. Targets: GradNorm at features at most 1.05 for two tasks and 1.10 for eight, and below every peer. The floor
is what any method that measures at features before the backward has to spend with these heads.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from statistics import median

import torch
from _common import Spread, arguments, interleave, publish, ratios, table
from _memory import peak_bytes
from _methods import (
    GradnormPytorch,
    LibMTL,
    LibMTLGradNorm,
    Method,
    Network,
    Ours,
    OursInBranches,
    PlainSum,
    PlainSumWithGradients,
    TorchHarness,
    TorchJDAtFeatures,
    TorchJDAutogram,
    TorchJDUPGrad,
)
from torch import nn
from torch.nn.functional import mse_loss
from torchjd.aggregation import UPGradWeighting

from lightning_losses.balancers import DynamicWeightAverage, Fixed, GradNorm, Gramian, Uncertainty

MODEL = (
    "a trunk of eight 3x3 convolutions with 64 channels on 32x32 images in batches of 4; each task's head is a 3x3 "
    "convolution to 16 channels and a 1x1 convolution to 1, together 4 % of the trunk's multiplications; SGD."
)
TASKS = (2, 4, 8)
TARGETS = {2: 1.05, 8: 1.10}
BASE = "plain weighted sum"
IN_BRANCHES = "ours: GradNorm at features, in branches"
AT_FEATURES = "ours: GradNorm at features"
SELDOM, PERIOD = "ours: GradNorm at features, update_every=10", 10
METHODS: dict[str, Callable[[Network], Method]] = {
    BASE: PlainSum,
    "floor: and the losses' gradients at features": PlainSumWithGradients,
    "ours: Fixed": lambda net: Ours(net, Fixed()),
    "ours: Uncertainty": lambda net: Ours(net, Uncertainty()),
    "ours: DynamicWeightAverage": lambda net: Ours(net, DynamicWeightAverage()),
    IN_BRANCHES: lambda net: OursInBranches(net, GradNorm()),
    AT_FEATURES: lambda net: Ours(net, GradNorm()),
    SELDOM: lambda net: Ours(net, GradNorm(update_every=PERIOD)),
    "ours: GradNorm at the last shared layer": lambda net: Ours(net, GradNorm(), at="weight"),
    "ours: Gramian(UPGrad) at features": lambda net: Ours(net, Gramian(UPGradWeighting())),
    "ours: Gramian(UPGrad, lagged) at features": lambda net: Ours(net, Gramian(UPGradWeighting(), lagged=True)),
    "torch-harness LossBalancer, features": TorchHarness,
    "gradnorm-pytorch, features": lambda net: GradnormPytorch(net, alpha=1.5, at="features"),
    "gradnorm-pytorch, last shared layer": lambda net: GradnormPytorch(net, alpha=1.5),
    "LibMTL GradNorm, all shared parameters": lambda net: LibMTLGradNorm(net, alpha=1.5),
    "LibMTL MGDA, all shared parameters": lambda net: LibMTL(net, "MGDA", mgda_gn="none"),
    "TorchJD jac + UPGrad, features": TorchJDAtFeatures,
    "TorchJD mtl_backward + UPGrad, all shared parameters": TorchJDUPGrad,
    "TorchJD autogram + UPGrad, all shared parameters": TorchJDAutogram,
}
SLOW = ("gradnorm-pytorch", "LibMTL", "TorchJD")


def network(tasks: int) -> Network:
    """The trunk and its heads, the same for every method."""
    torch.manual_seed(0)
    widths = (3, *[64] * 8)
    convolutions = [nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths)]
    trunk = nn.Sequential(*[layer for convolution in convolutions for layer in (convolution, nn.ReLU())])
    heads = [nn.Sequential(nn.Conv2d(64, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 1)) for _ in range(tasks)]
    return Network(trunk, convolutions[-1], heads)


def training_step(make: Callable[[Network], Method], tasks: int) -> Callable[[], None]:
    """A whole step: zero_grad, forward, the method's backward, the optimizer."""
    net = network(tasks)
    method = make(net)
    optimizer = torch.optim.SGD([*net.parameters(), *method.parameters()], lr=1e-3)
    images, targets = torch.randn(4, 3, 32, 32), torch.randn(tasks, 4, 1, 32, 32)

    def step() -> None:
        optimizer.zero_grad()
        features = net.trunk(images)
        outputs = [head(method.start(features, task)) for task, head in enumerate(net.heads)]
        method.backward([mse_loss(*pair) for pair in zip(outputs, targets, strict=True)], features)
        optimizer.step()
        method.stepped()

    return step


def steps_of(name: str) -> int:
    """Steps that are timed as one: a whole period, and more of the cheap methods, since little sets them apart."""
    return PERIOD if name == SELDOM else 1 if name.startswith(SLOW) else 3


def repeated(step: Callable[[], None], times: int) -> Callable[[], None]:
    """Several steps as one."""

    def steps() -> None:
        for _ in range(times):
            step()

    return steps


def time_ratios(tasks: int, rounds: int) -> tuple[dict[str, Spread], dict[str, dict[str, float]]]:
    """Of every method the ratio of its time to the plain sum's, and the median seconds of a step."""
    steps = {name: repeated(training_step(make, tasks), steps_of(name)) for name, make in METHODS.items()}
    times = interleave(steps, rounds, calls=1)
    cpu = {name: [seconds / steps_of(name) for seconds in clocks.cpu] for name, clocks in times.items()}
    seconds = {
        name: {"cpu": median(cpu[name]), "wall": median(clocks.wall) / steps_of(name)} for name, clocks in times.items()
    }
    return {name: ratios(values, cpu[BASE]) for name, values in cpu.items()}, seconds


def memory_peaks(tasks: int) -> dict[str, int]:
    """Bytes at the worst moment of making a model and training it for three steps."""
    return {
        name: peak_bytes(lambda make=make: repeated(training_step(make, tasks), 3)())  # type: ignore[misc]
        for name, make in METHODS.items()
    }


def verdict(times: Mapping[int, Mapping[str, Spread]]) -> str:
    """Each target, and whether any peer is cheaper."""
    lines = []
    for name in (IN_BRANCHES, AT_FEATURES):
        for tasks, target in TARGETS.items():
            found = times[tasks][name].median
            peers = {
                peer: times[tasks][peer].median for peer in METHODS if not peer.startswith(("ours", "floor", BASE))
            }
            cheapest = min(peers, key=peers.__getitem__)
            held = "holds" if found <= target else "MISSED"
            below = "below" if found < peers[cheapest] else "NOT below"
            against = f"{below} the cheapest peer, {cheapest} ({peers[cheapest]:.3f})"
            lines.append(f"- {name}, {tasks} tasks: {found:.3f}, target {target:.2f} {held}, {against}.")
    return "\n".join(lines)


def main() -> None:
    options = arguments(__doc__, repeats=17)
    torch.set_num_threads(1)
    memory = {tasks: memory_peaks(tasks) for tasks in TASKS}
    found = {tasks: time_ratios(tasks, options.repeats) for tasks in TASKS}
    times = {tasks: spreads for tasks, (spreads, _) in found.items()}
    columns = ("over plain weighted sum", *(f"time, {t} tasks" for t in TASKS), *(f"memory, {t} tasks" for t in TASKS))
    rows = [
        (
            name,
            *(times[tasks][name].text() for tasks in TASKS),
            *(f"{memory[tasks][name] / memory[tasks][BASE]:.2f}" for tasks in TASKS),
        )
        for name in METHODS
    ]
    note = (
        f"Time: CPU time, median [quartiles] of {options.repeats} interleaved rounds of {steps_of(BASE)} steps (of one "
        f"for the slow peers, of {PERIOD} for update_every={PERIOD}). Memory: the peak of what torch's allocator lends "
        "out, parameters and gradients included, read off its profiler over the making of the model and three steps; "
        f"the same in every run. The plain sum's is {', '.join(f'{memory[t][BASE] / 2**20:.1f}' for t in TASKS)} MiB. "
        f"Model: {MODEL}"
    )
    publish(
        options.output,
        "What does a balancer cost?",
        f"{table(columns, rows)}\n\n{verdict(times)}\n\n{note}",
        {"ratios": times, "median_seconds": {t: seconds for t, (_, seconds) in found.items()}, "peak_bytes": memory},
    )


if __name__ == "__main__":
    main()
