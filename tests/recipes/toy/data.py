"""Points on a line with noise."""

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """Rows of x and y = sum(x) + noise, all drawn from one seed."""

    def __init__(self, rows: int, features: int, noise: Sequence[float], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(rows, features, generator=generator)
        mean, deviation = noise
        self.y = self.x.sum(1) + mean + deviation * torch.randn(rows, generator=generator)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]


class Points(LightningDataModule):
    """Training, validation and test rows in a fixed order, so that a resumed run sees what an uninterrupted one does.

    Args:
        features: columns of x.
        rows: rows of each split.
        batch_size: rows of a batch.
        noise: mean and standard deviation of the noise on y.
        workers: processes that load.
        start: how those processes are started.
    """

    def __init__(
        self,
        features: int,
        rows: int = 64,
        batch_size: int = 16,
        noise: Sequence[float] = (0.0, 0.1),
        workers: int = 0,
        start: str | None = None,
    ) -> None:
        super().__init__()
        if rows < batch_size:
            raise ValueError(f"`rows` must be at least `batch_size`={batch_size}, found {rows}.")
        self.make = lambda seed: DataLoader(
            Rows(rows, features, noise, seed), batch_size, num_workers=workers, multiprocessing_context=start
        )

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        return self.make(0)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        return self.make(1)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        return self.make(2)
