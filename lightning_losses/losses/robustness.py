"""Losses of adversarial training: of the logits of clean inputs and of attacked ones."""

from abc import abstractmethod

import torch
from torch import Tensor

from lightning_losses.checks import check_number, check_same_shape, message
from lightning_losses.functional.robustness import mart, trades
from lightning_losses.losses.base import Loss
from lightning_losses.losses.inputs import class_labels
from lightning_losses.reduction import Parts


class RobustLoss(Loss):
    """A loss of the logits of clean and adversarial inputs: call it with (clean, adversarial, target, weight, mask).

    Both logits are [N, C, *] against labels [N, *]; inside they lie stacked, [N, 2, C, *]. As a term it takes `clean`,
    `adversarial` and `target` of the call. Adversarial inputs come from `lightning_losses.attacks`.
    """

    inputs = ("clean", "adversarial", "target")

    def __init__(self, *, beta: float, ignore_index: int | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.beta = check_number("beta", beta, at_least=0)
        self.ignore_index = ignore_index

    @abstractmethod
    def values(self, clean: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
        """One value per label."""

    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """Values [N, *]."""
        clean, adversarial = input.unbind(1)
        labels, kept = class_labels(clean, target, self.ignore_index)
        return Parts(self.values(clean, adversarial, labels)).weighted(None, kept).weighted(weight, mask)

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Every class equally likely, attacked or not."""
        return torch.zeros_like(input)

    def forward(  # type: ignore[override]
        self,
        clean: Tensor,
        adversarial: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The reduced loss, in float32 or wider."""
        return super().forward(_stacked(clean, adversarial), target, weight, mask)

    def statistics(  # type: ignore[override]
        self,
        clean: Tensor,
        adversarial: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """As `Loss.statistics`."""
        return super().statistics(_stacked(clean, adversarial), target, weight, mask)


class TRADES(RobustLoss):
    r"""Right on clean inputs and steady under attack, :math:`-\log p_y + \beta\, \mathrm{KL}(p \Vert q)`.

    For networks that have to withstand small changes of their input. :math:`p` is what the clean input is taken for and
    :math:`q` the attacked one, both of logits [N, C, *] against labels [N, *]. Zhang et al., "Theoretically principled
    trade-off between robustness and accuracy", 2019; there :math:`\beta` is :math:`1/\lambda`. A larger one buys
    robustness with accuracy. Range :math:`[0, \infty)`; reference :math:`\log C`, what equal logits score.

    Trap: gradients go through both logits; with the clean ones detached it is another loss. They are finite also where
    a probability is 0, which made the published code NaN.

    Args:
        beta: :math:`\beta`, at least 0.
        ignore_index: the label of elements that do not count.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N, *]).

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, shapes that do not fit, a label out of range.

    >>> import torch
    >>> from lightning_losses.attacks import pgd
    >>> model, x, y = torch.nn.Linear(4, 3), torch.rand(8, 4), torch.arange(8) % 3
    >>> clean = model(x)
    >>> attacked = pgd(model, x, clean.detach().softmax(1), torch.nn.CrossEntropyLoss(), 0.1, steps=3, step_size=0.05)
    >>> bool(TRADES(beta=6.0)(clean, model(attacked), y) > TRADES(beta=0.0)(clean, model(attacked), y))
    True
    """

    def __init__(self, *, beta: float = 6.0, ignore_index: int | None = None, reduction: str = "mean") -> None:
        super().__init__(beta=beta, ignore_index=ignore_index, reduction=reduction)

    def values(self, clean: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropies plus divergences [N, *]."""
        return trades(clean, adversarial, labels, self.beta)


class MART(RobustLoss):
    r"""Adversarial training that minds most what is misread even without an attack.

    .. math:: -\log q_y - \log(1 - \max_{c \ne y} q_c) + \beta (1 - p_y)\, \mathrm{KL}(p \Vert q)

    For the purpose of `TRADES`, with more weight on what the network reads wrongly. :math:`p` is what the clean input
    is taken for and :math:`q` the attacked one, both of logits [N, C, *] against labels [N, *]. Wang et al., "Improving
    adversarial robustness requires revisiting misclassified examples", 2020; there :math:`\beta` is :math:`\lambda`.
    Range :math:`[0, \infty)`; reference :math:`\log \frac{C^2}{C - 1}`, what equal logits score.

    Trap: where two wrong classes are the strongest, the gradient is that of one of them.

    Args:
        beta: :math:`\beta`, at least 0.
        ignore_index: the label of elements that do not count.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N, *]).

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, shapes that do not fit, fewer than 2 classes, a label out of
            range.

    >>> import torch
    >>> MART()(torch.zeros(1, 10), torch.zeros(1, 10), torch.tensor([3]))  # log 10 - log 0.9
    tensor(2.4079)
    """

    def __init__(self, *, beta: float = 5.0, ignore_index: int | None = None, reduction: str = "mean") -> None:
        super().__init__(beta=beta, ignore_index=ignore_index, reduction=reduction)

    def values(self, clean: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
        """Boosted cross-entropies plus weighted divergences [N, *]."""
        if clean.shape[1] < 2:
            raise ValueError(message("clean", "logits of at least 2 classes", tuple(clean.shape)))
        return mart(clean, adversarial, labels, self.beta)


def _stacked(clean: Tensor, adversarial: Tensor) -> Tensor:
    check_same_shape("adversarial", adversarial, "clean", clean)
    return torch.stack([clean, adversarial], 1)
