"""Synaptic intelligence: how much each parameter has lowered the loss on its way."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from lightning_losses.anchors import Parameters
from lightning_losses.callbacks.compatibility import loss_modules
from lightning_losses.callbacks.continual.consolidation import Penalized, penalty, strength
from lightning_losses.checks import check_number, message
from lightning_losses.distributed import rank
from lightning_losses.functional.consolidation import path_importance, path_integral
from lightning_losses.losses import EWC
from lightning_losses.sharding import is_sharded, laid_as, reshard, whole

Tensors = dict[str, Tensor]


class PathIntegral(Penalized):
    r"""Gives the EWC term, at the end of a task, the importances of the path that its training took.

    With :math:`g` the gradient of the task's loss, without the penalty's, unscaled and not clipped,

    .. math:: \omega \leftarrow \omega - g\, \Delta\theta \text{ in each step}, \qquad
        \Omega = \frac{\max(\omega, 0)}{\Delta_\text{task}^2 + \xi}

    Zenke, Poole and Ganguli, "Continual learning through synaptic intelligence", 2017. Their strength c is the term's
    weight 2c, with ``EWC(mode="online")``. It costs no pass over data, and the memory of four copies of the
    parameters; under FSDP2, of what a rank holds of them. There the first rank gathers two of the copies for each
    checkpoint, in the memory of its CPU.

    Args:
        damping: :math:`\xi > 0`.
        module: the path of the module that the term is called with; "" for the LightningModule itself.

    Raises:
        ValueError: `damping` is not above 0; in `on_fit_start`, a model without an EWC term, or several optimizers.

    >>> PathIntegral(damping=0.1).damping
    0.1
    """

    def __init__(self, *, damping: float = 0.1, module: str = "") -> None:
        super().__init__(module)
        self.damping = check_number("damping", damping, above=0)
        self._start: Tensors = {}  # where the task began
        self._credit: Tensors = {}
        self._before: Tensors = {}  # a step
        self._gradient: Tensors = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a model that has no EWC term or several optimizers."""
        super().on_fit_start(trainer, pl_module)
        if len(trainer.optimizers) != 1:
            raise ValueError(message("optimizers", "one with PathIntegral", len(trainer.optimizers)))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, unless a run goes on; its checkpoint has all whole."""
        if not self._start:
            self._begin(pl_module)
        parameters = self._parameters(pl_module)
        self._start, self._credit = (
            {name: laid_as(tensor, parameters[name]) for name, tensor in tensors.items()}
            for tensors in (self._start, self._credit)
        )

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Take the gradient of the task's loss, and the place that it belongs to."""
        criterion, name, ewc = penalty(pl_module)
        parameters = self._parameters(pl_module)
        self._before = copies(parameters)
        self._gradient = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}
        if ewc.anchors:
            for key, pull in penalty_gradient(ewc, parameters).items():
                if key in self._gradient:
                    self._gradient[key] -= strength(criterion, name) * pull

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Credit what the step has changed."""
        parameters = self._parameters(pl_module)
        for name, gradient in self._gradient.items():
            step = parameters[name].detach() - self._before[name]
            after = path_integral(self._credit[name], gradient, step)
            self._credit[name] = torch.where(step == 0, self._credit[name], after)  # a step skipped: g is infinite
        self._gradient, self._before = {}, {}

    def finish(self, trainer: Trainer, pl_module: LightningModule, task: int) -> None:
        """Anchor the parameters, and begin the next task's path."""
        now = self._parameters(pl_module)
        importance = {
            name: path_importance(credit, now[name].detach() - self._start[name], self.damping)
            for name, credit in self._credit.items()
        }
        penalty(pl_module)[2].consolidate(pl_module.get_submodule(self.module), importance)
        self._begin(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Where the task began, and what is credited so far."""
        return {"start": _on_first_rank(self._start), "credit": _on_first_rank(self._credit)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._start, self._credit = state_dict["start"], state_dict["credit"]

    def _begin(self, pl_module: LightningModule) -> None:
        parameters = self._parameters(pl_module)
        self._start = copies({name: p for name, p in parameters.items() if p.requires_grad})
        self._credit = {name: torch.zeros_like(start) for name, start in self._start.items()}

    def _parameters(self, pl_module: LightningModule) -> Parameters:
        """As the optimizer sees them, without the weights that a balancer has learnt for the terms."""
        network = pl_module.get_submodule(self.module)
        reshard(network)
        balancing = {id(p) for criterion in loss_modules(pl_module) for p in criterion.balancer.parameters()}
        return {name: p for name, p in network.named_parameters() if id(p) not in balancing}


def penalty_gradient(ewc: EWC, parameters: Parameters) -> Tensors:
    r"""The gradient of the penalty, :math:`\sum_t F_t (\theta - \theta^*_t)`, by name."""
    total: Tensors = {}
    for anchor in (anchor.beside(parameters) for anchor in ewc.anchors):
        for name, fisher in anchor.fisher.items():
            pull = fisher * (parameters[name].detach() - anchor.parameters[name])
            total[name] = total[name] + pull if name in total else pull
    return total


def copies(parameters: Parameters) -> Tensors:
    """Of what is trained."""
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


def _on_first_rank(tensors: Tensors) -> Tensors:
    """Whole, for a checkpoint's file, which the first rank writes; the others keep what they have whole anyway."""
    kept: Tensors = {}
    for name, tensor in tensors.items():
        everything = whole(tensor)
        if not is_sharded(tensor):
            kept[name] = everything
        elif rank() == 0:
            kept[name] = everything.cpu()
    return kept
