"""Elastic weight consolidation: what the Fisher information says of each parameter."""

from lightning.pytorch import LightningModule, Trainer

from lightning_losses.callbacks.continual.consolidation import Penalized, penalty
from lightning_losses.callbacks.continual.tasks import sampled_batches
from lightning_losses.checks import check_choice, check_number
from lightning_losses.fisher import diagonal_fisher
from lightning_losses.fisher.diagonal import ESTIMATORS


class FisherInformation(Penalized):
    """Gives the EWC term, at the end of a task, the diagonal of the Fisher information.

    It is taken on the task's own training data, over all ranks, in float32 and in evaluation mode; see
    `lightning_losses.fisher.diagonal_fisher`. Whether tasks have an anchor each or share one is up to the term,
    ``EWC(mode="separate")`` or ``EWC(mode="online", gamma=...)``.

    Args:
        estimator: ``"exact"``, ``"sampled"``, ``"empirical"`` or ``"batched"``.
        samples: of how many of the task's training samples, over all ranks; None for all. The exact estimator on a few
            hundred is worth more than another on all.
        module: the path of the module that the term is called with; "" for the LightningModule itself.

    Raises:
        ValueError: an unknown estimator, a number of samples below 1; in `on_fit_start`, a model without an EWC term.

    >>> FisherInformation(samples=500).estimator
    'exact'
    """

    def __init__(self, *, estimator: str = "exact", samples: int | None = None, module: str = "") -> None:
        super().__init__(module)
        self.estimator = check_choice("estimator", estimator, ESTIMATORS)
        self.samples = None if samples is None else int(check_number("samples", samples, at_least=1))

    def finish(self, trainer: Trainer, pl_module: LightningModule, task: int) -> None:
        """Estimate, and anchor the parameters."""
        network = pl_module.get_submodule(self.module)
        batches = sampled_batches(trainer, task, self.samples)
        fisher = diagonal_fisher(network, batches, estimator=self.estimator, predict=pl_module.forward)
        penalty(pl_module)[2].consolidate(network, fisher)
