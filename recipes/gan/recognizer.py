"""What reads InfoGAN's codes back out of the discriminator's features."""

from typing import Any

from torch import Tensor, nn

from .latents import Latent


class Recognizer(nn.Module):
    """A linear layer for each kind of code, trained with the generator.

    Chen et al., "InfoGAN", 2016, `arXiv:1606.03657 <https://arxiv.org/abs/1606.03657>`_. There it trains the
    discriminator's layers as well; here these learn to discriminate alone.

    Args:
        features: how many the discriminator has.
        categories: of the categorical code; 0 for none.
        continuous: how many continuous codes.
    """

    def __init__(self, features: int, categories: int, continuous: int) -> None:
        super().__init__()
        self.category = nn.Linear(features, categories) if categories else None
        self.values = nn.Linear(features, 2 * continuous) if continuous else None

    @property
    def offered(self) -> frozenset[str]:
        """The names of what `inputs` returns."""
        of_category = ["code_logits", "code"] if self.category is not None else []
        return frozenset(of_category + (["value_predictions", "values"] if self.values is not None else []))

    def inputs(self, features: Tensor, latent: Latent) -> dict[str, Any]:
        """What a generator's loss may take, as far as there are codes.

        ``code_logits`` [N, K] and ``code`` [N] for `MutualInformation`, ``value_predictions`` [N, 2, V] and ``values``
        [N, V] for `GaussianNLL`.
        """
        offered: dict[str, Any] = {}
        if self.category is not None:
            offered |= {"code_logits": self.category(features), "code": latent.code}
        if self.values is not None:
            offered |= {"value_predictions": self.values(features).unflatten(1, (2, -1)), "values": latent.values}
        return offered
