"""What a network's outputs say about the truth: log-likelihoods and their derivatives in the outputs."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_losses.checks import check_number, check_same_shape
from lightning_losses.curvature.loss_hessian import SoftmaxFactor
from lightning_losses.losses.inputs import class_labels


class Likelihood(ABC):
    """A distribution p(y | z) of the truth of each sample, given its outputs z, [N, ...] in float32 or wider."""

    @abstractmethod
    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The derivative of log p(targets | z) by z."""

    @abstractmethod
    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Targets from the distribution."""

    @abstractmethod
    def columns(self, outputs: Tensor) -> Iterator[Tensor]:
        """Cotangents c at z, of all samples at once: their outer products sum to the score's, averaged over y."""


class Categorical(Likelihood):
    """Classes that exclude each other: outputs are logits [N, C, *], targets class indices [N, *].

    The exact Fisher information takes C backwards, or at places * (pixels) C for each of them.

    >>> logits = torch.zeros(1, 2)
    >>> list(Categorical().columns(logits))
    [tensor([[ 0.3536, -0.3536]]), tensor([[-0.3536,  0.3536]])]
    """

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """One-hot minus probabilities."""
        labels, _ = class_labels(outputs, targets, None)
        return (-outputs.softmax(1)).scatter_add(1, labels.unsqueeze(1), torch.ones_like(outputs[:, :1]))

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Class indices."""
        chances = self._chances(outputs).to(generator.device)
        labels = torch.multinomial(chances, 1, generator=generator)
        return labels.view(outputs[:, 0].shape).to(outputs.device)

    def columns(self, outputs: Tensor) -> Iterator[Tensor]:
        """For each class the score times the square root of its probability."""
        chances = self._chances(outputs)
        factor = SoftmaxFactor(1.0, 1, outputs.shape, chances, torch.ones_like(chances[:, 0]))
        return factor.columns(len(outputs), apart=False)

    def _chances(self, outputs: Tensor) -> Tensor:
        """[elements, C]."""
        return outputs.softmax(1).movedim(1, -1).flatten(0, -2)


class Gaussian(Likelihood):
    """Numbers with normal noise of one variance: outputs are their means [N, *], targets have the same shape.

    The exact Fisher information takes as many backwards as a sample has outputs.

    Args:
        variance: of the noise, above 0.

    Raises:
        ValueError: `variance` is not above 0.

    >>> list(Gaussian(variance=4.0).columns(torch.zeros(2, 1)))
    [tensor([[0.5000], [0.5000]])]
    """

    def __init__(self, variance: float = 1.0) -> None:
        self.variance = check_number("variance", variance, above=0)

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The residuals over the variance."""
        check_same_shape("targets", targets, "outputs", outputs)
        return (targets - outputs) / self.variance

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """The means with noise."""
        noise = torch.randn(outputs.shape, generator=generator, device=generator.device, dtype=outputs.dtype)
        return outputs + math.sqrt(self.variance) * noise.to(outputs.device)

    def columns(self, outputs: Tensor) -> Iterator[Tensor]:
        """For each output of a sample the inverse of the standard deviation."""
        for index in range(outputs[0].numel()):
            column = torch.zeros_like(outputs).flatten(1)
            column[:, index] = 1 / math.sqrt(self.variance)
            yield column.view_as(outputs)
