"""Losses of ordered classes, such as grades and ages."""

import torch
from torch import Tensor

from lightning_losses.checks import check_number, message
from lightning_losses.functional.ordinal import coral, corn, corn_count
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.losses.inputs import class_labels
from lightning_losses.reduction import Parts


class OrdinalLoss(ElementwiseLoss):
    """A loss of K - 1 logits [N, K-1, *], one per threshold between K ordered classes, and labels [N, *]."""

    def __init__(self, *, classes: int, ignore_index: int | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.classes = int(check_number("classes", classes, at_least=2))
        self.ignore_index = ignore_index

    def labels(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Labels in 0..K-1, and which of them count."""
        thresholds = self.classes - 1
        if input.dim() < 2 or input.shape[1] != thresholds:
            rule = f"of shape [N, {thresholds}, *], one logit per threshold between {self.classes} classes"
            raise ValueError(message("input", rule, tuple(input.shape)))
        return class_labels(input, target, self.ignore_index, self.classes)

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Even odds at every threshold."""
        return torch.zeros_like(input)


class CORAL(OrdinalLoss):
    r"""Ordinal loss of cumulative logits, :math:`-\sum_k \log \sigma(\pm x_k)`, with + where :math:`y > k`.

    Logits [N, K-1, *] of :math:`P(y > k)` for k = 0..K-2, against labels 0..K-1 [N, *]. For grades: one that is two off
    costs more than one that is one off. `functional.coral_label` turns logits into labels. Cao, Mirjalili and Raschka,
    "Rank consistent ordinal regression for neural networks", 2020.

    Range :math:`[0, \infty)`; reference :math:`(K - 1) \log 2`, what even odds at every threshold score.

    Trap: the probabilities fall with k only if the network's last layer has one weight vector for all thresholds and a
    bias for each: that is the layer's task, not the loss's.

    Args:
        classes: K, at least 2.
        ignore_index: the label of elements that do not count.
        reduction: ``"mean"`` (over labels, not over thresholds), ``"sum"`` or ``"none"`` (values [N, *]).

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: logits for another number of thresholds (K instead of K - 1), a label out of range.

    >>> import torch
    >>> CORAL(classes=5)(torch.zeros(1, 4), torch.tensor([2]))  # 4 log 2
    tensor(2.7726)
    """

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Sums over the thresholds [N, *]."""
        labels, kept = self.labels(input, target)
        return Parts(coral(input, labels)).weighted(None, kept)


class CORN(OrdinalLoss):
    r"""Ordinal loss of conditional logits, :math:`-\sum_{k \le y} \log \sigma(\pm x_k)`, with + where :math:`y > k`.

    Logits [N, K-1, *] of :math:`P(y > k \mid y \ge k)` for k = 0..K-2, against labels 0..K-1 [N, *]. For grades, with
    any last layer: threshold k learns from the labels that reach it only, and the product of the probabilities up to k
    falls with k. `functional.corn_label` turns logits into labels. Shi, Cao and Raschka, "Deep neural networks for
    rank-consistent ordinal regression based on conditional probabilities", 2021.

    Range :math:`[0, \infty)`; reference :math:`\log 2`, what even odds at every threshold score.

    Trap: unlike that of `CORAL`, the mean is over the thresholds that were asked, :math:`\min(y + 1, K - 1)` of each
    label, of all ranks.

    Args:
        classes: K, at least 2.
        ignore_index: the label of elements that do not count.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N, *], each a sum over the label's thresholds).

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: logits for another number of thresholds (K instead of K - 1), a label out of range.

    >>> import torch
    >>> CORN(classes=5)(torch.zeros(1, 4), torch.tensor([2]))  # log 2
    tensor(0.6931)
    """

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Sums over the thresholds [N, *], counted by their number."""
        labels, kept = self.labels(input, target)
        return Parts(corn(input, labels), corn_count(input, labels)).weighted(None, kept)
