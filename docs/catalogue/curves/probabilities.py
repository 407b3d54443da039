"""Against the logit of the first of two classes."""

import torch
from torch import Tensor

from catalogue.curves.classification import one_logit
from catalogue.plot import Curve, Plot, along
from lightning_losses.losses import Distillation, JensenShannon, KLDivergence, Loss, SymmetricKL


def pair(first: float) -> Tensor:
    """Probabilities of two classes."""
    return torch.tensor([[first, 1 - first]], dtype=torch.float64)


def against(loss: Loss, target: Tensor) -> Curve:
    """The divergence from this target."""
    return along(loss, lambda x: (one_logit(x, 2), target))


def divergence(loss: Loss) -> Plot:
    """The figure of a divergence from probabilities."""
    curves = {f"t = {first:g}": against(loss, pair(first)) for first in (0.5, 0.8, 1.0)}
    return Plot("logit of the first class", (-6, 6), curves, "Two classes, of which the first has the probability t.")


PROBABILITIES = {
    "KLDivergence": divergence(KLDivergence()),
    "JensenShannon": divergence(JensenShannon()),
    "SymmetricKL": Plot(
        "logit of the first class",
        (-6, 6),
        {f"other logit {x:g}": against(SymmetricKL(), one_logit(torch.tensor(x).double(), 2)) for x in (0.0, 2.0)},
        "Two classes.",
    ),
    "Distillation": Plot(
        "logit of the student",
        (-6, 12),
        {
            f"temperature = {temperature:g}": against(
                Distillation(temperature=temperature), one_logit(torch.tensor(3.0).double(), 2)
            )
            for temperature in (1.0, 2.0, 4.0)
        },
        "Two classes; the teacher's logit is 3.",
    ),
}
