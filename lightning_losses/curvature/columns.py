"""What traces are shown of: sums of the traces of the parameters, by column."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_losses.checks import message
from lightning_losses.curvature.estimate import Parameters
from lightning_losses.distributed import sum_over_ranks, world_size
from lightning_losses.numerics import widest
from lightning_losses.sharding import is_sharded, squared_norms

TOTAL, LAYER_NORMALIZED = "total", "layer_normalized"


class Columns:
    r"""Sums :math:`\sum_p a_{pc} t_p` of what each parameter tensor p contributes, such as its trace.

    The first column, ``"total"``, sums all of them. Then come the groups: each parameter counts in its own. A last one,
    ``"layer_normalized"``, weighs by :math:`\lVert w_p \rVert^2`, so that the sum stays when whole layers are rescaled
    without changing what the network computes (see `layer_normalized_trace`).

    Args:
        groups: names of groups, and of the parameters of each.
        layer_normalized: whether there is the last column.

    Raises:
        ValueError: a group has the name of another column.

    >>> columns = Columns({"trunk": ["w"]}, layer_normalized=True)
    >>> columns.weights({"w": torch.tensor([3.0, 4.0]), "b": torch.tensor([2.0])})
    {'w': tensor([ 1.,  1., 25.], dtype=torch.float64), 'b': tensor([1., 0., 4.], dtype=torch.float64)}
    """

    def __init__(self, groups: Mapping[str, Sequence[str]], layer_normalized: bool = False) -> None:
        for name in (TOTAL, LAYER_NORMALIZED):
            if name in groups:
                raise ValueError(message("groups", f"named otherwise than {TOTAL!r} and {LAYER_NORMALIZED!r}", name))
        self.names = (TOTAL, *groups, *([LAYER_NORMALIZED] if layer_normalized else ()))
        self._groups = groups
        self._layer_normalized = layer_normalized

    def weights(self, parameters: Parameters) -> dict[str, Tensor]:
        """:math:`a_p` of each parameter, [columns] in float64, on the parameters' device."""
        table, row = torch.zeros(len(parameters), len(self.names)), {name: i for i, name in enumerate(parameters)}
        table[:, 0] = 1
        for column, members in enumerate(self._groups.values(), start=1):
            table[[row[name] for name in members if name in row], column] = 1
        table = widest(table.to(next(iter(parameters.values())).device, non_blocking=True))
        if self._layer_normalized:
            table[:, -1] = _squared_norms(list(parameters.values()))
        return dict(zip(parameters, table, strict=True))


def _squared_norms(parameters: Sequence[Tensor]) -> Tensor:
    """Of each, [P]. Only shards cost a message: without them, ranks may differ in whether they come here."""
    shares = squared_norms([[p.detach()] for p in parameters], parameters[0].device)
    return sum_over_ranks(shares) if any(map(is_sharded, parameters)) else shares * world_size()
