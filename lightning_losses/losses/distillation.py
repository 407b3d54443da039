"""Distillation of a teacher's logits."""

from torch import Tensor

from lightning_losses.checks import check_number
from lightning_losses.functional.distillation import distillation
from lightning_losses.losses.divergences import Divergence
from lightning_losses.losses.inputs import check_two_logits
from lightning_losses.reduction import Parts


class Distillation(Divergence):
    r"""Knowledge distillation, :math:`T^2\, \mathrm{KL}(q \,\|\, p)` of the softened teacher and student.

    :math:`p = \operatorname{softmax}(x / T)` of the student's logits [N, C, *], :math:`q` likewise of the teacher's,
    which are the target. For a small model that is to learn from a large one: a high temperature shows what the teacher
    thinks of the wrong classes; :math:`T^2` keeps the size of the gradients as T changes. Beside it goes `CrossEntropy`
    with the labels, as a second term. Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015.

    Range :math:`[0, \infty)`; reference: what equal logits score, :math:`T^2 (\log C - H(q))`.

    Differs from the usual lines around `torch.nn.functional.kl_div`: the mean is over elements (pixels, tokens) and not
    over their classes too, which makes the loss C times smaller.

    Trap: run the teacher under `torch.no_grad`: its gradient is not cut here.

    Args:
        temperature: :math:`T`, above 0.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N, *]).

    Raises:
        ValueError: a temperature that is not above 0, shapes that differ, a target that is not finite.

    >>> import torch
    >>> Distillation(temperature=2.0)(torch.zeros(1, 2), torch.tensor([[-200.0, 200.0]]))  # 4 log 2
    tensor(2.7726)
    """

    def __init__(self, *, temperature: float = 4.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.temperature = check_number("temperature", temperature, above=0)

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Divergences [N, *]."""
        check_two_logits(input, target)
        self.check_logits(input)
        return Parts(distillation(input, target, self.temperature))
