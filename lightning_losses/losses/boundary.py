"""Loss of distances to boundaries."""

import math

import torch
from torch import Tensor

from lightning_losses.checks import check_same_shape, message
from lightning_losses.functional.boundary import boundary_distance
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.losses.inputs import check_finite
from lightning_losses.reduction import Parts

CERTAIN = 1e4  # logits that far apart have probabilities of 0 and 1 in every precision


class Boundary(ElementwiseLoss):
    r"""Boundary loss, the mean over pixels of :math:`\sum_c p_c \phi_c` with a softmax :math:`p` of logits [N, C, *].

    The target [N, C, *] holds, for each class, the signed distance :math:`\phi_c` of each pixel to the boundary of the
    true region: below 0 inside, above 0 outside. For small regions in much background: a pixel taken wrongly costs as
    much as it is far off, however large its region is. Compute the distances once for each image, before training::

        inside, outside = (scipy.ndimage.distance_transform_edt(r) for r in (label == c, label != c))
        phi_c = outside - inside

    Kervadec et al., "Boundary loss for highly unbalanced segmentation", 2019.

    Range signed and known from the data: its lower end is the mean over pixels of :math:`\min_c \phi_c`, where each
    pixel is taken for the class it lies deepest in; reference: the mean of :math:`\phi` over pixels and classes, which
    equal logits score. With `excess` from 0.

    Traps: alone it has a poor minimum where nothing is predicted, and its gradient vanishes where the softmax is sure.
    Add it to `Dice` or `DiceCE` with a weight that grows during training. Of a class that an image does not have,
    :math:`\phi` must be set by hand: 0 leaves it out. Differs from others: the sum over classes, not the mean.

    Args:
        excess: measure from the best prediction, :math:`\sum_c p_c \phi_c - \min_c \phi_c`. No gradient changes, and
            the loss is never negative, as `GradNorm` asks.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N, *]).

    Raises:
        TypeError: a target of an integer dtype, as labels are.
        ValueError: `input` and `target` differ in shape, or a distance is infinite or NaN.

    >>> import torch
    >>> phi = torch.tensor([[[-1.0, 2.0], [1.0, -2.0]]])  # two pixels, of class 0 and 1
    >>> Boundary()(torch.tensor([[[9.0, -9.0], [-9.0, 9.0]]]), phi)
    tensor(-1.5000)
    """

    def __init__(self, *, excess: bool = False, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.excess = excess
        self.lower = 0.0 if excess else -math.inf

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Distances [N, *]."""
        if not target.is_floating_point():
            raise TypeError(message("target", "signed distances of a floating dtype", target.dtype))
        check_same_shape("target", target, "input", input)
        check_finite("target", target)
        values = boundary_distance(input, target)
        return Parts(values - target.amin(1) if self.excess else values)

    def element_axis(self, target: Tensor) -> int:
        """A pixel has a distance for each class."""
        return 1

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Every class equally likely."""
        return torch.zeros_like(input)

    def optimal(self, input: Tensor, target: Tensor) -> Tensor:
        """Certain of the class whose distance is least."""
        return torch.zeros_like(input).scatter(1, target.argmin(1, keepdim=True), CERTAIN)
