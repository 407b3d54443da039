"""Penalties on the gradients of a discriminator in its samples."""

from typing import Any

import torch
from torch import Tensor

from lightning_losses.bounds import Bounds
from lightning_losses.checks import check_number
from lightning_losses.functional.gradient_penalty import norm_deviation, sample_gradients, squared_norm
from lightning_losses.losses.base import UnaryLoss
from lightning_losses.reduction import Parts


class SampleGradientLoss(UnaryLoss):
    """A loss of the gradients of logits in the samples: call it with (logits, samples); weight and mask are [N].

    The samples must require a gradient before the discriminator sees them, and gradients must be enabled, in validation
    too. The gradient has a graph, so the loss can be differentiated like any other.

    A discriminator that mixes the samples of a batch (BatchNorm) has no gradient of one sample. Call the discriminator
    eagerly for the penalty, also where it is compiled otherwise: torch has no second derivative of compiled code. Under
    transforms of torch.func take their own gradient, and the function of `lightning_losses.functional` of it.

    Under DDP add the penalty to a loss that reaches every parameter: it does not reach the last bias, and DDP waits for
    all. Under FSDP2 keep the weights for the second backward: ``set_reshard_after_backward(False)`` of the
    discriminator, and after the backward ``reshard()`` of every module in it that was sharded.

    In float16, gradients of gradients overflow; a GradScaler answers by lowering its scale for ever, and all other
    gradients vanish. So call the discriminator for the penalty under ``torch.autocast(device, enabled=False)``. From
    there on all is float32. What overflows nevertheless is not hidden: a LossModule stops with the name of the term.
    """

    def element_axis(self, target: Tensor) -> int:
        """The numbers of one gradient lie along axis 1."""
        return 1

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(
        self, logits: Tensor, samples: Tensor, weight: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The reduced loss of the gradients, in float32 or wider."""
        return super().forward(sample_gradients(logits, samples), None, weight, mask)

    def statistics(self, *inputs: Any, **named: Any) -> Tensor:
        """Nothing of the data needs to be known."""
        return torch.empty(0)


class GradientPenalty(SampleGradientLoss):
    r"""Keeps a critic's gradients at a norm, :math:`(\lVert \nabla_x D(x) \rVert - t)^2`.

    Gulrajani et al., "Improved training of Wasserstein GANs", 2017, with weight 10 and samples between real and fake
    ones, which `lightning_losses.functional.interpolate` draws. For the critic of `WassersteinDiscriminator`. As a term
    it takes `interpolated` (their logits) and `interpolated_samples` of the call.

    Range :math:`[0, \infty)`; reference :math:`t^2`, what a constant critic scores.

    Traps: a critic that mixes the samples of a batch (BatchNorm) has no gradient of one sample. At a gradient of
    exactly 0 there is no direction to push it in: the derivatives are 0 there, not NaN.

    Args:
        target: the norm :math:`t`, above 0. For 0 take `R1` and `R2`.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N]).

    Raises:
        ValueError: `target` is not above 0; `samples` require no gradient, or the logits do not depend on them.

    >>> import torch
    >>> from lightning_losses.functional import interpolate
    >>> critic = torch.nn.Linear(2, 1)
    >>> samples = interpolate(torch.randn(4, 2), torch.randn(4, 2))
    >>> penalty = GradientPenalty()(critic(samples), samples)
    >>> torch.allclose(penalty, (critic.weight.norm() - 1) ** 2)
    True
    """

    inputs = ("interpolated", "interpolated_samples")

    def __init__(self, *, target: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.target = check_number("target", target, above=0)

    def of(self, input: Tensor) -> Parts:
        """One value per sample."""
        return Parts(norm_deviation(input, self.target))

    def bounds(self, statistics: Tensor | None = None) -> Bounds:
        """From 0; the reference is the squared target."""
        return super().bounds() if self.reduction == "sum" else Bounds(reference=self.target**2)


class R1(SampleGradientLoss):
    r"""Flattens a discriminator at real samples, :math:`\frac12 \lVert \nabla_x D(x) \rVert^2`.

    Mescheder et al., "Which training methods for GANs do actually converge?", 2018: its :math:`\gamma` is the weight of
    the term. For games that circle or diverge, with any discriminator's loss. As a term it takes `real` (logits) and
    `real_samples` of the call.

    Range :math:`[0, \infty)`, and no reference: any constant discriminator is perfect.

    Traps: `logits` are logits, not their softplus. The sum runs over all numbers of a sample, so :math:`\gamma` depends
    on the resolution. A step costs twice as much or more.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N]).

    Raises:
        ValueError: `samples` require no gradient, or the logits do not depend on them.

    It doubles the cost of a step or more. Lazily, at every k-th step only and k times as strong, it costs little:

    >>> import torch
    >>> from lightning_losses import LossModule, Term, losses
    >>> criterion = LossModule({
    ...     "adversarial": losses.RelativisticDiscriminator(),
    ...     "r1": Term(R1(), weight=8 * 0.5, optional=True, balanced=False),
    ... })
    >>> discriminator = torch.nn.Linear(2, 1)
    >>> for step in range(16):
    ...     real_samples, fake_samples = torch.randn(4, 2), torch.randn(4, 2)
    ...     lazy = {"real_samples": real_samples.requires_grad_()} if step % 8 == 0 else {}
    ...     loss = criterion(real=discriminator(real_samples), fake=discriminator(fake_samples), **lazy)
    """

    inputs = ("real", "real_samples")

    def of(self, input: Tensor) -> Parts:
        """One value per sample."""
        return Parts(squared_norm(input))


class R2(R1):
    r"""Flattens a discriminator at fake samples, :math:`\frac12 \lVert \nabla_x D(x) \rVert^2`.

    For use beside `R1`. As a term it takes `fake` (logits) and `fake_samples` of the call. Range :math:`[0, \infty)`,
    and no reference.

    Trap: detach the samples from the generator first: ``fake_samples = generator(z).detach().requires_grad_()``.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N]).

    >>> import torch
    >>> samples = torch.randn(4, 2, requires_grad=True)
    >>> R2()((samples * torch.tensor([3.0, 4.0])).sum(1), samples)  # (9 + 16) / 2
    tensor(12.5000)
    """

    inputs = ("fake", "fake_samples")
