"""Losses of classification: cross-entropies of softmax and of sigmoid."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_losses.checks import check_number, check_same_shape, message
from lightning_losses.functional.classification import binary_cross_entropy, cross_entropy, cross_entropy_minimizer
from lightning_losses.functional.gathering import label_weight
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.losses.inputs import LogitsCheck, check_per_class, check_probabilities, class_targets, numbers
from lightning_losses.reduction import Parts


class CrossEntropy(ElementwiseLoss):
    r"""Cross-entropy of a softmax, :math:`-\sum_c w_c\, q_c \log p_c` with :math:`q = (1-s)\,t + s/C`.

    For classes that exclude each other. Logits [N, C, *] against labels [N, *] of any integer dtype, or against
    distributions :math:`t` [N, C, *] over the classes. The mean divides by the sum of the labels' class weights.

    Range: from the least value that :math:`q` and :math:`w` allow (0 for plain labels, the entropy of :math:`q`
    otherwise; with class weights or distributions it depends on the data seen) to :math:`\infty`. Reference: what
    equal logits score, :math:`\log C` unless smoothing and class weights come together. Szegedy et al., "Rethinking the
    Inception architecture", 2016, for the smoothing.

    Differs from `torch.nn.CrossEntropyLoss`: a batch in which every label is ignored gives 0, not NaN; the mean is over
    all ranks' labels; with distributions the mean divides by :math:`\sum_c t_c w_c`, so that they agree with the labels
    that they may stand for; nothing is ignored unless `ignore_index` is given.

    Traps: with label smoothing 0 is out of reach, and an over-confident right answer may cost more than a guess. Warns
    once if what it is given for logits looks like probabilities; for that it looks at the first batches, where they are
    on the CPU.

    Args:
        label_smoothing: the share :math:`s` of the uniform distribution, in [0, 1).
        class_weight: :math:`w`, one number per class, at least 0.
        ignore_index: the label of elements that do not count.
        normalize: divide by :math:`\log C`, so that equal logits score 1 whatever the number of classes.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N, *]).

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, shapes that do not fit, a label or probability out of range,
            probabilities that do not sum to 1.

    >>> import torch
    >>> loss = CrossEntropy(label_smoothing=0.1, ignore_index=255)
    >>> loss(torch.zeros(3, 10), torch.tensor([3, 7, 255]))  # log 10
    tensor(2.3026)
    """

    class_weight: Tensor | None

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weight: Sequence[float] | Tensor | None = None,
        ignore_index: int | None = None,
        normalize: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.label_smoothing = check_number("label_smoothing", label_smoothing, at_least=0, below=1)
        self.ignore_index = ignore_index
        self.normalize = normalize
        self.register_buffer("class_weight", numbers("class_weight", class_weight), persistent=False)
        self.check_logits = LogitsCheck()

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Cross-entropies [N, *], counted by the weights of their labels."""
        target, kept = class_targets(input, target, self.ignore_index)
        check_per_class("class_weight", self.class_weight, input)
        self.check_logits(input)
        values = cross_entropy(input, target, self.label_smoothing, self.class_weight)
        if self.normalize:
            if input.shape[1] == 1:
                raise ValueError(message("input", "of at least 2 classes to be normalized by their logarithm", 1))
            values = values / math.log(input.shape[1])
        count = None if self.class_weight is None else label_weight(target, self.class_weight)
        return Parts(values, count).weighted(None, kept)

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Every class equally likely."""
        return torch.zeros_like(input)

    def optimal(self, input: Tensor, target: Tensor) -> Tensor | None:
        """The smoothed and weighted target itself; without either the least loss is 0."""
        if not (target.is_floating_point() or self.label_smoothing):
            return None
        if not target.is_floating_point():
            target = target.long().clamp(0, input.shape[1] - 1)  # of an ignored or masked label, whatever it is
        return cross_entropy_minimizer(input, target, self.label_smoothing, self.class_weight)

    def element_axis(self, target: Tensor) -> int | None:
        """A distribution lies along the class axis, a label is one number."""
        return 1 if target.is_floating_point() else None


class BCEWithLogits(ElementwiseLoss):
    r"""Binary cross-entropy of a sigmoid, :math:`-w\,t \log \sigma(x) - (1-t) \log(1 - \sigma(x))`.

    For labels that do not exclude each other.

    Range: from 0, or from the entropy of the targets where they are neither 0 nor 1, to :math:`\infty`. Reference: what
    even odds score, :math:`\log 2` without `pos_weight`.

    Trap: with a `pos_weight` the probabilities are no longer calibrated.

    Args:
        pos_weight: :math:`w`, above 0: one number, or several that broadcast to `input` from its last dimension on.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: `pos_weight` is not above 0, `input` and `target` differ in shape, or a target is outside [0, 1].

    >>> import torch
    >>> BCEWithLogits(pos_weight=3.0)(torch.zeros(2), torch.tensor([0, 1]))  # 2 log 2
    tensor(1.3863)
    """

    pos_weight: Tensor | None

    def __init__(self, *, pos_weight: float | Sequence[float] | Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.register_buffer("pos_weight", numbers("pos_weight", pos_weight, zero=False), persistent=False)

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Binary cross-entropies, of the shape of `input`."""
        check_same_shape("input", input, "target", target)
        check_probabilities(target)
        return Parts(binary_cross_entropy(input, target, self.pos_weight))

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Even odds."""
        return torch.zeros_like(input)

    def optimal(self, input: Tensor, target: Tensor) -> Tensor | None:
        """The weighted odds of the target; of labels the least loss is 0."""
        if not target.is_floating_point():
            return None
        odds = target.to(input.dtype) * (1.0 if self.pos_weight is None else self.pos_weight) / (1 - target)
        return odds.log().clamp(-1e4, 1e4)
