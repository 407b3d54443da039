"""The reverse of Huber's loss, whose threshold may follow the residuals."""

import torch
from torch import Tensor

from lightning_losses.checks import check_number, check_same_shape, is_transforming, message
from lightning_losses.distributed import max_over_ranks
from lightning_losses.functional.robust import berhu
from lightning_losses.losses.base import Loss
from lightning_losses.losses.inputs import check_finite
from lightning_losses.numerics import at_least_float32
from lightning_losses.reduction import Parts


class BerHu(Loss):
    r"""Reverse Huber loss: :math:`|e|` where :math:`|e| \le c`, else :math:`(e^2 + c^2) / 2c`.

    Laina et al., "Deeper depth prediction with fully convolutional residual networks", 2016. For depth maps and other
    targets whose errors have a heavy tail that is no noise: small residuals pull as in the absolute error, large ones
    as in the squared error. Range :math:`[0, \infty)`; reference: what the median of each batch's targets scores.

    Traps: wrong labels are amplified. Without a `threshold`, :math:`c` is a fifth of the largest residual of the batch,
    over all ranks, without what is masked or of weight 0. It is a constant to the gradient, which is therefore not the
    derivative of the value; and the loss of a batch is not the mean of the losses of its parts.

    With a `decay`, :math:`c` is a running mean of those of the training batches: every call in training mode first
    takes :math:`c \leftarrow \text{decay}\, c + (1 - \text{decay})\, c_{\text{batch}}` (the first sets it). Evaluation
    and transforms of torch.func leave it as it is. It is the buffer `running`, 0 before it knows of any residual.

    Args:
        threshold: :math:`c`, above 0, in the unit of the target; None for one that follows the residuals.
        decay: in [0, 1), how much of the running threshold a batch leaves; None for that of each batch alone.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: a hyperparameter out of its range, a `decay` of a fixed threshold, `input` and `target` differ in
            shape, or a target is not finite.

    >>> import torch
    >>> BerHu(reduction="none")(torch.tensor([1.0, 10.0]), torch.zeros(2))  # c = 2
    tensor([ 1., 26.])
    """

    running: Tensor | None

    def __init__(self, *, threshold: float | None = None, decay: float | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.threshold = None if threshold is None else check_number("threshold", threshold, above=0)
        self.decay = None if decay is None else check_number("decay", decay, at_least=0, below=1)
        if threshold is not None and decay is not None:
            raise ValueError(message("decay", "None where `threshold` is fixed", decay))
        self.register_buffer("running", None if decay is None else torch.zeros(()))

    def forward(
        self, input: Tensor, target: Tensor, weight: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """As `Loss.forward`; in training mode the running threshold learns of the batch first."""
        if self.training and not is_transforming() and self.running is not None and self.decay is not None:
            target = target if mask is None else self._fill_masked(target, mask, 0)
            check_same_shape("input", input, "target", target)
            _learn(self.running, _batch_threshold(input, target, weight, mask), self.decay)
        return super().forward(input, target, weight, mask)

    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """One value per number."""
        check_same_shape("input", input, "target", target)
        check_finite("target", target)
        return Parts(berhu(input, target, self._threshold(input, target, weight, mask))).weighted(weight, mask)

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """The median target."""
        return target.to(input.dtype).nanmedian().expand_as(input)

    def _threshold(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> float | Tensor:
        if self.threshold is not None:
            return self.threshold
        threshold = _batch_threshold(input, target, weight, mask)
        if self.running is not None:
            threshold = torch.where(self.running > 0, self.running, threshold)
        return threshold.masked_fill(threshold == 0, 1.0)  # no residual counts: any will do


def _batch_threshold(input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Tensor:
    """A fifth of the largest residual that counts; 0 where none does."""
    counts = None if weight is None else weight != 0
    residual = at_least_float32(input.detach()) - at_least_float32(target.detach())
    sizes = Parts(residual.abs()).weighted(counts, mask).values
    return 0.2 * max_over_ranks(torch.cat([sizes.flatten(), sizes.new_zeros(1)]).max())


def _learn(running: Tensor, of_batch: Tensor, decay: float) -> None:
    """Move `running` in place; an empty batch teaches nothing, nor does one that overflowed in half precision."""
    mixed = torch.where(running > 0, decay * running + (1 - decay) * of_batch, of_batch)
    running.copy_(torch.where((of_batch > 0) & of_batch.isfinite(), mixed, running))
