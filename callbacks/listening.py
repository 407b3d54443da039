"""Hearing what the LossModules of a model are made of, while a batch is trained on."""

from collections.abc import Callable, Mapping
from functools import partial

from lightning.pytorch import LightningModule
from torch import Tensor

from lightning_losses.balancers.place import Shared
from lightning_losses.module import Listener, LossModule

Hear = Callable[[str, Mapping[str, Tensor], Shared | None], None]
"""Takes the path of a LossModule and, of a call, the values of its terms, with their graphs, and the shared place."""


class Listening:
    """Listens to the training calls of some LossModules from `start` to `stop`, and leaves nothing in them.

    Args:
        criteria: the LossModules by path.
        hear: called in every training call, before the terms are weighed; not in compiled LossModules.
    """

    def __init__(self, criteria: Mapping[str, LossModule], hear: Hear) -> None:
        self._criteria = criteria
        self._listeners: dict[str, Listener] = {path: partial(hear, path) for path in criteria}

    def start(self) -> None:
        """Listen from now on."""
        self.stop()
        for path, criterion in self._criteria.items():
            criterion.listeners.append(self._listeners[path])

    def stop(self) -> None:
        """Listen no more."""
        for path, criterion in self._criteria.items():
            criterion.listeners = [other for other in criterion.listeners if other is not self._listeners[path]]


def criteria_of(model: LightningModule) -> dict[str, LossModule]:
    """The LossModules of a model by path; the only one of a model has the path ``""``."""
    found = {path: module for path, module in model.named_modules() if isinstance(module, LossModule)}
    return found if len(found) > 1 else dict(zip([""], found.values(), strict=False))


def full_name(path: str, name: str) -> str:
    """What a term, or a pair of them, is called in logs: by the path of its LossModule too, if there are several."""
    return f"{path}/{name}" if path else name
