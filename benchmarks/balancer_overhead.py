"""What does a balancer cost? A training step's time, as a multiple of the step with the plain weighted sum.

Trunk of eight 3x3 convolutions with 64 channels on 32x32 images in batches of 4; each task's head is a 3x3 convolution
to 16 channels and a 1x1 convolution to 1, together 4 % of the trunk's multiplications; SGD. Everything measures and
updates at every step, though ours, gradnorm-pytorch and torch-harness could do it less often. Targets: GradNorm at
features at most 1.05 for two tasks and 1.15 for four. The floor is what any method that measures at features has to
spend with these heads.
"""

from collections.abc import Callable
from itertools import pairwise
from statistics import median

import torch
from _common import Spread, arguments, interleave, publish, ratios, table
from _methods import (
    GradnormPytorch,
    LibMTLGradNorm,
    Method,
    Network,
    Ours,
    PlainSum,
    PlainSumWithGradients,
    TorchHarness,
    TorchJDUPGrad,
)
from torch import nn
from torch.nn.functional import mse_loss
from torchjd.aggregation import UPGradWeighting

from lightning_losses.balancers import DynamicWeightAverage, Fixed, GradNorm, Gramian, Uncertainty

TASKS = (2, 4, 8)
BASE = "plain weighted sum"
METHODS: dict[str, Callable[[Network], Method]] = {
    BASE: PlainSum,
    "floor: and the losses' gradients at features": PlainSumWithGradients,
    "ours: Fixed": lambda net: Ours(net, Fixed()),
    "ours: Uncertainty": lambda net: Ours(net, Uncertainty()),
    "ours: DynamicWeightAverage": lambda net: Ours(net, DynamicWeightAverage()),
    "ours: GradNorm at features": lambda net: Ours(net, GradNorm()),
    "ours: GradNorm at the last shared layer": lambda net: Ours(net, GradNorm(), at="weight"),
    "ours: Gramian(UPGrad) at features": lambda net: Ours(net, Gramian(UPGradWeighting())),
    "torch-harness LossBalancer, features": TorchHarness,
    "gradnorm-pytorch, features": lambda net: GradnormPytorch(net, alpha=1.5, at="features"),
    "gradnorm-pytorch, last shared layer": lambda net: GradnormPytorch(net, alpha=1.5),
    "LibMTL GradNorm, all shared parameters": lambda net: LibMTLGradNorm(net, alpha=1.5),
    "TorchJD mtl_backward + UPGrad, all shared parameters": TorchJDUPGrad,
}


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
        method.backward([mse_loss(head(features), t) for head, t in zip(net.heads, targets, strict=True)], features)
        optimizer.step()

    return step


def main() -> None:
    options = arguments(__doc__, repeats=25)
    torch.set_num_threads(1)
    results: dict[str, dict[int, Spread]] = {name: {} for name in METHODS}
    seconds = {}
    for tasks in TASKS:
        steps = {name: training_step(make, tasks) for name, make in METHODS.items()}
        times = interleave(steps, options.repeats, calls=1)
        seconds[tasks] = {name: {"cpu": median(c.cpu), "wall": median(c.wall)} for name, c in times.items()}
        for name, clocks in times.items():
            results[name][tasks] = ratios(clocks.cpu, times[BASE].cpu)
    rows = [(name, *(spread.text() for spread in row.values())) for name, row in results.items()]
    columns = ("step time / plain weighted sum", *(f"{tasks} tasks" for tasks in TASKS))
    two, four = (results["ours: GradNorm at features"][tasks].median for tasks in (2, 4))
    verdict = f"GradNorm at features: {two:.2f} for two tasks (target 1.05), {four:.2f} for four (target 1.15)."
    note = f"CPU time, median [quartiles] of {options.repeats} interleaved rounds of one step."
    text = f"{table(columns, rows)}\n\n{verdict} {note}"
    publish(options.output, "What does a balancer cost?", text, {"ratios": results, "median_seconds": seconds})


if __name__ == "__main__":
    main()
