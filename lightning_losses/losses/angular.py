"""Metric learning by angular margins: prototypes of the classes, of which the true one must win by an angle."""

import math

import torch
from torch import Tensor, nn

from lightning_losses.bounds import Bounds
from lightning_losses.checks import check_number, is_readable, is_transforming, message
from lightning_losses.distributed import sum_over_ranks
from lightning_losses.functional.angular import arcface_logits, curricularface_logits
from lightning_losses.functional.classification import cross_entropy
from lightning_losses.functional.gathering import at_label
from lightning_losses.functional.pairs import inner_products, unit_vectors
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.losses.inputs import class_labels
from lightning_losses.numerics import at_least_float32, safe_divide, widest
from lightning_losses.reduction import Parts

ROUNDING = 0.01  # cosines computed in bfloat16 pass 1 by up to 0.004


class CosineClassifier(nn.Module):
    r"""Cosines between embeddings and one learned prototype per class, in float32 or wider also under autocast.

    The last layer of a model that is trained with `ArcFace` or `CurricularFace`; its prototypes belong to the model,
    its optimizer and its checkpoint. Its weight decay does nothing but change the step size: only directions count.

    Args:
        features: D, the length of an embedding.
        classes: C, the number of prototypes.

    >>> import torch
    >>> CosineClassifier(128, 10)(torch.randn(4, 128)).shape
    torch.Size([4, 10])
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, features))

    def forward(self, input: Tensor) -> Tensor:
        """Cosines [N, C] of embeddings [N, D]."""
        embeddings, prototypes = at_least_float32(input), at_least_float32(self.weight)
        return inner_products(unit_vectors(embeddings), unit_vectors(prototypes))


class AngularLoss(ElementwiseLoss):
    """A loss of cosines [N, C] and labels [N]; its arguments are explained at `ArcFace`."""

    def __init__(self, *, scale: float, margin: float, ignore_index: int | None, reduction: str) -> None:
        super().__init__(reduction=reduction)
        self.scale = check_number("scale", scale, above=0)
        self.margin = check_number("margin", margin, at_least=0, below=math.pi)
        self.ignore_index = ignore_index

    def checked(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Cosines in [-1, 1], labels, and which of them count."""
        labels, kept = class_labels(input, target, self.ignore_index)
        if input.dim() != 2:
            raise ValueError(message("input", "cosines of shape [N, C]", tuple(input.shape)))
        if is_readable(input):
            greatest = input.detach().abs().max().item()
            if not greatest <= 1 + ROUNDING:
                raise ValueError(message("input", "cosines in [-1, 1]", greatest))
        return input.clamp(-1.0, 1.0), labels, kept

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """At a right angle to every prototype, as random embeddings nearly are."""
        return torch.zeros_like(input)

    def optimal(self, input: Tensor, target: Tensor) -> Tensor:
        """At the prototype of the true class, opposite to all others."""
        labels = target.long().clamp(0, input.shape[1] - 1)  # those of masked elements may be anything
        return torch.full_like(input, -1.0).scatter(1, labels.unsqueeze(1), 1.0)


class ArcFace(AngularLoss):
    r"""Additive angular margin, a cross-entropy of :math:`s \cos(\theta_y + m)` against :math:`s \cos \theta_j`.

    Cosines [N, C] between embeddings and prototypes, as of a `CosineClassifier`, against labels [N]. For verification,
    where classes of the test are not those of the training. Deng et al., "ArcFace: additive angular margin loss for
    deep face recognition", 2019.

    Range: from :math:`\log(1 + (C-1) e^{-s(1 + \cos m)})`, about 0, to :math:`\log(1 + (C-1) e^{s(3 - \cos m)})`.
    Reference: what cosines of 0 score, :math:`\log(1 + (C-1) e^{s \sin m})`, about :math:`s \sin m + \log(C-1)`.

    Trap: an untrained network begins up to :math:`s^2 / 2D` above the reference, D being the length of the embeddings:
    a first value of 50 is no divergence.

    Differs from others: every derivative is finite, at cosines of 1 too, where that of the arc cosine is not; beyond
    :math:`\theta = \pi - m` the penalty goes on without a jump, with the slope of the authors' code.

    Args:
        scale: :math:`s`, above 0.
        margin: :math:`m` in radians, in :math:`[0, \pi)`.
        ignore_index: the label of elements that do not count.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N]).

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, shapes that do not fit, a label out of range, inputs that are no
            cosines.

    >>> import torch
    >>> ArcFace()(torch.zeros(1, 3), torch.tensor([0]))  # 64 sin 0.5 + log 2
    tensor(31.3764)
    """

    def __init__(
        self, *, scale: float = 64.0, margin: float = 0.5, ignore_index: int | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__(scale=scale, margin=margin, ignore_index=ignore_index, reduction=reduction)

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Cross-entropies [N]."""
        cosine, labels, kept = self.checked(input, target)
        logits = arcface_logits(cosine, labels, self.scale, self.margin)
        return Parts(cross_entropy(logits, labels)).weighted(None, kept)

    @torch.no_grad()
    def statistics(
        self, input: Tensor, target: Tensor, weight: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """As `Loss.statistics`, and the sum that the opposite of the optimal prediction scores."""
        worst = -self.optimal(at_least_float32(input), target)
        total, _ = self._parts(worst, target, weight, mask).sum_and_count()
        of_ranks = sum_over_ranks(widest(total)).reshape(1)
        return torch.cat([super().statistics(input, target, weight, mask), of_ranks])

    def bounds(self, statistics: Tensor | None = None) -> Bounds:
        """From the `statistics` of batches, which know the number of classes."""
        if self.reduction == "sum" or statistics is None or statistics.numel() == 0:
            return super().bounds()
        uninformed, count, best, worst = statistics
        return Bounds(best / count, worst / count, uninformed / count)


class CurricularFace(AngularLoss):
    r"""ArcFace whose hard negatives count the more, the further the training has come.

    For the purpose of `ArcFace`, where most negatives soon are easy. Cosines [N, C] between embeddings and prototypes
    against labels [N]. A negative with :math:`\cos \theta_j > \cos(\theta_y + m)` enters as
    :math:`s \cos \theta_j (t + \cos \theta_j)`, with :math:`t` the running mean of :math:`\cos \theta_y`: near 0 at
    first, when hard negatives are rather played down, and growing with the angle's decrease. Huang et al.,
    "CurricularFace: adaptive curriculum learning loss for deep face recognition", 2020.

    Range: from :math:`\log(1 + (C-1) e^{-s(1 + \cos m)})`, about 0, to a value that moves with :math:`t` and is given
    as :math:`\infty`. Reference: as of `ArcFace`.

    Differs from the authors' code: :math:`t` is the mean over the elements of all ranks, takes effect from the next
    batch on, so that a value depends on the batch and the state alone, and is part of the `state_dict`.

    Trap: every call in training mode moves :math:`t`, so that micro-batches move it more often than one large batch
    would; calls in evaluation mode and within transforms of torch.func do not.

    Args:
        scale: :math:`s`, above 0.
        margin: :math:`m` in radians, in :math:`[0, \pi)`.
        decay: the share of the old :math:`t` in the new one, in [0, 1).
        ignore_index: the label of elements that do not count.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N]).

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, shapes that do not fit, a label out of range, inputs that are no
            cosines.

    >>> import torch
    >>> loss = CurricularFace(scale=1.0)
    >>> loss(torch.zeros(1, 3), torch.tensor([0])) == ArcFace(scale=1.0)(torch.zeros(1, 3), torch.tensor([0]))
    tensor(True)
    >>> _ = loss(torch.tensor([[0.8, 0.1]]), torch.tensor([0]))
    >>> loss.t
    tensor(0.0080)
    """

    t: Tensor

    def __init__(
        self,
        *,
        scale: float = 64.0,
        margin: float = 0.5,
        decay: float = 0.99,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(scale=scale, margin=margin, ignore_index=ignore_index, reduction=reduction)
        self.decay = check_number("decay", decay, at_least=0, below=1)
        self.register_buffer("t", torch.zeros(()))

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Cross-entropies [N]."""
        cosine, labels, kept = self.checked(input, target)
        logits = curricularface_logits(cosine, labels, self.t, self.scale, self.margin)
        return Parts(cross_entropy(logits, labels)).weighted(None, kept)

    def forward(
        self, input: Tensor, target: Tensor, weight: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """As `Loss.forward`; in training mode it then moves :math:`t`."""
        value = super().forward(input, target, weight, mask)
        if self.training and not is_transforming():
            self._move(input.detach(), target, weight, mask)
        return value

    @torch.no_grad()
    def _move(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> None:
        target = target if mask is None else self._fill_masked(target, mask, 0)
        cosine, labels, kept = self.checked(at_least_float32(input), target)
        true = Parts(at_label(cosine, labels)).weighted(None, kept).weighted(weight, mask)
        total, count = sum_over_ranks(torch.stack(true.sum_and_count()))
        self.t.lerp_(safe_divide(total, count).to(self.t.dtype), (1 - self.decay) * (count > 0))
