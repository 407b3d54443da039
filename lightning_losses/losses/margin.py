"""Losses of margins: hinge, its square, and their multi-class form."""

import torch
from torch import Tensor

from lightning_losses.checks import check_number, check_same_shape, message
from lightning_losses.functional.margin import hinge, multi_margin
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.losses.inputs import check_binary, class_labels
from lightning_losses.reduction import Parts


class Hinge(ElementwiseLoss):
    r"""Hinge loss, :math:`\max(0, 1 - s x)` with :math:`s = 2t - 1`.

    For scores of which only the sign is needed, as in a support vector machine: what is right by a margin of 1 has no
    gradient any more, and the scores are no log-odds. Cortes and Vapnik, "Support-vector networks", 1995.

    Trap: its Hessian is 0: curvature monitors see nothing of it.

    Range :math:`[0, \infty)`; reference 1, what a score of 0 costs.

    Differs from others: labels are 0 and 1, as everywhere in this library; -1 is an error.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: shapes that differ, a target that is neither 0 nor 1.

    >>> import torch
    >>> Hinge()(torch.tensor([3.0, 3.0]), torch.tensor([1, 0]))
    tensor(2.)
    """

    reference = 1.0

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Missing margins, of the shape of `input`."""
        check_same_shape("input", input, "target", target)
        check_binary(target)
        return Parts(hinge(input, target))


class SquaredHinge(Hinge):
    r"""Squared hinge loss, :math:`\max(0, 1 - s x)^2` with :math:`s = 2t - 1`.

    For scores as of `Hinge`, with a gradient that vanishes smoothly at the margin.

    Range :math:`[0, \infty)`; reference 1, what a score of 0 costs.

    Trap: outliers are punished by their square.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: shapes that differ, a target that is neither 0 nor 1; -1 is an error too.

    >>> import torch
    >>> SquaredHinge()(torch.tensor([3.0, 3.0]), torch.tensor([1, 0]))
    tensor(8.)
    """

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Squares of missing margins, of the shape of `input`."""
        return Parts(super().elements(input, target).values.square())


class MultiMargin(ElementwiseLoss):
    r"""Multi-class margin loss, :math:`\frac1C \sum_{c \ne y} \max(0, m - x_y + x_c)^k`.

    For scores of which only the greatest is needed: scores [N, C, *] against labels [N, *], of which the true
    class's shall beat each other one by :math:`m`. Weston and Watkins, "Support vector machines for multi-class pattern
    recognition", 1999.

    Range :math:`[0, \infty)`; reference: what equal scores cost, :math:`m^k (1 - 1/C)`.

    Trap: the sum is divided by C and not by the C - 1 classes that it runs over, as in `torch.nn.MultiMarginLoss`;
    which can be differentiated only once, and takes no pixels.

    Args:
        margin: :math:`m`, above 0.
        power: :math:`k`, 1 or 2. With 1 the Hessian is 0.
        ignore_index: the label of elements that do not count.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N, *]).

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, shapes that do not fit, a label out of range.

    >>> import torch
    >>> MultiMargin()(torch.zeros(1, 4), torch.tensor([2]))
    tensor(0.7500)
    """

    def __init__(
        self, *, margin: float = 1.0, power: int = 1, ignore_index: int | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction=reduction)
        self.margin = check_number("margin", margin, above=0)
        if power not in (1, 2):
            raise ValueError(message("power", "1 or 2", power))
        self.power = power
        self.ignore_index = ignore_index

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Missing margins [N, *]."""
        labels, kept = class_labels(input, target, self.ignore_index)
        return Parts(multi_margin(input, labels, self.margin, self.power)).weighted(None, kept)

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Equal scores."""
        return torch.zeros_like(input)
