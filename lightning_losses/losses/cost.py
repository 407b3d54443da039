"""Losses in the units of what mistakes cost."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_losses.checks import check_number, message
from lightning_losses.functional.cost import expected_cost
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.losses.inputs import LogitsCheck, check_per_class, class_labels
from lightning_losses.reduction import Parts

Matrix = Sequence[Sequence[float]] | Tensor


def costs_of(cost_matrix: Matrix | None, false_negative_ratio: float | None) -> Tensor:
    """The costs [K, K] as float32, from either way of giving them."""
    if (cost_matrix is None) == (false_negative_ratio is None):
        raise ValueError(message("cost_matrix", "given or else `false_negative_ratio`, not both", cost_matrix))
    if false_negative_ratio is not None:
        check_number("false_negative_ratio", false_negative_ratio, above=0)
        cost_matrix = [[0.0, false_negative_ratio], [1.0, 0.0]]
    costs = torch.as_tensor(cost_matrix, dtype=torch.float32, device="cpu")  # also in models made on the meta device
    if costs.dim() != 2 or costs.shape[0] != costs.shape[1]:
        raise ValueError(message("cost_matrix", "square", tuple(costs.shape)))
    if not (costs.isfinite() & (costs >= 0)).all():
        raise ValueError(message("cost_matrix", "finite and at least 0", costs.tolist()))
    return costs.detach().clone()


class CostSensitive(ElementwiseLoss):
    r"""Expected cost of a softmax, :math:`\sum_k p_k\, C_{ky}`: what a guess drawn from it would cost.

    Logits [N, K, *] against labels [N, *]. For mistakes of unequal and known prices, and for few labels that are wrong:
    no element can cost more than the dearest mistake. Elkan, "The foundations of cost-sensitive learning", 2001.

    Range: from the mean over the labels of the cheapest prediction, which is 0 if to be right costs nothing, to the
    greatest cost. Reference: what equal logits score, the mean of the true class's costs.

    Trap: like every bounded loss it is not convex: a confident mistake has almost no gradient. Train from a network
    that cross-entropy has made better than chance, or add `CrossEntropy` as a second term.

    Args:
        cost_matrix: :math:`C` [K, K], at least 0: the cost of predicting the class of the row where that of the column
            is true.
        false_negative_ratio: instead of `cost_matrix`, for the two classes negative (0) and positive (1): how many
            times dearer a missed positive is than a false alarm, which costs 1.
        ignore_index: the label of elements that do not count.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N, *]).

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, neither or both kinds of costs, shapes that do not fit, a label
            out of range.

    >>> import torch
    >>> CostSensitive(false_negative_ratio=10.0)(torch.zeros(2, 2), torch.tensor([0, 1]))  # (1/2 + 10/2) / 2
    tensor(2.7500)
    """

    costs: Tensor

    def __init__(
        self,
        *,
        cost_matrix: Matrix | None = None,
        false_negative_ratio: float | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.cost_matrix, self.false_negative_ratio = cost_matrix, false_negative_ratio
        self.ignore_index = ignore_index
        self.register_buffer("costs", costs_of(cost_matrix, false_negative_ratio), persistent=False)
        self.upper = float(self.costs.max())
        self.check_logits = LogitsCheck()

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Expected costs [N, *]."""
        labels, kept = class_labels(input, target, self.ignore_index)
        check_per_class("cost_matrix", self.costs[0], input)
        self.check_logits(input)
        return Parts(expected_cost(input, labels, self.costs)).weighted(None, kept)

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Every class equally likely."""
        return torch.zeros_like(input)

    def optimal(self, input: Tensor, target: Tensor) -> Tensor:
        """The cheapest prediction for each label."""
        labels = target.long().clamp(0, input.shape[1] - 1)  # of an ignored or masked label, whatever it is
        cheapest = self.costs.argmin(0)[labels]
        return torch.full_like(input, -1e4).scatter(1, cheapest.unsqueeze(1), 0.0)
