"""A classifier that learns one task after another."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from lightning_losses import LossModule, parameter_groups
from lightning_losses.callbacks import Teacher
from lightning_losses.checks import check_choice, check_number, message
from lightning_losses.recipes.data import own_samples
from lightning_losses.recipes.sharding import shard

from .data import SCENARIOS, TaskStream
from .sets import Batch


class ContinualClassifier(LightningModule):
    """An MLP with a head for each task, or with one for all.

    Args:
        criterion: the loss, as `LossModule.from_config` takes it. Its terms may take ``logits`` and ``target``; the
            ``model``, as `EWC` does; and once a task has ended ``student`` and ``teacher``, what the network and what
            it was at the end of the last task say of the classes so far, as `Distillation` does.
        pixels: of an image.
        classes: of a task.
        tasks: how many there are.
        scenario: ``"task"``, ``"domain"`` or ``"class"``, see `TaskStream`.
        hidden: widths of the hidden layers.
        lr: Adam's learning rate.
    """

    def __init__(
        self,
        criterion: dict,  # type: ignore[type-arg]  # what jsonargparse leaves as it is
        pixels: int,
        classes: int,
        tasks: int,
        scenario: str = "task",
        hidden: Sequence[int] = (400, 400),
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # so that `load_from_checkpoint` needs nothing but the file
        check_number("model.classes", classes, at_least=1 if scenario == "class" else 2)
        check_number("model.tasks", tasks, at_least=1)
        self.classes = classes
        self.scenario = check_choice("model.scenario", scenario, SCENARIOS)
        self.lr = check_number("model.lr", lr, above=0)
        heads = 1 if scenario == "domain" else tasks
        self.network = mlp([pixels, *hidden, heads * classes])
        self.val_accuracy, self.test_accuracy = (
            nn.ModuleList(
                MulticlassAccuracy(classes * (tasks if scenario == "class" else 1), average="micro")
                for _ in range(tasks)
            )
            for _ in range(2)
        )
        self.teacher = Teacher()
        self.criterion = LossModule.from_config(criterion)

    def setup(self, stage: str) -> None:
        """Refuse data that this network is not made for.

        Raises:
            ValueError: its tasks have other classes, another scenario, another number or images of another size.
        """
        data: object = self.trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, TaskStream):
            for name, theirs in data.shape().items():
                own = self.hparams[name]
                if own != theirs:
                    raise ValueError(message(f"model.{name}", f"{theirs}, as the tasks of the data have it", own))

    def configure_model(self) -> None:
        """Under FSDP2, shard the network over the ranks, layer by layer."""
        shard(self, self.network)

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Logits [N, C] of (images, tasks), C being the classes that the scenario leaves open."""
        images, tasks = inputs
        return self._open(self.network(images), tasks)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The composed loss; its parts are logged by name."""
        (images, tasks), target = batch
        outputs = self.network(images)
        call: dict[str, Any] = {"logits": self._open(outputs, tasks), "target": target, "model": self}
        if self.teacher.tasks:
            call |= {"student": self._known(outputs), "teacher": self._known(self.teacher(self.network, images))}
        loss: Tensor = self.criterion(**{name: value for name, value in call.items() if name in self.criterion.inputs})
        report = self.criterion.report
        self.log("train/loss", loss, prog_bar=True)
        for kind, values in ("raw", report.raw), ("weight", report.weights):
            self.log_dict({f"train/{kind}/{name}": value for name, value in values.items()})
        return loss

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """The share of a task's images that are classified rightly."""
        self._evaluate(batch, batch_idx, dataloader_idx, "val", self.val_accuracy)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """The share of a task's images that are classified rightly."""
        self._evaluate(batch, batch_idx, dataloader_idx, "test", self.test_accuracy)

    def _evaluate(self, batch: Batch, batch_idx: int, task: int, split: str, accuracies: nn.ModuleList) -> None:
        inputs, target = batch
        own = own_samples(self.trainer, batch_idx, len(target), task)
        accuracy: Any = accuracies[task]
        logits = self(inputs)
        if own:
            accuracy.update(logits[:own], target[:own])
        self.log(f"{split}/accuracy", accuracy)  # of the mean of a number, Lightning rounds the ranks' mean batch size

    def _open(self, outputs: Tensor, tasks: Tensor) -> Tensor:
        """The head of each image's task, or all outputs where the task is not told."""
        if self.scenario != "task":
            return outputs
        return outputs.view(len(outputs), -1, self.classes)[torch.arange(len(outputs), device=outputs.device), tasks]

    def _known(self, outputs: Tensor) -> Tensor:
        """The classes of the tasks that have ended, as [N, C] or for each of several heads [N, C, heads]."""
        if self.scenario == "domain":
            return outputs
        known = outputs[:, : self.teacher.tasks * self.classes]
        return known if self.scenario == "class" else known.reshape(len(known), -1, self.classes).transpose(1, 2)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam at a constant learning rate; every task begins with a fresh one."""
        return torch.optim.Adam(parameter_groups(self, lr=self.lr), fused=True)


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """A ReLU network on flattened images."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
