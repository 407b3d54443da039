"""Terms whose weights one balancer sets."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lightning_losses.balancers.base import Balancer, Present
from lightning_losses.balancers.probe import Probe
from lightning_losses.checks import is_transforming
from lightning_losses.report import Part
from lightning_losses.term import Term
from lightning_losses.watch import ValueWatch, check_values


class Group:
    """Hands the values of its terms to a balancer as vectors, and what comes back to the caller by name.

    Args:
        terms: the terms by name; at least one.
        balancer: what sets their weights; it is bound to them here.
        check: whether values that are not finite, or negative where ratios are taken, are errors.
    """

    def __init__(self, terms: Mapping[str, Term], balancer: Balancer, check: bool) -> None:
        self.terms = dict(terms)
        self.balancer = balancer
        self.check = check
        self._watch = ValueWatch()
        self._weights: list[float] = []
        self._priors = torch.empty(0)
        balancer.bind(list(terms), [term.schedule(0) for term in terms.values()])

    def combine(
        self, values: Mapping[str, Tensor], step: int, make_probe: Callable[[Mapping[str, Tensor]], Probe] | None
    ) -> tuple[Tensor, Part] | None:
        """The group's share of the total, and what it is made of; None if none of its terms is present.

        Args:
            values: the scalar losses of the terms that are present, those of other groups included.
            step: the optimizer step, for the schedules.
            make_probe: makes the probe of some losses' gradients; None where nothing may be learnt from the batch.
        """
        mine = {name: values[name] for name in self.terms if name in values}
        if not mine:
            return None
        losses = torch.stack(list(mine.values()))
        if self.check and not (torch.compiler.is_compiling() or is_transforming()):
            self._look(list(mine), losses.detach(), step, ratios=self.balancer.takes_ratios and make_probe is not None)
        probe = make_probe(mine) if make_probe is not None and self.balancer.needs_probe else None
        total, weights = self.balancer(
            losses, self._prior_tensor(step, losses), self._present(mine, losses.device), probe
        )
        return total, Part(list(mine), losses.detach(), weights)

    def _prior_tensor(self, step: int, like: Tensor) -> Tensor:
        """The user's weights at this step; the tensor is kept while they do not change."""
        weights = [term.schedule(step) for term in self.terms.values()]
        if weights != self._weights or self._priors.device != like.device or self._priors.dtype != like.dtype:
            self._weights = weights
            self._priors = torch.tensor(weights, dtype=like.dtype).to(like.device, non_blocking=True)
        return self._priors

    def _present(self, mine: Mapping[str, Tensor], device: torch.device) -> Present:
        if len(mine) == len(self.terms):
            return slice(None)
        return torch.tensor([i for i, name in enumerate(self.terms) if name in mine], device=device)

    def _look(self, names: list[str], losses: Tensor, step: int, ratios: bool) -> None:
        self._watch.look(losses, lambda values: check_values(names, values, ratios, step))
