"""A small problem that knows nothing of recipes: two tasks on points, of which the second undoes the first."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_losses import LossModule, Term
from lightning_losses.losses import EWC, CrossEntropy

SAMPLES, BATCH = 64, 8


def points(task: int, samples: int = SAMPLES) -> TensorDataset:
    """The class is the sign of x_0 in the first task; in the second that of x_1, and x_0 points the other way."""
    generator = torch.Generator().manual_seed(task)
    noise = 0.1 * torch.randn(samples, 3, generator=generator)
    side = torch.randint(2, (samples,), generator=generator)
    sign = 2.0 * side - 1
    clean = torch.stack([sign, 0 * sign, 0 * sign + 1] if task == 0 else [-sign, sign, 0 * sign + 1], dim=1)
    return TensorDataset(clean + noise, side)


class Points(LightningDataModule):
    def __init__(self, tasks: int = 2, epochs_per_task: int = 1) -> None:
        super().__init__()
        self.tasks = tasks
        self.epochs_per_task = epochs_per_task

    def train_dataloader(self) -> DataLoader:
        return DataLoader(points(self.trainer.current_epoch // self.epochs_per_task), BATCH)

    def val_dataloader(self) -> list[DataLoader]:
        return [DataLoader(points(task), SAMPLES) for task in range(self.tasks)]

    test_dataloader = val_dataloader

    def task_samples(self, task: int, samples: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        yield tuple(tensor[:samples] for tensor in points(task).tensors)


class Net(LightningModule):
    """One linear layer, or a hidden one with BatchNorm."""

    def __init__(self, weight: float = 0.0, *, norm: bool = False, lr: float = 0.5, ewc: bool = True) -> None:
        super().__init__()
        hidden = [nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)]
        self.network = nn.Sequential(*hidden) if norm else nn.Linear(3, 2)
        terms: dict[str, Any] = {"task": Term(CrossEntropy(), inputs=["logits", "target"])}
        if ewc:
            terms["ewc"] = Term(EWC(), weight=weight, inputs=["model"], balanced=False)
        self.criterion = LossModule(terms)
        self.lr = lr

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        given = {"logits": self(batch[0]), "target": batch[1], "model": self}
        return self.criterion(**{name: value for name, value in given.items() if name in self.criterion.inputs})

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val/accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean(), batch_size=len(batch[1]))

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("test/accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean(), batch_size=len(batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def fit(
    folder: Any, model: LightningModule, data: LightningDataModule, *callbacks: Callback, **options: Any
) -> Trainer:
    seed_everything(0, verbose=False)
    resumed = options.pop("ckpt_path", None)
    if "max_epochs" not in options:
        options["max_epochs"] = data.tasks * data.epochs_per_task
    trainer = Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        reload_dataloaders_every_n_epochs=1,
        **{
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            **options,
        },
    )
    trainer.fit(model, data, ckpt_path=resumed)
    return trainer
