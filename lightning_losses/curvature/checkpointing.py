"""Forward passes whose activations are kept, whatever the network recomputes to save memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch.utils.checkpoint
from torch.autograd.graph import saved_tensors_hooks


@contextmanager
def keeping_activations() -> Iterator[None]:
    """What is computed inside keeps its activations as they are: no checkpoint recomputes, no hook packs them.

    A checkpoint runs a part of the network again in the backward, when a forward with other parameters, in another mode
    or with hooks is over: it would recompute something else. So a look at a network with checkpoints needs the memory
    of one without.

    >>> layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    >>> calls = []
    >>> with keeping_activations():
    ...     out = torch.utils.checkpoint.checkpoint(lambda a: (calls.append(1), layer(a))[1], x, use_reentrant=False)
    >>> out.sum().backward()
    >>> len(calls)
    1
    """
    with (
        patch.object(saved_tensors_hooks, "__enter__", _nothing),
        patch.object(saved_tensors_hooks, "__exit__", _nothing),
        patch.object(torch.utils.checkpoint, "CheckpointFunction", _PlainCall),
    ):
        yield


def _nothing(*args: Any) -> None:
    return None


class _PlainCall:
    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return function(*args)
