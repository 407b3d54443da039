"""Overlap losses in which what is predicted too much and what is missed cost differently."""

from collections.abc import Sequence

from torch import Tensor

from lightning_losses.checks import check_number
from lightning_losses.functional.tversky import focal_power, tversky_distance
from lightning_losses.losses.segmentation import OverlapLoss


class Tversky(OverlapLoss):
    r"""Tversky loss, the mean over classes of :math:`1 - \frac{I_c + s}{I_c + \alpha F^+_c + \beta F^-_c + s}`.

    :math:`F^+_c = P_c - I_c` are the pixels taken for class c that are not of it, :math:`F^-_c = T_c - I_c` those of it
    that were missed; the sums :math:`I_c, P_c, T_c` are those of `Dice`. For structures that must not be overlooked, as
    lesions: :math:`\beta > \alpha` trades precision for recall. Logits [N, C, *] against labels [N, *]. With
    :math:`\alpha = \beta = 1/2` it is `Dice` with twice the smoothing. Salehi et al., "Tversky loss function for image
    segmentation", 2017.

    Range [0, 1]; reference: what equal logits score, 1 - 1/C if the classes are balanced and
    :math:`\alpha + \beta = 1`.

    Trap: Abraham and Khan swap the names of :math:`\alpha` and :math:`\beta`.

    Args:
        alpha: cost of a false positive, at least 0.
        beta: cost of a false negative, above 0.
        ignore_index: the label of pixels that do not count.
        include_background: False leaves class 0 out of the mean.
        per_image: as in `Dice`.
        smoothing: :math:`s \ge 0`, in pixels.
        score_absent: as in `Dice`.
        class_weight: one number per class, at least 0: its weight in the mean.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; the values are [C] or, per image, [N, C].

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, shapes that do not fit, a label out of range.

    >>> import torch
    >>> Tversky()(torch.zeros(1, 4, 2, 2), torch.tensor([[[0, 1], [2, 3]]]))
    tensor(0.7500)
    """

    upper = 1.0

    def __init__(
        self,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        ignore_index: int | None = None,
        include_background: bool = True,
        per_image: bool = False,
        smoothing: float = 0.0,
        score_absent: bool = False,
        class_weight: Sequence[float] | Tensor | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(
            ignore_index=ignore_index,
            include_background=include_background,
            per_image=per_image,
            smoothing=smoothing,
            score_absent=score_absent,
            class_weight=class_weight,
            reduction=reduction,
        )
        self.alpha = check_number("alpha", alpha, at_least=0)
        self.beta = check_number("beta", beta, above=0)

    def distances(self, intersection: Tensor, predicted: Tensor, true: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """One value per class."""
        return tversky_distance(intersection, predicted, true, self.alpha, self.beta, self.smoothing), counts


class FocalTversky(Tversky):
    r"""Focal Tversky loss, the mean over classes of :math:`d_c^{1/\gamma}`, where :math:`d_c` is that of `Tversky`.

    For small structures that stay behind the large ones: with :math:`\gamma > 1` a class that is nearly right keeps a
    large gradient. Logits [N, C, *] against labels [N, *]. Abraham and Khan, "A novel focal Tversky loss function with
    improved attention U-Net for lesion segmentation", 2019, who try :math:`\gamma` between 1 and 3 and keep 4/3.
    Elsewhere :math:`1/\gamma` may be called gamma, or the power be taken of the mean.

    Range [0, 1]; reference: what equal logits score, :math:`(1 - 1/C)^{1/\gamma}` if the classes are balanced and
    :math:`\alpha + \beta = 1`.

    Trap: for :math:`\gamma > 1` the slope grows without limit towards a perfect overlap. A class whose distance is
    below the epsilon of its dtype (1.2e-7 in float32) counts as being there and has no gradient, so that every
    derivative is finite; the least value is :math:`\epsilon^{1/\gamma}` (6e-6) and not 0.

    Args:
        gamma: :math:`\gamma > 0`; 1 is `Tversky`.
        alpha: cost of a false positive, at least 0.
        beta: cost of a false negative, above 0.
        ignore_index: the label of pixels that do not count.
        include_background: False leaves class 0 out of the mean.
        per_image: as in `Dice`.
        smoothing: as in `Tversky`.
        score_absent: as in `Dice`.
        class_weight: one number per class, at least 0: its weight in the mean.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; the values are [C] or, per image, [N, C].

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, shapes that do not fit, a label out of range.

    >>> import torch
    >>> FocalTversky(gamma=2.0)(torch.zeros(1, 4, 2, 2), torch.tensor([[[0, 1], [2, 3]]]))  # sqrt(3/4)
    tensor(0.8660)
    """

    def __init__(
        self,
        *,
        gamma: float = 4 / 3,
        alpha: float = 0.3,
        beta: float = 0.7,
        ignore_index: int | None = None,
        include_background: bool = True,
        per_image: bool = False,
        smoothing: float = 0.0,
        score_absent: bool = False,
        class_weight: Sequence[float] | Tensor | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(
            alpha=alpha,
            beta=beta,
            ignore_index=ignore_index,
            include_background=include_background,
            per_image=per_image,
            smoothing=smoothing,
            score_absent=score_absent,
            class_weight=class_weight,
            reduction=reduction,
        )
        self.gamma = check_number("gamma", gamma, above=0)

    def distances(self, intersection: Tensor, predicted: Tensor, true: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """One value per class."""
        values, counts = super().distances(intersection, predicted, true, counts)
        return focal_power(values, self.gamma), counts
