"""Penalties on the parameters of a model."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from lightning_losses.checks import check_number, nearest
from lightning_losses.losses.base import UnaryLoss
from lightning_losses.numerics import at_least_float32
from lightning_losses.reduction import Parts
from lightning_losses.sharding import held, sum_over_shards


class ParameterPenalty(UnaryLoss):
    r"""A sum over the weights of a model: call it with the model, which as a term it takes from the call as `model`.

    By default the weights are the parameters of two or more dimensions: neither biases nor what normalisation layers
    scale by. A pattern is matched against a parameter's path, as ``"encoder.*"``; its ``*`` matches dots too. Tied
    parameters count once, under their first path. Frozen ones count as well, which adds a constant.

    It is a sum, not a mean, so it grows with the model and goes with a small weight; give the term ``balanced=False``,
    since its gradient does not pass through shared features. Parameters that FSDP2 has sharded are summed over the
    ranks, so all of them must call it.

    Range :math:`[0, \infty)`, and no reference: weights know nothing at any size.

    Args:
        include: patterns of the parameters that count; None for all of two or more dimensions.
        exclude: patterns of parameters that do not.

    Raises:
        TypeError: a string in place of a sequence of patterns.
        ValueError: in a call, a pattern that matches nothing, or no parameter that counts.
    """

    inputs = ("model",)

    def __init__(self, *, include: Sequence[str] | None = None, exclude: Sequence[str] = ()) -> None:
        super().__init__(reduction="sum")
        for parameter, patterns in (("include", include), ("exclude", exclude)):
            if isinstance(patterns, str):
                raise TypeError(f"`{parameter}` must be several patterns, found {patterns!r}. Write [{patterns!r}].")
        self.include = include
        self.exclude = exclude

    def forward(self, model: nn.Module) -> Tensor:  # type: ignore[override]
        """The sum, a 0-d tensor in float32 or wider."""
        parts = [held(weight) for weight in self.weights(model).values()]
        return sum_over_shards([self.of(at_least_float32(part.part)).values.sum() for part in parts], parts)

    def weights(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The parameters that count, by path."""
        parameters = dict(model.named_parameters())
        for pattern in (*(self.include or ()), *self.exclude):
            if not any(fnmatchcase(path, pattern) for path in parameters):
                raise ValueError(f"The pattern {pattern!r} matches no parameter. {nearest(pattern, parameters)}")
        weights = {path: parameter for path, parameter in parameters.items() if self._counts(path, parameter)}
        if not weights:
            raise ValueError(
                f"{self!r} finds no parameter that counts in {type(model).__name__}. By default only those of two or "
                f"more dimensions do; `include` names others. {nearest('', parameters)}"
            )
        return weights

    def statistics(self, *inputs: Any, **named: Any) -> Tensor:
        """Nothing of the data needs to be known."""
        return torch.empty(0)

    def _counts(self, path: str, parameter: Tensor) -> bool:
        if any(fnmatchcase(path, pattern) for pattern in self.exclude):
            return False
        if self.include is None:
            return parameter.dim() > 1
        return any(fnmatchcase(path, pattern) for pattern in self.include)


class L1(ParameterPenalty):
    r"""Lasso, :math:`\sum_i |w_i|`: pulls every weight towards 0 with the same force, so that many arrive.

    Tibshirani, "Regression shrinkage and selection via the lasso", 1996. For few weights that matter.
    `ParameterPenalty` says which weights count.

    Range :math:`[0, \infty)`, and no reference.

    Traps: the gradient at 0 is 0; a gradient method steps across 0 rather than onto it, so threshold the weights for
    exact zeros. The Hessian is 0. It is a sum and grows with the model: give it a small weight.

    Args:
        include: patterns of the parameters that count; None for all of two or more dimensions.
        exclude: patterns of parameters that do not.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.BatchNorm1d(1))
    >>> torch.equal(L1()(model), model[0].weight.abs().sum())
    True
    """

    def of(self, input: Tensor) -> Parts:
        """Absolute values."""
        return Parts(input.abs())


class L2(ParameterPenalty):
    r"""Ridge, :math:`\frac12 \sum_i w_i^2`: pulls every weight towards 0 in proportion to it.

    For weight decay that can be seen, scheduled and confined to some layers. With SGD a term of weight :math:`\lambda`
    does what the optimizer's ``weight_decay=`` :math:`\lambda` does; hence the 1/2. `ParameterPenalty` says which
    weights count.

    Range :math:`[0, \infty)`, and no reference.

    Trap: with Adam it is no weight decay. AdamW decays the weights themselves, past the adaptive step sizes, and
    usually trains better (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019).

    Args:
        include: patterns of the parameters that count; None for all of two or more dimensions.
        exclude: patterns of parameters that do not.

    >>> import torch
    >>> from lightning_losses import LossModule, Term, losses
    >>> model = torch.nn.Linear(2, 1)
    >>> criterion = LossModule({"fit": losses.MSE(), "small": Term(L2(), weight=1e-4, balanced=False)})
    >>> loss = criterion(model(torch.ones(4, 2)), torch.ones(4, 1), model=model)
    >>> bool(criterion.report.raw["small"] == model.weight.square().sum() / 2)
    True
    """

    def of(self, input: Tensor) -> Parts:
        """Halved squares."""
        return Parts(input.square() / 2)


class ElasticNet(ParameterPenalty):
    r"""A mixture of `L1` and `L2`, :math:`\sum_i \rho |w_i| + \frac{1 - \rho}{2} w_i^2`.

    Zou and Hastie, "Regularization and variable selection via the elastic net", 2005, in scikit-learn's convention. For
    weights that do the same: lasso keeps one of them, and the mixture shares among them. `ParameterPenalty` says which
    weights count.

    Range :math:`[0, \infty)`, and no reference.

    Trap: as with `L1`, weights come near 0 and not onto it.

    Args:
        l1_ratio: :math:`\rho`, in [0, 1]; 0 is `L2`, 1 is `L1`.
        include: patterns of the parameters that count; None for all of two or more dimensions.
        exclude: patterns of parameters that do not.

    Raises:
        ValueError: `l1_ratio` is outside [0, 1].

    >>> import torch
    >>> model = torch.nn.Linear(2, 1)
    >>> torch.allclose(ElasticNet(l1_ratio=0.25)(model), 0.25 * L1()(model) + 0.75 * L2()(model))
    True
    """

    def __init__(
        self, *, l1_ratio: float = 0.5, include: Sequence[str] | None = None, exclude: Sequence[str] = ()
    ) -> None:
        super().__init__(include=include, exclude=exclude)
        self.l1_ratio = check_number("l1_ratio", l1_ratio, at_least=0, at_most=1)

    def of(self, input: Tensor) -> Parts:
        """Weighted sums of absolute values and halved squares."""
        return Parts(self.l1_ratio * input.abs() + (1 - self.l1_ratio) / 2 * input.square())
