"""Extra states of modules, whose tensors lie in a checkpoint of shards."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.distributed.checkpoint._traverse import set_element
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Shard
from torch.distributed.tensor import empty as empty_shards

Places = dict[str, tuple[Any, ...]]
"""By a name in the checkpoint, the keys that lead to it in a module's extra state."""


def make_room(model: nn.Module, folder: Path, mesh: DeviceMesh) -> None:
    """Let modules have, in their extra states, tensors of the names and shapes that a checkpoint holds of them.

    torch.distributed.checkpoint reads into tensors that are there already. What a new model does not have, such as the
    anchors of tasks that have ended, it takes for missing. Tensors that were saved in several parts are in equal parts
    on the ranks again.

    Args:
        model: what the checkpoint's ``state_dict`` is to be read into.
        folder: the checkpoint.
        mesh: of the ranks, in one dimension.
    """
    metadata, modules = FileSystemReader(folder).read_metadata(), dict(model.named_modules())
    for path, places in _places(metadata).items():
        if path in modules and (_are_tensors(metadata, places) or _has_tensors(modules[path].get_extra_state())):
            modules[path].set_extra_state(_state(folder, metadata, places, mesh))


def _places(metadata: Metadata) -> dict[str, Places]:
    """By the module's path."""
    found = defaultdict[str, Places](dict)
    for name, (part, *keys) in metadata.planner_data.items():
        path, _, key = str(keys[0]).rpartition(".") if keys else ("", "", "")
        if part == "state_dict" and key == "_extra_state":
            found[path][name] = tuple(keys[1:])
    return found


def _are_tensors(metadata: Metadata, places: Places) -> bool:
    return any(isinstance(metadata.state_dict_metadata[name], TensorStorageMetadata) for name in places)


def _has_tensors(state: Any) -> bool:
    found = list[Tensor]()
    apply_to_collection(state, Tensor, found.append)
    return bool(found)


def _state(folder: Path, metadata: Metadata, places: Places, mesh: DeviceMesh) -> dict[str, Any]:
    """The checkpoint's, but for what tensors hold."""
    values = {name: _empty(metadata.state_dict_metadata[name], mesh) for name in places}
    others: dict[str, Any] = {name: None for name, value in values.items() if value is None}
    if others:
        load(others, checkpoint_id=folder)
    state: dict[str, Any] = {}
    for name, keys in places.items():
        set_element(state, keys, others.get(name, values[name]))
    return state


def _empty(saved: Any, mesh: DeviceMesh) -> Tensor | None:
    """None for what is no tensor."""
    if not isinstance(saved, TensorStorageMetadata):
        return None
    if len(saved.chunks) == 1:
        return torch.empty(saved.size, dtype=saved.properties.dtype, device=mesh.device_type)
    return empty_shards(saved.size, dtype=saved.properties.dtype, device_mesh=mesh, placements=[Shard(0)])
