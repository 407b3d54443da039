"""Losses of segmentation: overlap of regions, alone and together with cross-entropy."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_losses.checks import check_number, message
from lightning_losses.distributed import differentiable_sum_over_ranks
from lightning_losses.functional.gathering import at_label
from lightning_losses.functional.segmentation import class_overlap, dice_distance
from lightning_losses.losses.base import Loss
from lightning_losses.losses.inputs import check_per_class, class_labels, numbers
from lightning_losses.reduction import Parts, reduce


class OverlapLoss(Loss):
    """A loss of logits [N, C, *] and labels [N, *] with a soft Dice in it; its arguments are explained at `Dice`."""

    class_weight: Tensor | None

    def __init__(
        self,
        *,
        ignore_index: int | None = None,
        include_background: bool = True,
        per_image: bool = False,
        smoothing: float = 0.0,
        score_absent: bool = False,
        class_weight: Sequence[float] | Tensor | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.ignore_index = ignore_index
        self.include_background = include_background
        self.per_image = per_image
        self.smoothing = check_number("smoothing", smoothing, at_least=0)
        if score_absent and not smoothing:
            raise ValueError(message("smoothing", "above 0 where absent classes are scored", smoothing))
        self.score_absent = score_absent
        self.register_buffer("class_weight", numbers("class_weight", class_weight), persistent=False)

    def dice(self, probabilities: Tensor, at_truth: Parts, labels: Tensor) -> Parts:
        """The Dice distance of each class, [C] or per image [N, C], counted by the weights of the classes scored.

        Args:
            probabilities: [N, C, *].
            at_truth: the probabilities of the true classes [N, *], weighted and masked.
            labels: in 0..C-1 [N, *].
        """
        check_per_class("class_weight", self.class_weight, probabilities)
        sums = class_overlap(probabilities, at_truth.values, labels, at_truth.count)
        if not self.per_image:
            sums = differentiable_sum_over_ranks(sums.sum(1))
        scored = slice(None if self.include_background else 1, None)
        intersection, predicted, true = sums[..., scored]
        values = dice_distance(intersection, predicted, true, self.smoothing)
        counts = torch.ones_like(values) if self.score_absent else (true > 0).to(values.dtype)
        if self.class_weight is not None:
            counts = counts * self.class_weight[scored]
        return Parts(values, is_global=not self.per_image).weighted(counts, None)

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Every class equally likely."""
        return torch.zeros_like(input)


class Dice(OverlapLoss):
    r"""Soft Dice loss, the mean over classes of :math:`1 - \frac{2 I_c + s}{P_c + T_c + s}`.

    :math:`I_c` is the probability given to class c where it is true, :math:`P_c` the probability given to it anywhere,
    :math:`T_c` the number of pixels where it is true; the sums run over all pixels of the batch and of all ranks, in
    float32. Logits [N, C, *] against labels [N, *]. Milletari et al., "V-Net", 2016, without the squares in the
    denominator.

    Range [0, 1]; reference: what equal logits score, 1 - 1/C if the classes are balanced.

    Differs from others: a class of which the batch has no pixel is left out of the mean (elsewhere it adds a constant,
    or counts as perfect); ignored pixels are left out of all three sums; under DDP the gradient is that of the one
    global batch, not the average of the ranks' own Dice.

    Args:
        ignore_index: the label of pixels that do not count.
        include_background: False leaves class 0 out of the mean.
        per_image: sums over each image alone, and the mean over all pairs of an image and a class.
        smoothing: :math:`s \ge 0`, in pixels.
        score_absent: also score classes that are nowhere true, which needs a `smoothing` of the size of the false
            positives to be forgiven.
        class_weight: one number per class, at least 0: its weight in the mean.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; the values are [C] or, per image, [N, C].

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, shapes that do not fit, a label out of range.

    >>> import torch
    >>> Dice()(torch.zeros(1, 4, 2, 2), torch.tensor([[[0, 1], [2, 3]]]))
    tensor(0.7500)
    """

    upper = 1.0

    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """One value per class, or per image and class."""
        labels, kept = class_labels(input, target, self.ignore_index)
        probabilities = torch.softmax(input, 1)
        at_truth = Parts(at_label(probabilities, labels)).weighted(None, kept).weighted(weight, mask)
        return self.dice(probabilities, at_truth, labels)


class DiceCE(OverlapLoss):
    r"""Soft Dice plus cross-entropy, :math:`w_D\, L_{\text{Dice}} + w_{CE}\, L_{CE}`, from one shared log-softmax.

    Dice looks at regions, whatever their size, and cross-entropy gives every pixel a gradient; Isensee et al.,
    "nnU-Net", 2021. The value is that of `Dice` and `CrossEntropy` apart, for less time and memory. Both parts are
    means already, over different things, so there is no `reduction` to choose.

    Range :math:`[0, \infty)`; reference: what equal logits score, :math:`w_D (1 - 1/C) + w_{CE} \log C` if the classes
    are balanced.

    Args:
        dice_weight: :math:`w_D`, at least 0.
        ce_weight: :math:`w_{CE}`, at least 0.
        ignore_index: the label of pixels that do not count.
        include_background: False leaves class 0 out of Dice.
        per_image: as in `Dice`.
        smoothing: as in `Dice`.
        score_absent: as in `Dice`.
        class_weight: one number per class, at least 0: as in `Dice` and in `CrossEntropy`.

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, shapes that do not fit, a label out of range.

    >>> import torch
    >>> DiceCE()(torch.zeros(1, 4, 2, 2), torch.tensor([[[0, 1], [2, 3]]]))  # 3/4 + log 4
    tensor(2.1363)
    """

    def __init__(
        self,
        *,
        dice_weight: float = 1.0,
        ce_weight: float = 1.0,
        ignore_index: int | None = None,
        include_background: bool = True,
        per_image: bool = False,
        smoothing: float = 0.0,
        score_absent: bool = False,
        class_weight: Sequence[float] | Tensor | None = None,
    ) -> None:
        super().__init__(
            ignore_index=ignore_index,
            include_background=include_background,
            per_image=per_image,
            smoothing=smoothing,
            score_absent=score_absent,
            class_weight=class_weight,
        )
        self.dice_weight = check_number("dice_weight", dice_weight, at_least=0)
        self.ce_weight = check_number("ce_weight", ce_weight, at_least=0)

    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """The weighted sum of the two means, as the only element."""
        labels, kept = class_labels(input, target, self.ignore_index)
        log_probabilities = torch.log_softmax(input, 1)
        log_at_truth = at_label(log_probabilities, labels)
        at_truth = Parts(log_at_truth.exp()).weighted(None, kept).weighted(weight, mask)
        dice = reduce(self.dice(log_probabilities.exp(), at_truth, labels))
        of_label = None if self.class_weight is None else self.class_weight[labels]
        cross_entropy = reduce(Parts(-log_at_truth).weighted(of_label, kept).weighted(weight, mask))
        return Parts((self.dice_weight * dice + self.ce_weight * cross_entropy).reshape(1))
