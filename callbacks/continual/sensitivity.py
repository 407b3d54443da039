"""Memory aware synapses: how much the outputs change with each parameter."""

from lightning.pytorch import LightningModule, Trainer

from lightning_losses.callbacks.continual.consolidation import Penalized, penalty
from lightning_losses.callbacks.continual.tasks import sampled_batches
from lightning_losses.checks import check_number
from lightning_losses.fisher import output_sensitivity


class OutputSensitivity(Penalized):
    r"""Gives the EWC term, at the end of a task, the sensitivity of the outputs; no labels are needed.

    Aljundi et al., "Memory aware synapses", 2018; see `lightning_losses.fisher.output_sensitivity`. Their strength
    :math:`\lambda` is the term's weight :math:`2 \lambda`, with ``EWC(mode="online")``.

    Args:
        samples: of how many of the task's training samples, over all ranks; None for all.
        module: the path of the module that the term is called with; "" for the LightningModule itself.

    >>> OutputSensitivity(samples=1000).samples
    1000
    """

    def __init__(self, *, samples: int | None = None, module: str = "") -> None:
        super().__init__(module)
        self.samples = None if samples is None else int(check_number("samples", samples, at_least=1))

    def finish(self, trainer: Trainer, pl_module: LightningModule, task: int) -> None:
        """Estimate, and anchor the parameters."""
        network = pl_module.get_submodule(self.module)
        batches = sampled_batches(trainer, task, self.samples)
        penalty(pl_module)[2].consolidate(network, output_sensitivity(network, batches, predict=pl_module.forward))
