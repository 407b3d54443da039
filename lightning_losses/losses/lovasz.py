"""Losses that are the Jaccard index where predictions are certain."""

import torch
from torch import Tensor

from lightning_losses.checks import check_same_shape
from lightning_losses.functional.lovasz import lovasz_extension
from lightning_losses.losses.base import Loss
from lightning_losses.losses.inputs import check_binary, class_labels
from lightning_losses.reduction import Parts


class LovaszLoss(Loss):
    """A loss of errors that are sorted; its arguments are explained at `LovaszSoftmax`."""

    def __init__(self, *, ignore_index: int | None = None, per_image: bool = False, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.ignore_index = ignore_index
        self.per_image = per_image

    def score(self, errors: Tensor, true: Tensor, pixels: Parts, score_absent: bool) -> Parts:
        """One value per region, [K] or per image [N, K].

        Args:
            errors: of each pixel for each region [N, K, *].
            true: which pixels belong to a region, the same shape.
            pixels: how much each pixel counts [N, *].
            score_absent: whether a region without a pixel counts.
        """
        errors, true, weight = (self._flatten(tensor) for tensor in (errors, true, pixels.values.unsqueeze(1)))
        counted = weight if score_absent else weight * true
        counts = (counted.sum(-1) > 0).to(errors.dtype)
        return Parts(lovasz_extension(errors, true, weight)).weighted(counts, None)

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Every class equally likely."""
        return torch.zeros_like(input)

    def _flatten(self, tensor: Tensor) -> Tensor:
        """[N, K, *] as [N, K, pixels of an image], or as [K, pixels of the batch]."""
        if self.per_image:
            return tensor.unsqueeze(-1).flatten(2)
        return tensor.transpose(0, 1).unsqueeze(-1).flatten(1)


class LovaszSoftmax(LovaszLoss):
    r"""Lovász-softmax loss, the mean over classes of the Jaccard loss 1 - IoU, continued to probabilities.

    The errors :math:`|[y = c] - p_c|` of the pixels are sorted, and each counts by what it adds to the Jaccard loss of
    the worse ones. For logits [N, C, *] against labels [N, *] where mean IoU is the score; usually after training with
    cross-entropy, or together with it. Berman et al., "The Lovász-softmax loss", 2018.

    Range [0, 1]; reference: what equal logits score, 1 - 1/C whatever the balance of the classes.

    Traps: it costs a sort of all pixels for each class. A rank knows the order of its own pixels only, so the mean runs
    over the classes of each rank's batch and the loss of N ranks is not that of their union, except with `per_image`.

    Differs from others: one sort for all classes together, in float32 under mixed precision; pixels can have weights;
    a class of which the batch (with `per_image`, the image) has no pixel is left out of the mean.

    Args:
        ignore_index: the label of pixels that do not count.
        per_image: sort each image alone; the mean is over all pairs of an image and a class.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; the values are [C] or, per image, [N, C].

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: shapes that do not fit, a label out of range.

    >>> import torch
    >>> LovaszSoftmax()(torch.zeros(1, 4, 2, 2), torch.tensor([[[0, 1], [2, 3]]]))
    tensor(0.7500)
    """

    upper = 1.0

    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """One value per class, or per image and class."""
        labels, kept = class_labels(input, target, self.ignore_index)
        classes = torch.arange(input.shape[1], device=labels.device).reshape(-1, *[1] * (input.dim() - 2))
        true = labels.unsqueeze(1) == classes
        probabilities = torch.softmax(input, 1)
        errors = torch.where(true, 1 - probabilities, probabilities)
        pixels = Parts(torch.ones_like(input[:, 0])).weighted(None, kept).weighted(weight, mask)
        return self.score(errors, true, pixels, score_absent=False)


class LovaszHinge(LovaszLoss):
    r"""Lovász hinge, the Jaccard loss of one region continued to the hinge errors :math:`\max(0, 1 \mp x)`.

    For one region and its IoU: logits [N, *] against labels 0 or 1 [N, *]. Yu and Blaschko, "Learning submodular losses
    with the Lovász hinge", 2015; Berman et al., "The Lovász-softmax loss", 2018.

    Range :math:`[0, \infty)`; reference 1, what logits of 0 score. Without a true pixel the value is the largest error.

    Traps: as for `LovaszSoftmax`, each rank sorts its own pixels: N ranks give the mean of their losses and not that of
    the union, except with `per_image`. Beyond the margin :math:`|x| > 1` of the right side there is no gradient.

    Args:
        ignore_index: the label of pixels that do not count.
        per_image: a value for each image, and their mean.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; the values are [1] or, per image, [N, 1].

    Raises:
        ValueError: shapes that differ, a target that is neither 0 nor 1.

    >>> import torch
    >>> LovaszHinge()(torch.tensor([[2.0, -2.0, 0.5]]), torch.tensor([[1, 0, 1]]))  # half of the region at 0.5
    tensor(0.2500)
    """

    reference = 1.0

    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """One value, or one per image."""
        check_same_shape("input", input, "target", target)
        kept = None
        if self.ignore_index is not None:
            kept = target != self.ignore_index
            target = target.masked_fill(~kept, 0)
        check_binary(target)
        true = target == 1
        errors = torch.relu(torch.where(true, 1 - input, 1 + input))
        pixels = Parts(torch.ones_like(input)).weighted(None, kept).weighted(weight, mask)
        return self.score(errors.unsqueeze(1), true.unsqueeze(1), pixels, score_absent=True)
