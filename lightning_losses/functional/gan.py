"""Generative adversarial networks: what the logits of real and of fake samples cost either player."""

import torch.nn.functional as F
from torch import Tensor


def logistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    r""":math:`-\log \sigma(r) - \log(1 - \sigma(f))`, the cross-entropy of telling real from fake.

    Args:
        real: logits :math:`r` of real samples, any shape.
        fake: logits :math:`f` of fake samples, the same shape.

    Returns:
        Values in :math:`[0, \infty)`, one per pair.

    >>> import torch
    >>> logistic_discriminator(torch.zeros(1), torch.zeros(1))  # log 4
    tensor([1.3863])
    """
    return F.softplus(-real) + F.softplus(fake)


def least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    r""":math:`\frac12 (r - 1)^2 + \frac12 f^2`.

    Args:
        real: scores :math:`r` of real samples, any shape.
        fake: scores :math:`f` of fake samples, the same shape.

    Returns:
        Values in :math:`[0, \infty)`, one per pair.

    >>> import torch
    >>> least_squares_discriminator(torch.tensor([0.5]), torch.tensor([0.5]))
    tensor([0.2500])
    """
    return ((real - 1).square() + fake.square()) / 2


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    r""":math:`\max(0, 1 - r) + \max(0, 1 + f)`.

    Args:
        real: scores :math:`r` of real samples, any shape.
        fake: scores :math:`f` of fake samples, the same shape.

    Returns:
        Values in :math:`[0, \infty)`, one per pair.

    >>> import torch
    >>> hinge_discriminator(torch.tensor([0.0, 1.0]), torch.tensor([0.0, -1.0]))
    tensor([2., 0.])
    """
    return F.relu(1 - real) + F.relu(1 + fake)


def wasserstein_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    r""":math:`f - r`, the gap that a critic opens, with its sign turned.

    Args:
        real: scores :math:`r` of real samples, any shape.
        fake: scores :math:`f` of fake samples, the same shape.

    Returns:
        Values in :math:`(-\infty, \infty)`, one per pair.

    >>> import torch
    >>> wasserstein_discriminator(torch.tensor([2.0]), torch.tensor([-1.0]))
    tensor([-3.])
    """
    return fake - real


def relativistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    r""":math:`-\log \sigma(r - f)`: the real sample of a pair is to score higher than the fake one.

    The generator's loss is the same with the arguments exchanged.

    Args:
        real: logits :math:`r` of real samples, any shape.
        fake: logits :math:`f` of fake samples, the same shape.

    Returns:
        Values in :math:`[0, \infty)`, one per pair.

    >>> import torch
    >>> relativistic_discriminator(torch.ones(1), torch.ones(1))  # log 2
    tensor([0.6931])
    """
    return F.softplus(fake - real)


def minimax_generator(fake: Tensor) -> Tensor:
    r""":math:`\log(1 - \sigma(f))`: flat where the discriminator is sure.

    Args:
        fake: logits :math:`f` of fake samples, any shape.

    Returns:
        Values in :math:`(-\infty, 0]`, of the shape of `fake`.

    >>> import torch
    >>> minimax_generator(torch.zeros(1))  # -log 2
    tensor([-0.6931])
    """
    return -F.softplus(fake)


def non_saturating_generator(fake: Tensor) -> Tensor:
    r""":math:`-\log \sigma(f)`: steep where the discriminator is sure.

    Args:
        fake: logits :math:`f` of fake samples, any shape.

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `fake`.

    >>> import torch
    >>> non_saturating_generator(torch.zeros(1))  # log 2
    tensor([0.6931])
    """
    return F.softplus(-fake)


def least_squares_generator(fake: Tensor) -> Tensor:
    r""":math:`\frac12 (f - 1)^2`.

    Args:
        fake: scores :math:`f` of fake samples, any shape.

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `fake`.

    >>> import torch
    >>> least_squares_generator(torch.tensor([0.5]))
    tensor([0.1250])
    """
    return (fake - 1).square() / 2


def wasserstein_generator(fake: Tensor) -> Tensor:
    r""":math:`-f`, also the generator's side of the hinge loss.

    Args:
        fake: scores :math:`f` of fake samples, any shape.

    Returns:
        Values in :math:`(-\infty, \infty)`, of the shape of `fake`.

    >>> import torch
    >>> wasserstein_generator(torch.tensor([2.0]))
    tensor([-2.])
    """
    return -fake
