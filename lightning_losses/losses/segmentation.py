"""Losses of segmentation: overlap of regions, alone and together with cross-entropy."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_losses.checks import check_number, message
from lightning_losses.distributed import differentiable_sum_over_ranks
from lightning_losses.functional.fused import can_fuse
from lightning_losses.functional.fused_overlap import fused_overlap_and_likelihood
from lightning_losses.functional.gathering import at_label
from lightning_losses.functional.segmentation import class_overlap, dice_distance, generalized_dice_distance
from lightning_losses.losses.base import Loss
from lightning_losses.losses.inputs import check_per_class, class_labels, numbers
from lightning_losses.reduction import Parts, reduce


class OverlapLoss(Loss):
    """How much the regions of logits [N, C, *] and labels [N, *] overlap; `Dice` explains the arguments."""

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

    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """One value per class, or per image and class."""
        labels, kept = class_labels(input, target, self.ignore_index)
        counts = Parts(input[:, 0]).weighted(None, kept).weighted(weight, mask).count
        return self.score(class_overlap(torch.softmax(input, 1), labels, counts))

    def score(self, sums: Tensor) -> Parts:
        """What is made of the `class_overlap` [3, N, C] of this rank's images."""
        check_per_class("class_weight", self.class_weight, sums[0])
        if not self.per_image:
            sums = differentiable_sum_over_ranks(sums.sum(1))
        scored = slice(None if self.include_background else 1, None)
        intersection, predicted, true = sums[..., scored]
        counts = torch.ones_like(true) if self.score_absent else (true > 0).to(true.dtype)
        if self.class_weight is not None:
            counts = counts * self.class_weight[scored]
        values, counts = self.distances(intersection, predicted, true, counts)
        return Parts(values, is_global=not self.per_image).weighted(counts, None)

    def distances(self, intersection: Tensor, predicted: Tensor, true: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Values, and how much each counts in the mean, from the sums and weights of the classes."""
        return dice_distance(intersection, predicted, true, self.smoothing), counts

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Every class equally likely."""
        return torch.zeros_like(input)


class Dice(OverlapLoss):
    r"""Soft Dice loss, the mean over classes of :math:`1 - \frac{2 I_c + s}{P_c + T_c + s}`.

    For objects that are small beside the background: overlaps count, not pixels. :math:`I_c` is the probability given
    to class c where it is true, :math:`P_c` the probability given to it anywhere, :math:`T_c` the number of pixels
    where it is true; the sums run over all pixels of the batch and of all ranks, in float32. Logits [N, C, *] against
    labels [N, *]. Milletari et al., "V-Net", 2016, without the squares in the denominator.

    Range [0, 1]; reference: what equal logits score, 1 - 1/C if the classes are balanced.

    Traps: where the network is sure and wrong there is almost no gradient, which `DiceCE` mends. The loss of a batch is
    not the mean of those of its parts, so micro-batches change it, except with `per_image`.

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


class GeneralizedDice(OverlapLoss):
    r"""Generalised Dice loss, :math:`1 - 2 \sum_c v_c I_c / \sum_c v_c (P_c + T_c)` with :math:`v_c = (T_c + s)^{-2}`.

    One ratio for all classes, in which a class counts by the square of its rarity; the sums :math:`I_c, P_c, T_c` are
    those of `Dice`. For a few small structures in much background. Logits [N, C, *] against labels [N, *]. Sudre et
    al., "Generalised Dice overlap as a deep learning loss function for highly unbalanced segmentations", 2017.

    Range [0, 1]; reference: what equal logits score, 1 - 1/C if the classes are balanced.

    Trap: a class of a handful of pixels decides nearly all; `smoothing` limits that.

    Differs from others: a class of which the batch has no pixel, whose weight would be infinite, is left out. With
    `score_absent` its weight is :math:`1/s^2`.

    Args:
        ignore_index: the label of pixels that do not count.
        include_background: False leaves class 0 out.
        per_image: a ratio of each image, and their mean.
        smoothing: :math:`s \ge 0`, in pixels; it smooths the weights, not the ratio.
        score_absent: also score classes that are nowhere true.
        class_weight: one number per class, at least 0, by which its :math:`v_c` is multiplied.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; the values are [1] or, per image, [N, 1].

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, shapes that do not fit, a label out of range.

    >>> import torch
    >>> GeneralizedDice()(torch.zeros(1, 4, 2, 2), torch.tensor([[[0, 1], [2, 3]]]))
    tensor(0.7500)
    """

    upper = 1.0

    def distances(self, intersection: Tensor, predicted: Tensor, true: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """One value, which counts as soon as a class does."""
        values = generalized_dice_distance(intersection, predicted, true, counts, self.smoothing)
        return values, (counts > 0).any(-1, keepdim=True).to(values.dtype)


class DiceCE(OverlapLoss):
    r"""Soft Dice plus cross-entropy, :math:`w_D\, L_{\text{Dice}} + w_{CE}\, L_{CE}`, from one shared log-softmax.

    For segmentation in general: Dice looks at regions, whatever their size, and cross-entropy gives every pixel a
    gradient. Logits [N, C, *] against labels [N, *]. Isensee et al., "nnU-Net", 2021. The value is that of `Dice` and
    `CrossEntropy` apart, for less time and memory.

    Range :math:`[0, \infty)`; reference: what equal logits score, :math:`w_D (1 - 1/C) + w_{CE} \log C` if the classes
    are balanced.

    Trap: both parts are means already, over different things, so there is no `reduction` to choose.

    Args:
        dice_weight: :math:`w_D`, at least 0.
        ce_weight: :math:`w_{CE}`, at least 0.
        ignore_index: the label of pixels that do not count.
        include_background: False leaves class 0 out of Dice.
        per_image: as in `Dice`.
        smoothing: as in `Dice`.
        score_absent: as in `Dice`.
        class_weight: one number per class, at least 0: as in `Dice` and in `CrossEntropy`.
        fused: keep only the float32 logits, the labels and the weights for the backward pass and compute the rest
            again. It forbids a second derivative and forward-mode AD; inside `eager_formulas`, torch.func and
            torch.compile the plain formula is taken.

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
        fused: bool = False,
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
        self.fused = fused

    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """The weighted sum of the two means, as the only element."""
        formula = self._fused if self.fused and can_fuse() else self._plain
        sums, log_likelihood = formula(input, target, weight, mask)
        dice, cross_entropy = reduce(self.score(sums)), -reduce(log_likelihood)
        return Parts((self.dice_weight * dice + self.ce_weight * cross_entropy).reshape(1))

    def _plain(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Parts]:
        """The overlap of this rank's images, and their log-likelihoods."""
        labels, kept = class_labels(input, target, self.ignore_index)
        log_probabilities = torch.log_softmax(input, 1)
        log_at_truth = at_label(log_probabilities, labels)
        counts = Parts(log_at_truth).weighted(None, kept).weighted(weight, mask).count
        sums = class_overlap(log_probabilities.exp(), labels, counts, log_at_truth.exp())
        check_per_class("class_weight", self.class_weight, input)
        of_label = None if self.class_weight is None else self.class_weight[labels]
        return sums, Parts(log_at_truth).weighted(of_label, kept).weighted(weight, mask)

    def _fused(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Parts]:
        """The same, with the log-likelihoods summed over each image."""
        labels, _ = class_labels(input, target, self.ignore_index)
        check_per_class("class_weight", self.class_weight, input)
        if weight is not None or mask is not None:
            weight = Parts(torch.ones_like(labels, dtype=input.dtype)).weighted(weight, mask).values.to(input.dtype)
        sums, values = fused_overlap_and_likelihood(input, target, weight, self.class_weight, self.ignore_index)
        counts = sums[2] if self.class_weight is None else sums[2] * self.class_weight
        return sums, Parts(values, counts.sum(1))
