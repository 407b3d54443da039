"""What a generator starts from: noise, and codes that are to stay readable in the samples."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_losses.checks import check_number
from lightning_losses.distributed import rank, world_size


class Latent(NamedTuple):
    """What N samples are generated from.

    Args:
        z: all of it, the generator's input [N, D].
        code: the category of each, [N]; nothing of interest without a categorical code.
        values: the continuous codes, uniform in -1..1, [N, V].
    """

    z: Tensor
    code: Tensor
    values: Tensor


class Latents:
    """Draws latents: Gaussian noise and, for InfoGAN, a category and continuous codes.

    Args:
        noise: how many Gaussian numbers.
        categories: of the categorical code; 0 for no such code.
        continuous: how many continuous codes.

    >>> latents = Latents(noise=62, categories=10, continuous=2)
    >>> latents.size, latents.draw(3, "cpu").z.shape
    (74, torch.Size([3, 74]))
    """

    def __init__(self, noise: int, categories: int = 0, continuous: int = 0) -> None:
        self.noise = int(check_number("model.noise", noise, at_least=1))
        self.categories = int(check_number("model.categories", categories, at_least=0))
        self.continuous = int(check_number("model.continuous", continuous, at_least=0))

    @property
    def size(self) -> int:
        """How many numbers the generator is given."""
        return self.noise + self.categories + self.continuous

    def draw(self, count: int, device: torch.device | str, generator: torch.Generator | None = None) -> Latent:
        """Latents of `count` samples, from torch's own generator unless another is given."""
        on = device if generator is None else generator.device
        noise = torch.randn(count, self.noise, device=on, generator=generator)
        values = 2 * torch.rand(count, self.continuous, device=on, generator=generator) - 1
        if not self.categories:
            return Latent(torch.cat([noise, values], 1).to(device), torch.empty(count), values.to(device))
        code = torch.randint(self.categories, (count,), device=on, generator=generator)
        z = torch.cat([noise, F.one_hot(code, self.categories), values], 1)
        return Latent(z.to(device), code.to(device), values.to(device))

    def draw_share(self, count: int, device: torch.device | str) -> Latent:
        """This rank's part of what one process would draw for the samples of all ranks.

        Lightning seeds all ranks alike: drawn one by one, they would all train on the same noise.
        """
        mine = slice(rank() * count, (rank() + 1) * count)
        return Latent(*(part[mine] for part in self.draw(world_size() * count, device)))

    def fixed(self, count: int, seed: int) -> Latent:
        """Latents that depend on nothing but `seed` and `count`, on the CPU."""
        return self.draw(count, "cpu", torch.Generator().manual_seed(seed))
