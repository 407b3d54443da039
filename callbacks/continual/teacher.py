"""Learning without forgetting: what the network said before the present task."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.func import functional_call

from lightning_losses.callbacks.continual.consolidation import Consolidation
from lightning_losses.modes import evaluating


class Teacher(nn.Module):
    """Answers as a network did when the last task ended, for a `Distillation` term of the present one.

    Li and Hoiem, "Learning without forgetting", 2016, arXiv:1606.09282. It holds copies of the network's parameters and
    buffers, which are no parameters: no optimizer, no DDP and no weight decay finds them. They are part of the state.
    Answers are those of evaluation mode, without a graph.

    >>> network, teacher = nn.Linear(1, 1, bias=False), Teacher()
    >>> teacher.remember(network, tasks=1)
    >>> before = network(torch.ones(1, 1))
    >>> _ = network.weight.data.add_(1.0)
    >>> torch.equal(teacher(network, torch.ones(1, 1)), before)
    True
    >>> list(teacher.parameters())
    []
    """

    def __init__(self) -> None:
        super().__init__()
        self.tasks = 0
        self._state: dict[str, Tensor] = {}

    def remember(self, network: nn.Module, tasks: int) -> None:
        """Keep what the network says now, after so many tasks."""
        named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        self._state = {name: tensor.detach().clone() for name, tensor in named.items()}
        self.tasks = tasks

    def forward(self, network: nn.Module, *inputs: Any) -> Any:
        """What the network that is remembered, of the same architecture as this one, says of the inputs.

        Raises:
            RuntimeError: no task has ended yet.
        """
        if not self.tasks:
            raise RuntimeError("The teacher must be asked when a task has ended: ask only where `teacher.tasks` > 0.")
        device = next(network.parameters()).device
        self._state = {name: tensor.to(device) for name, tensor in self._state.items()}
        with torch.no_grad(), evaluating(network):
            return functional_call(network, self._state, inputs)

    def get_extra_state(self) -> dict[str, Any]:
        """The network that is remembered, and after how many tasks."""
        return {"tasks": self.tasks, "network": self._state}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned; checkpoints in shards hold no mapping that was empty."""
        self.tasks, self._state = state["tasks"], dict(state.get("network", {}))


class TeacherSnapshot(Consolidation):
    """Lets the model's `Teacher` remember, at the end of a task, the network as it is.

    The model asks it in `training_step` and hands both answers to a term ``Term(Distillation(temperature=2.0),
    inputs={"input": "student", "target": "teacher"}, optional=True)``.

    Args:
        module: the path of the module that the teacher is called with; "" for the LightningModule itself.

    Raises:
        ValueError: in `on_fit_start`, a model without a `Teacher`.

    >>> TeacherSnapshot(module="network").module
    'network'
    """

    def __init__(self, *, module: str = "") -> None:
        super().__init__(module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a model without a teacher."""
        super().on_fit_start(trainer, pl_module)
        _teacher(pl_module)

    def finish(self, trainer: Trainer, pl_module: LightningModule, task: int) -> None:
        """Remember."""
        _teacher(pl_module).remember(pl_module.get_submodule(self.module), task + 1)


def _teacher(model: LightningModule) -> Teacher:
    found = [module for module in model.modules() if isinstance(module, Teacher)]
    if len(found) != 1:
        raise ValueError(f"The model must have one `Teacher`, found {len(found)}. Add self.teacher = Teacher().")
    return found[0]
