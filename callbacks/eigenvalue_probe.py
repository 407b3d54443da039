"""The largest eigenvalue of the Hessian, against what the optimizer can stand."""

import math
from collections.abc import Mapping

import torch

from lightning_losses.callbacks.compatibility import IncompatibleError
from lightning_losses.callbacks.followed import Found
from lightning_losses.callbacks.over_ranks import finite_on_all, mean_product
from lightning_losses.callbacks.replay import Replay
from lightning_losses.callbacks.stability import Stability, stability_of
from lightning_losses.curvature.directions import normal_like
from lightning_losses.curvature.estimate import Direction, Parameters
from lightning_losses.curvature.lanczos import Eigenpair, largest_eigenvalue, preconditioned
from lightning_losses.curvature.products import HessianOperator, Product
from lightning_losses.curvature.twice import twice

STEPS = 5
"""Products a look. From the last Ritz vector they follow an eigenvalue that changes slowly; from a random vector, at
the first look, they find most of it, and the residual says how much is missing."""


class EigenvalueProbe:
    """Looks at fresh batches, each time from where it was at the last one.

    Under DDP it is the Hessian of the mean loss over the ranks' batches, so that every product is sent.
    """

    names = ("lambda_max", "residual", "stability")
    cost = 30.0
    positive = frozenset({"residual"})

    def __init__(self) -> None:
        self._vectors: dict[str, Direction] = {}

    def measure(self, replay: Replay, generator: torch.Generator) -> Found:
        """Look at one batch: 5 products of the Hessian, 10 if steps are preconditioned.

        Raises:
            IncompatibleError: the loss cannot be differentiated twice.
            FloatingPointError: on all ranks, the loss of one is not finite.
        """
        parameters = replay.parameters
        try:
            product = mean_product(HessianOperator(finite_on_all(twice(replay)), parameters).product)
            plain = self._largest("plain", product, parameters, generator)
        except RuntimeError as error:
            raise IncompatibleError(
                f'HessianTraceMonitor(sharpness="lambda_max") cannot work: {error} Instead, take sharpness="critical", '
                "which needs no second derivative, or None."
            ) from error
        stability = stability_of(replay.trained_by, {id(p): name for name, p in replay.model.named_parameters()})
        ratio = math.nan if stability is None else self._ratio(plain, product, stability, parameters, generator)
        values = torch.tensor([plain.value, plain.residual, ratio], dtype=torch.float64)
        return Found(values, torch.full_like(values, math.nan))

    def _ratio(
        self,
        plain: Eigenpair,
        product: Product,
        stability: Stability,
        parameters: Parameters,
        generator: torch.Generator,
    ) -> float:
        """lambda_max(D^1/2 H D^1/2) over the limit; it needs products of its own where D is not one number."""
        steps = {name: stability.steps[name] for name in parameters}
        decay = {name: stability.decay[name] for name in parameters}
        if stability.is_uniform and len(set(decay.values())) == 1:
            return float(next(iter(steps.values()))) * (plain.value + next(iter(decay.values()))) / stability.limit
        roots = {name: step.sqrt() for name, step in steps.items()}
        stepped = preconditioned(_with_decay(product, decay), roots)
        return self._largest("preconditioned", stepped, parameters, generator).value / stability.limit

    def _largest(self, kind: str, product: Product, like: Parameters, generator: torch.Generator) -> Eigenpair:
        start = self._vectors.get(kind)
        pair = largest_eigenvalue(product, normal_like(like, generator) if start is None else start, STEPS)
        self._vectors[kind] = pair.vector
        return pair


def _with_decay(product: Product, decay: Mapping[str, float]) -> Product:
    """H + diag(decay): what coupled weight decay makes of the loss's Hessian."""

    def decayed(direction: Direction) -> Direction:
        return {name: image + decay[name] * direction[name] for name, image in product(direction).items()}

    return decayed
