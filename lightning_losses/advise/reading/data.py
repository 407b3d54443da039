"""What was read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Data:
    """Targets out of a file.

    Args:
        targets: as `lightning_losses.advise` takes them.
        task: what the form of the file gives away; None for a table.
        names: of the classes, in the order of their indices, where the file names them.
    """

    targets: Any
    task: str | None = None
    names: Sequence[str] = ()
