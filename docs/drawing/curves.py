"""Pictures of formulas, drawn from the library's own functions."""

import math

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from drawing.style import BLUE, GREEN, GREY, INK, ORANGE, figure, title
from lightning_losses import Bounds, LossModule, Term
from lightning_losses.balancers import GradNorm
from lightning_losses.losses import EWC, MSE, ArcFace, CrossEntropy, Loss


def bounds() -> None:
    """Three losses with raw values of no common unit on the one scale that they share."""
    labels = torch.arange(1000)
    numbers = 156**0.5 * torch.tensor([-1.0, 1.0])  # of variance 156
    rows = (
        ("cross-entropy, 10 classes", 1.15, _known(CrossEntropy(), torch.zeros(10, 10), labels[:10])),
        ("squared error, Var(y) = 156", 156.0, _known(MSE(), torch.zeros(2), numbers)),
        ("ArcFace, 1000 classes", 45.0, _known(ArcFace(), torch.zeros(1000, 1000), labels)),
    )
    with figure("bounds", height=2.2) as (axes,):
        axes.axvspan(0, 1, color=GREEN, alpha=0.12, linewidth=0)
        axes.axvspan(1, 1.6, color=ORANGE, alpha=0.12, linewidth=0)
        for row, (_, value, found) in enumerate(rows):
            place = float(found.normalize(torch.tensor(value)))
            axes.plot(place, -row, "o", color=(BLUE, ORANGE, GREEN)[row], markersize=9)
            axes.annotate(f"raw {value:g}", (place, -row), (9, 5), textcoords="offset points")
        axes.set_yticks([0, -1, -2], [name for name, *_ in rows])
        axes.set(xlim=(0, 1.6), ylim=(-2.6, 0.6))
        axes.set_xticks([0, 0.5, 1, 1.5], ["0\nperfect", "0.5", "1\nknows nothing", "1.5\nworse than that"])


def gradnorm() -> None:
    """Two tasks whose gradients differ by a factor of 10: weights, and the norms that they make of it."""
    norms = torch.tensor([1.0, 10.0])
    criterion = LossModule({"small": Term(), "large": Term()}, balancer=GradNorm(alpha=0.0))
    features = torch.ones(1, requires_grad=True)
    history = []
    for _ in range(250):
        small, large = (norm * features.sum() for norm in norms)
        criterion(small=small, large=large, shared=features)
        history.append(torch.stack([*criterion.report.weights.values()]))
    weights = torch.stack(history)
    with figure("gradnorm", columns=2) as (left, right):
        for task, (name, color) in enumerate((("$n_1 = 1$", BLUE), ("$n_2 = 10$", ORANGE))):
            left.plot(weights[:, task], color=color, label=name)
            right.plot(weights[:, task] * norms[task], color=color, label=name)
        title(left, "weights $w_i$, of sum 2")
        title(right, "weighted norms $w_i n_i$")
        left.legend(frameon=False)
        for axes in (left, right):
            axes.set(xlabel="optimizer steps", xlim=(0, 250), ylim=(0, None))


def stability() -> None:
    """Gradient descent on a parabola: within 2/lr it settles, beyond it every step lands further up."""
    with figure("stability", columns=3) as all_axes:
        for axes, (share, name) in zip(
            all_axes, ((0.5, "λ = 0.5 · 2/lr"), (0.9, "λ = 0.9 · 2/lr"), (1.05, "λ = 1.05 · 2/lr")), strict=True
        ):
            curvature, place = 2 * share, 1.0 if share < 1 else 0.55
            x = torch.linspace(-1.3, 1.3, 101)
            axes.plot(x, curvature * x**2 / 2, color=GREY)
            path = [place]
            for _ in range(7):
                path.append(path[-1] * (1 - curvature))
            points = torch.tensor(path)
            axes.plot(
                points, curvature * points**2 / 2, "o-", color=BLUE if share < 1 else ORANGE, markersize=4, linewidth=1
            )
            title(axes, name)
            axes.set(xticks=[], yticks=[], ylim=(-0.05, None))


def piecewise() -> None:
    """A network's output against a single one of its weights: bent only at kinks with ReLU, everywhere with GELU."""
    with figure("piecewise", columns=2) as all_axes:
        for axes, (name, activation, color) in zip(
            all_axes,
            (("ReLU: no curvature in a single weight", nn.ReLU(), BLUE), ("GELU: curved", nn.GELU(), ORANGE)),
            strict=True,
        ):
            torch.manual_seed(1)
            network = nn.Sequential(
                nn.Linear(2, 1), nn.Linear(1, 8), activation, nn.Linear(8, 8), activation, nn.Linear(8, 1)
            )
            for layer in network[1::2]:
                nn.init.normal_(layer.weight)
                nn.init.normal_(layer.bias)
            inputs = torch.tensor([[1.0, 0.0]])
            places = torch.linspace(-3, 3, 400)
            axes.plot(places, torch.stack([_output(network, inputs, place) for place in places]), color=color)
            title(axes, name)
            axes.set(xlabel="one weight of the first layer", yticks=[])


def ewc() -> None:
    """Task B's optimum lies far from task A's valley; the penalty keeps to the valley where A is sensitive."""
    first, second = torch.tensor([[6.0, 0.0], [0.0, 0.25]]), torch.eye(2)
    start, goal = torch.zeros(2), torch.tensor([1.4, 1.6])
    with figure("ewc", width=5.6, height=3.4) as (axes,):
        x, y = torch.meshgrid(torch.linspace(-1.6, 2.4, 121), torch.linspace(-1.8, 2.6, 121), indexing="xy")
        _contours(axes, x, y, first, start, BLUE)
        _contours(axes, x, y, second, goal, ORANGE)
        for strength, color, name in ((0.0, ORANGE, "B alone"), (1.0, INK, "B with EWC")):
            path = _descend(second, goal, first.diagonal() * strength, start)
            axes.plot(*path.T, "-", color=color, linewidth=2)
            axes.annotate(name, path[-1].tolist(), (8, -3), textcoords="offset points", color=color)
            axes.plot(*path[-1], "o", color=color)
        axes.plot(0, 0, "o", color=BLUE)
        axes.annotate("after task A", (0, 0), (-10, -14), textcoords="offset points", color=BLUE, ha="right")
        axes.set(xlabel="a weight that matters to A, large F", ylabel="one that hardly does", xticks=[], yticks=[])


def uncertainty() -> None:
    """What one term adds to the total once its variance has settled: below 0 as soon as its loss is below 1/e."""
    losses = torch.logspace(-2, 1, 200)
    with figure("uncertainty", width=5.6, height=2.6) as (axes,):
        axes.plot(losses, (1 + losses.log()) / 2, color=BLUE)
        axes.axhline(0, color=GREY, linewidth=1)
        axes.axvline(1 / math.e, color=ORANGE, linewidth=1, linestyle="--")
        axes.annotate("1/e = 0.37", (1 / math.e, -1.6), (6, 0), textcoords="offset points", color=ORANGE)
        axes.set(xscale="log", xlabel="the term's raw loss", ylabel="its part of the total", xlim=(0.01, 10))


def _known(loss: Loss, *batch: Tensor) -> Bounds:
    return loss.bounds(loss.statistics(*batch))


def _output(network: nn.Sequential, inputs: Tensor, place: Tensor) -> Tensor:
    with torch.no_grad():
        network[0].weight[0, 0] = place
        return network(inputs).squeeze()


def _contours(axes: Axes, x: Tensor, y: Tensor, hessian: Tensor, centre: Tensor, color: str) -> None:
    places = torch.stack([x, y], -1) - centre
    values = (places @ hessian * places).sum(-1) / 2
    axes.contour(x, y, values, levels=[0.05, 0.2, 0.5, 1.0], colors=color, linewidths=0.8, alpha=0.6)


def _descend(hessian: Tensor, goal: Tensor, importance: Tensor, start: Tensor) -> Tensor:
    model = nn.Module()
    model.weight = nn.Parameter(start.clone())
    penalty = EWC()
    penalty.consolidate(model, {"weight": importance})
    path = [start.clone()]
    for _ in range(400):
        offset = model.weight - goal
        loss = offset @ hessian @ offset / 2 + penalty(model)
        (gradient,) = torch.autograd.grad(loss, model.weight)
        model.weight.data -= 0.03 * gradient
        path.append(model.weight.detach().clone())
    return torch.stack(path)
