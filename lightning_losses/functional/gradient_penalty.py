r"""Gradient penalties: how steep a discriminator may be, per sample.

All start from :math:`g_n`, the gradient of the logits in sample n.
"""

import torch
from torch import Tensor

from lightning_losses.checks import check_same_shape, message


def interpolate(real: Tensor, fake: Tensor, generator: torch.Generator | None = None) -> Tensor:
    r"""Samples on the lines between real and fake ones, :math:`u_n r_n + (1 - u_n) f_n` with uniform :math:`u_n`.

    Args:
        real: real samples :math:`r` [N, *].
        fake: fake samples :math:`f`, the same shape.
        generator: what the :math:`u_n` are drawn from; None for torch's own.

    Returns:
        Samples [N, *], detached, which require a gradient.

    Raises:
        ValueError: `real` and `fake` differ in shape.

    >>> import torch
    >>> interpolate(torch.zeros(3, 2), torch.zeros(3, 2))
    tensor([[0., 0.],
            [0., 0.],
            [0., 0.]], requires_grad=True)
    """
    check_same_shape("fake", fake, "real", real)
    device = real.device if generator is None else generator.device
    share = torch.rand(len(real), generator=generator, device=device).to(real)
    share = share.reshape(-1, *[1] * (real.dim() - 1))
    return torch.lerp(fake.detach(), real.detach(), share).requires_grad_()


def sample_gradients(logits: Tensor, samples: Tensor) -> Tensor:
    r"""The gradients of the logits in the samples they were computed from, with a graph of their own.

    Args:
        logits: logits [N, *]; several of one sample are added.
        samples: samples [N, *] that require a gradient.

    Returns:
        :math:`g` [N, D], one flat gradient per sample.

    Raises:
        ValueError: `samples` require no gradient, the logits do not depend on them, or their numbers differ.

    >>> import torch
    >>> x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    >>> sample_gradients((x * x).sum(1), x)
    tensor([[2., 4.]], grad_fn=<ViewBackward0>)
    """
    if not samples.requires_grad:
        rule = "the tensor that the discriminator was called with, after samples.requires_grad_()"
        raise ValueError(message("samples", rule, "one that requires no gradient"))
    if len(logits) != len(samples):
        raise ValueError(message("logits", f"of {len(samples)} samples", tuple(logits.shape)))
    gradients = None
    if logits.requires_grad:
        (gradients,) = torch.autograd.grad(logits.sum(), samples, create_graph=True, allow_unused=True)
    if gradients is None:
        rule = "the tensor that `logits` were computed from, with gradients enabled"
        raise ValueError(message("samples", rule, "one that they do not depend on"))
    return gradients.reshape(len(samples), -1)


def squared_norm(gradients: Tensor) -> Tensor:
    r""":math:`\frac12 \lVert g_n \rVert^2`.

    Args:
        gradients: :math:`g` [N, D].

    Returns:
        Values in :math:`[0, \infty)` [N].

    >>> import torch
    >>> squared_norm(torch.tensor([[3.0, 4.0]]))
    tensor([12.5000])
    """
    return gradients.square().sum(1) / 2


def norm_deviation(gradients: Tensor, target: float = 1.0) -> Tensor:
    r""":math:`(\lVert g_n \rVert - t)^2`.

    Where the norm vanishes it has no derivative; all derivatives are taken as 0 there.

    Args:
        gradients: :math:`g` [N, D].
        target: the norm :math:`t` that costs nothing.

    Returns:
        Values in :math:`[0, \infty)` [N].

    >>> import torch
    >>> norm_deviation(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([16.,  1.])
    """
    squares = gradients.square().sum(1)
    vanishing = squares < torch.finfo(squares.dtype).tiny
    norms = torch.where(vanishing, 1.0, squares).sqrt().masked_fill(vanishing, 0.0)
    return (norms - target).square()
