"""The tasks of a stream, one after another in training and side by side in validation and test."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from lightning_losses.checks import check_choice, check_number, message
from lightning_losses.recipes import idx
from lightning_losses.recipes.sampling import ResumableData, ResumableLoader

from .images import Labelled, digits, idx_images
from .sets import Batch, StreamSet, TaskSet, as_it_is
from .streams import make_stream

SCENARIOS = ("task", "domain", "class")


class TaskStream(ResumableData, ABC):
    """Permuted, split or rotated images, a task after another; a subclass reads the images.

    Args:
        stream: how the tasks differ: ``"permuted"``, ``"split"`` or ``"rotated"``.
        scenario: what the network is told (van de Ven and Tolias 2019, arXiv:1904.07734). ``"task"``: which task an
            image is of, and each has a head of its own. ``"domain"``: nothing, and one head serves all. ``"class"``:
            nothing, and the classes of each task are classes of their own.
        tasks: how many.
        classes: of the images.
        epochs_per_task: how many epochs each is learnt for.
        iterations: batches of an epoch on each device, which may be more or fewer than a pass over the task's images.
        batch_size: of training, on each device.
        eval_batch_size: of validation, test and the Fisher information.
        stream_seed: of the permutations.
        seed: of the order of training images.
    """

    def __init__(
        self,
        stream: str = "split",
        scenario: str = "task",
        tasks: int = 5,
        classes: int = 10,
        epochs_per_task: int = 1,
        iterations: int = 100,
        batch_size: int = 128,
        eval_batch_size: int = 500,
        stream_seed: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.stream = make_stream(stream, tasks, classes, stream_seed)
        self.scenario = check_choice("data.scenario", scenario, SCENARIOS)
        self.tasks = tasks
        self.epochs_per_task = int(check_number("data.epochs_per_task", epochs_per_task, at_least=1))
        self.iterations = int(check_number("data.iterations", iterations, at_least=1))
        self.batch_size = int(check_number("data.batch_size", batch_size, at_least=1))
        self.eval_batch_size = int(check_number("data.eval_batch_size", eval_batch_size, at_least=1))
        self.seed = int(check_number("data.seed", seed, at_least=0))
        self._sets: dict[str, list[TaskSet]] = {}

    @abstractmethod
    def read(self, split: str) -> Labelled:
        """The images of ``"train"``, ``"val"`` or ``"test"`` that the tasks are made of."""

    def setup(self, stage: str) -> None:
        """Make the tasks that the stage needs, once.

        Raises:
            ValueError: a label is out of range.
        """
        for split in {"fit": ("train", "val"), "validate": ("val",)}.get(stage, ("test",)):
            if split not in self._sets:
                self._sets[split] = self._tasks_of(self.read(split))

    def shape(self) -> dict[str, Any]:
        """What a network must be made for, by the names of `ContinualClassifier`."""
        images = next(iter(self._sets.values()))[0].images
        return {
            "pixels": images.shape[1:].numel(),
            "classes": self.stream.classes_per_task,
            "tasks": self.tasks,
            "scenario": self.scenario,
        }

    def train_dataloader(self) -> ResumableLoader:
        """In each epoch the images of its task, shuffled by (seed, epoch); its position is part of every checkpoint."""
        ranks, _ = self._ranks()
        length = self.iterations * self.batch_size * ranks
        batches = StreamSet(self._sets["train"], self.epochs_per_task, length)
        loader = self.resumable_loader(batches, batch_size=self.batch_size, seed=self.seed)
        loader.collate_fn = as_it_is
        return loader

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """A loader for each task."""
        return self._eval_loaders("val")

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """A loader for each task."""
        return self._eval_loaders("test")

    def task_samples(self, task: int, samples: int | None) -> Iterator[Batch]:
        """Batches of this rank's share of so many of a task's training images."""
        ranks, rank = self._ranks()
        chosen = self._sets["train"][task]
        generator = torch.Generator().manual_seed(self.seed)
        share = torch.randperm(len(chosen), generator=generator)[:samples][rank::ranks]
        for part in torch.split(share, self.eval_batch_size):
            yield chosen.batch(part)

    def _tasks_of(self, whole: Labelled) -> list[TaskSet]:
        if int(whole.labels.max()) >= self.stream.classes:
            rule = f"above {int(whole.labels.max())}, the greatest label"
            raise ValueError(message("data.classes", rule, self.stream.classes))
        ahead = self.stream.classes_per_task if self.scenario == "class" else 0
        sets = [TaskSet(self.stream, task, whole, ahead * task) for task in range(self.tasks)]
        for number, one in enumerate(sets, start=1):
            if not len(one):
                raise ValueError(f"Task {number} of {self.tasks} has no image: take fewer tasks, or more images.")
        return sets

    def _eval_loaders(self, split: str) -> list[DataLoader[Any]]:
        return [DataLoader(part, batch_size=self.eval_batch_size, collate_fn=as_it_is) for part in self._sets[split]]

    def _ranks(self) -> tuple[int, int]:
        return (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)


class DigitTasks(TaskStream):
    """Tasks of the 1797 handwritten digits of 8x8 pixels that come with scikit-learn. Nothing is downloaded."""

    def read(self, split: str) -> Labelled:
        """The digits of a split."""
        return digits(split)


class MnistTasks(TaskStream):
    """Tasks of MNIST, Fashion-MNIST, or others of their format.

    Args:
        root: the folder of train-images-idx3-ubyte, train-labels-idx1-ubyte and the two of t10k, as they are or as .gz.
        download: whether to fetch MNIST into `root` by torchvision if it is not there.
        val_samples: how many of the last training images are for validation instead.
        options: those of `TaskStream`.
    """

    def __init__(self, root: str, download: bool = False, val_samples: int = 5000, **options: Any) -> None:
        super().__init__(**options)
        self.root = Path(root)
        self.download = download
        self.val_samples = int(check_number("data.val_samples", val_samples, at_least=1))

    def prepare_data(self) -> None:
        """Download, if asked to."""
        if self.download:
            idx.download(self.root)

    def read(self, split: str) -> Labelled:
        """The images of a split."""
        return idx_images(self.root, split, self.val_samples)
