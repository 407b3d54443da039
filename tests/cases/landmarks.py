"""Landmarks."""

import math
from functools import partial

import torch

from cases.case import Pair
from cases.regression import residual_case
from lightning_losses.losses import AdaptiveWing, Wing


def heatmaps(generator: torch.Generator, size: int) -> Pair:
    """Predictions and truths of heatmaps, where a third of the pixels is background."""
    input, target = (torch.rand(2, size, 4, generator=generator, dtype=torch.float64) * 1.5 - 0.5).unbind()
    return input, target.clamp(min=0.0)


def wing(x: float, y: float, w: float, epsilon: float) -> float:
    e, c = abs(x - y), w - w * math.log(1 + w / epsilon)
    return w * math.log(1 + e / epsilon) if e < w else e - c


def adaptive_wing(
    x: float, y: float, omega: float = 14.0, theta: float = 0.5, epsilon: float = 1.0, alpha: float = 2.1
) -> float:
    e, p = abs(x - y), alpha - y
    a = omega * (1 / (1 + (theta / epsilon) ** p)) * p * (theta / epsilon) ** (p - 1) * (1 / epsilon)
    c = theta * a - omega * math.log(1 + (theta / epsilon) ** p)
    return omega * math.log(1 + (e / epsilon) ** p) if e < theta else a * e - c


OTHER = {"omega": 3.0, "theta": 0.3, "epsilon": 0.5, "alpha": 2.5}

CASES = [
    *(
        residual_case(f"Wing-{w:g}", partial(Wing, width=w, epsilon=epsilon), partial(wing, w=w, epsilon=epsilon))
        for w, epsilon in ((10.0, 2.0), (1.0, 0.5))
    ),
    residual_case("AdaptiveWing", AdaptiveWing, adaptive_wing, heatmaps),
    residual_case("AdaptiveWing-other", partial(AdaptiveWing, **OTHER), partial(adaptive_wing, **OTHER), heatmaps),
]
