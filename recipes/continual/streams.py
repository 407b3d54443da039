"""How a stream of tasks comes out of one set of labelled images."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_losses.checks import check_choice, check_number, message

from .images import Labelled


class Stream:
    """T tasks, each of all images as they are; a subclass tells how they differ.

    Args:
        tasks: T.
        classes: of the images that they are made of.
        seed: of what is random in it.
    """

    def __init__(self, tasks: int, classes: int = 10, seed: int = 0) -> None:
        self.tasks = tasks
        self.classes = classes
        self.seed = seed

    @property
    def classes_per_task(self) -> int:
        """How many classes a task has."""
        return self.classes

    def part(self, task: int, whole: Labelled) -> Labelled:
        """The images that a task is made of, with labels that count from 0 in each task."""
        return whole

    def seen(self, task: int, images: Tensor) -> Tensor:
        """Images [N, H, W] as the task shows them; asked for a batch at a time, so that they are kept once for all."""
        return images


class Permuted(Stream):
    """All classes in each task, the pixels in an order of its own.

    >>> Permuted(tasks=2).seen(1, torch.arange(4.0).view(1, 2, 2)).flatten().tolist()
    [1.0, 3.0, 2.0, 0.0]
    """

    def seen(self, task: int, images: Tensor) -> Tensor:
        """Their pixels in another order."""
        generator = torch.Generator().manual_seed(1000 * self.seed + task)
        order = torch.randperm(images.shape[1:].numel(), generator=generator)
        return images.flatten(1)[:, order].view_as(images)


class Split(Stream):
    """Some of the classes in each task, in the order of their numbers.

    >>> whole = Labelled(torch.zeros(4, 1, 1), torch.tensor([0, 3, 2, 1]))
    >>> Split(tasks=2, classes=4).part(1, whole).labels.tolist()
    [1, 0]
    """

    def __init__(self, tasks: int, classes: int = 10, seed: int = 0) -> None:
        super().__init__(tasks, classes, seed)
        if classes % tasks:
            raise ValueError(message("data.tasks", f"a divisor of the {classes} classes that are split", tasks))

    @property
    def classes_per_task(self) -> int:
        """How many classes a task has."""
        return self.classes // self.tasks

    def part(self, task: int, whole: Labelled) -> Labelled:
        """The images of the classes that are its own."""
        own = self.classes_per_task
        part = whole.part(torch.div(whole.labels, own, rounding_mode="floor") == task)
        return Labelled(part.images, part.labels % own)


class Rotated(Stream):
    r"""All classes in each task, turned by an angle of its own: task t of T by :math:`180^\circ\, t / T`.

    >>> Rotated(tasks=2).seen(1, torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).round().tolist()
    [[[2.0, 4.0], [1.0, 3.0]]]
    """

    def seen(self, task: int, images: Tensor) -> Tensor:
        """Turned."""
        if not len(images):
            return images  # of which torch makes no grid
        angle = math.pi * task / self.tasks
        turn = torch.tensor([[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]])
        pixels = images.unsqueeze(1)
        grid = F.affine_grid(turn.expand(len(pixels), 2, 3), list(pixels.shape), align_corners=False)
        return F.grid_sample(pixels, grid, align_corners=False).squeeze(1)


STREAMS: dict[str, type[Stream]] = {"permuted": Permuted, "split": Split, "rotated": Rotated}


def make_stream(name: str, tasks: int, classes: int, seed: int) -> Stream:
    """A stream by name.

    Raises:
        ValueError: an unknown name, no task, no classes, or classes that cannot be shared out evenly.
    """
    check_number("data.tasks", tasks, at_least=1)
    check_number("data.classes", classes, at_least=2)
    return STREAMS[check_choice("data.stream", name, STREAMS)](tasks, classes, seed)
