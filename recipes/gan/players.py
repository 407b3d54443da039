"""What the terms of the two players' losses take, computed as far as they ask for it."""

from collections.abc import Callable, Set
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lightning_losses.distributed import differentiable_sum_over_ranks, world_size
from lightning_losses.functional.gradient_penalty import interpolate
from lightning_losses.numerics import at_least_float32

Look = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A discriminator: logits [N] and features [N, F] of images."""


def frozen(discriminator: nn.Module) -> Look:
    """The discriminator of this moment as a function of images alone.

    No gradient reaches its parameters, and no call moves its buffers.
    """
    state = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    state |= {name: buffer.clone() for name, buffer in discriminator.named_buffers()}
    return partial(functional_call, discriminator, state)


def discriminator_inputs(discriminator: Look, real: Tensor, fake: Tensor, wanted: Set[str]) -> dict[str, Any]:
    """What a discriminator's loss may take.

    - ``real``, ``fake``: logits, [N];
    - ``real_samples``, ``fake_samples``: the images that they are of, for `R1` and `R2`;
    - ``interpolated``, ``interpolated_samples``: between real and fake ones, for `GradientPenalty`;
    - ``perturbed``, ``perturbed_samples``: real ones with noise, for DRAGAN's.

    Logits that a penalty differentiates come from a pass in full precision, whatever autocast says.

    Args:
        discriminator: the one that is trained.
        real: images, [N, C, S, S].
        fake: images of the generator, as many.
        wanted: what the loss takes of all that.
    """
    samples = {"real": real, "fake": fake.detach()}
    if "interpolated" in wanted:
        samples["interpolated"] = interpolate(real, fake.to(real))
    if "perturbed" in wanted:
        samples["perturbed"] = perturb(real)
    offered: dict[str, Any] = {}
    for name, images in samples.items():
        if f"{name}_samples" in wanted:
            images = offered[f"{name}_samples"] = at_least_float32(images.detach()).requires_grad_()
            with torch.autocast(images.device.type, enabled=False):
                offered[name] = discriminator(images)[0]
        else:
            offered[name] = discriminator(images)[0]
    return {name: value for name, value in offered.items() if name in wanted}


def generator_inputs(opponent: Look, real: Tensor, fake: Tensor, wanted: Set[str]) -> dict[str, Any]:
    """What a generator's loss may take.

    - ``fake``, ``real``: logits, [N], the latter for relativistic losses;
    - ``fake_features``, ``real_features``: the discriminator's features in the mean over all ranks' images, [F], for
      feature matching;
    - ``fake_samples``: the images.

    Args:
        opponent: the discriminator, see `frozen`.
        real: images, [N, C, S, S].
        fake: images of the generator, as many, with their graph.
        wanted: what the loss takes of all that.
    """
    logits, features = opponent(fake)
    offered = {"fake": logits, "fake_samples": fake, "features": features}
    if "fake_features" in wanted:
        offered["fake_features"] = _mean_over_ranks(features)
    if {"real", "real_features"} & wanted:
        with torch.no_grad():
            offered["real"], features = opponent(real)
            offered["real_features"] = _mean_over_ranks(features)
    return offered


def perturb(real: Tensor) -> Tensor:
    """Real images with uniform noise of half their own standard deviation, DRAGAN's neighbourhood.

    Kodali et al., "On convergence and stability of GANs", 2017, `arXiv:1705.07215 <https://arxiv.org/abs/1705.07215>`_,
    take the deviation of the batch; that of each image does not depend on what else is in the batch.
    """
    spread = real.flatten(1).std(1).reshape(-1, 1, 1, 1)
    return real + 0.5 * spread * torch.rand_like(real)


def _mean_over_ranks(features: Tensor) -> Tensor:
    return differentiable_sum_over_ranks(at_least_float32(features).mean(0)) / world_size()
