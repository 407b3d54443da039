"""Fisher information of a network, and what else tells how much a parameter matters: functions without state."""

from lightning_losses.fisher.diagonal import diagonal_fisher, output_sensitivity
from lightning_losses.fisher.layer_sums import layer_sums
from lightning_losses.fisher.likelihoods import Categorical, Gaussian, Likelihood

__all__ = ["Categorical", "Gaussian", "Likelihood", "diagonal_fisher", "layer_sums", "output_sensitivity"]
