"""Losses of a step as sums that add over micro-batches and ranks, and what they come to."""

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from lightning_losses.bounds import Bounds
from lightning_losses.numerics import safe_divide, widest

Seen = Mapping[str, tuple[Tensor, Tensor]]
"""The value of each loss in a batch and what it was multiplied by, detached; losses that are absent are absent."""


def loss_sums(seen: Seen, names: Sequence[str], device: torch.device) -> Tensor:
    """What one batch adds, [4, K]: values, weights, their products, counts; 0 for a loss that is absent."""
    absent = widest(torch.zeros(4, device=device))
    columns = [absent] * len(names)
    for i, name in enumerate(names):
        if name in seen:
            value, weight = (part.to(absent) for part in seen[name])
            columns[i] = torch.stack([value, weight, value * weight, torch.ones_like(value)])
    return torch.stack(columns, 1)


def loss_figures(sums: Tensor, bounds: Mapping[str, Bounds], terms: Collection[str]) -> dict[str, Tensor]:
    r"""What is logged of the mean values L and weights w of the losses that were seen, by name, on the host.

    .. math::
        \text{normalized} = \frac{L - \text{lower}}{\text{reference} - \text{lower}}, \qquad
        \text{share} = \frac{|w_i L_i|}{\sum_j |w_j L_j|}

    Args:
        sums: as `loss_sums` returns them, added over micro-batches and ranks.
        bounds: of all K losses, in their order.
        terms: which of them are terms of a LossModule, and so have a weight and a share among its terms.
    """
    limits = torch.stack([_limits(one, sums) for one in bounds.values()], 1)
    values, weights, weighted, counts, lowers, references = torch.cat([sums, limits]).cpu()
    normalized = (safe_divide(values, counts) - lowers) / (references - lowers)
    names, figures = list(bounds), {}
    for i, name in enumerate(names):
        if counts[i] == 0:
            continue
        if not references[i].isnan():
            figures[f"normalized/{name}"] = normalized[i]
        if name in terms:
            siblings = [j for j, other in enumerate(names) if other in terms and _module(other) == _module(name)]
            figures[f"weight/{name}"] = weights[i] / counts[i]
            figures[f"share/{name}"] = safe_divide(weighted[i].abs(), weighted[siblings].abs().sum())
    return figures


def _limits(bounds: Bounds, like: Tensor) -> Tensor:
    """Lower bound and reference, [2]; NaN where there is no reference."""
    reference = math.nan if bounds.reference is None else bounds.reference
    return torch.stack([torch.as_tensor(value).to(like) for value in (bounds.lower, reference)])


def _module(name: str) -> str:
    return name.rpartition("/")[0]
