r"""Angular margins: cross-entropies of cosines in which the true class must win by an angle."""

import math

import torch
from torch import Tensor


def add_angle(cosine: Tensor, margin: float) -> Tensor:
    r""":math:`\cos(\theta + m)` from :math:`\cos \theta`.

    As :math:`\cos \theta \cos m - \sin \theta \sin m`, whose derivative, like that of an arc cosine, would be infinite
    at 1; it is kept finite for angles below 0.001. Beyond :math:`\theta = \pi - m`, where the cosine of the sum would
    rise again, it falls on as :math:`\cos \theta - (1 - \cos m)`, without a jump.

    Args:
        cosine: :math:`\cos \theta` in [-1, 1], any shape.
        margin: :math:`m` in :math:`[0, \pi)`.

    Returns:
        Values in :math:`[\cos m - 2, \cos m]`, of the shape of `cosine`.

    >>> import torch
    >>> add_angle(torch.tensor([1.0, 0.0, -1.0]), math.pi / 3)
    tensor([ 0.5000, -0.8660, -1.5000])
    """
    square = 1 - cosine * cosine
    sine = square / square.clamp(min=1e-6).sqrt()
    turned = cosine * math.cos(margin) - sine * math.sin(margin)
    return torch.where(cosine > -math.cos(margin), turned, cosine - (1 - math.cos(margin)))


def arcface_logits(cosine: Tensor, target: Tensor, scale: float, margin: float) -> Tensor:
    r""":math:`s \cos(\theta_y + m)` for the true class and :math:`s \cos \theta_j` for the others.

    Args:
        cosine: :math:`\cos \theta` [N, C].
        target: labels :math:`y` in 0..C-1 [N] (int64).
        scale: :math:`s > 0`.
        margin: :math:`m` in :math:`[0, \pi)`.

    Returns:
        Logits [N, C].

    >>> import torch
    >>> arcface_logits(torch.tensor([[1.0, 0.5]]), torch.tensor([0]), scale=10.0, margin=math.pi / 3)
    tensor([[5., 5.]])
    """
    label = target.unsqueeze(1)
    return scale * cosine.scatter(1, label, add_angle(cosine.gather(1, label), margin))


def curricularface_logits(cosine: Tensor, target: Tensor, progress: Tensor, scale: float, margin: float) -> Tensor:
    r"""As `arcface_logits`, but :math:`s \cos \theta_j (t + \cos \theta_j)` for hard negatives.

    Hard is a negative with :math:`\cos \theta_j > \cos(\theta_y + m)`.

    Args:
        cosine: :math:`\cos \theta` [N, C].
        target: labels :math:`y` in 0..C-1 [N] (int64).
        progress: :math:`t` in [-1, 1], a running mean of :math:`\cos \theta_y` [].
        scale: :math:`s > 0`.
        margin: :math:`m` in :math:`[0, \pi)`.

    Returns:
        Logits [N, C].

    >>> import torch
    >>> cosine, target = torch.tensor([[1.0, 0.75, 0.25]]), torch.tensor([0])
    >>> curricularface_logits(cosine, target, torch.tensor(0.25), scale=10.0, margin=math.pi / 3)
    tensor([[5.0000, 7.5000, 2.5000]])
    """
    label = target.unsqueeze(1)
    true = add_angle(cosine.gather(1, label), margin)
    negatives = torch.where(cosine > true, cosine * (progress + cosine), cosine)
    return scale * negatives.scatter(1, label, true)
