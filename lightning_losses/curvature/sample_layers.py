"""Which parameters of a network have sample norms, found out once from its graph, and hooks that collect them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_losses.curvature.estimate import Parameters
from lightning_losses.curvature.graph import consumers
from lightning_losses.curvature.sample_norms import has_formula, has_sample_norms

Layers = dict[nn.Module, dict[str, str]]
"""Layers whose sample norms are taken: for each its own names of parameters, and their names in the network."""

OnOutput = Callable[[nn.Module, Tensor, Tensor], None]
"""Called with a layer, its input and its output."""


def layers_of(network: nn.Module, parameters: Parameters) -> Layers:
    """All layers with a formula, with those of their parameters that are among `parameters`."""
    found: Layers = {}
    for path, layer in network.named_modules():
        names = {own: f"{path}.{own}" if path else own for own in layer._parameters}
        kept = {own: name for own, name in names.items() if name in parameters}
        if kept and has_formula(layer):
            found[layer] = kept
    return found


@contextmanager
def listening(layers: Layers, on_output: OnOutput, *, detached: bool = False) -> Iterator[list[Tensor]]:
    """Calls `on_output` in every forward of the layers, and yields the tensors at which the graph begins.

    Layers that see their parameters `detached` leave a backward only what activations need, and in the graph only what
    else uses these parameters. A first layer's output then has no graph, and becomes a leaf of it; the network goes on
    with a copy, which may be changed in place.
    """
    roots: list[Tensor] = []
    replaced: dict[nn.Module, dict[str, Any]] = {}

    def detach(layer: nn.Module, args: Any) -> None:
        replaced[layer] = {own: layer._parameters[own] for own in layers[layer]}
        layer._parameters.update({own: p.detach() for own, p in replaced[layer].items()})

    def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Tensor | None:
        layer._parameters.update(replaced.pop(layer, {}))
        if not isinstance(output, Tensor) or not torch.is_grad_enabled():
            return None
        is_first = not output.requires_grad
        if is_first:
            roots.append(output.requires_grad_())
        on_output(layer, args[0] if args else next(iter(kwargs.values())), output)
        return output.clone() if is_first else None

    # The first of the hooks after a forward: FSDP2's takes the parameters away again.
    keywords = {"with_kwargs": True, "always_call": True, "prepend": True}
    hooks = [layer.register_forward_hook(hook, **keywords) for layer in layers]
    if detached:
        hooks += [layer.register_forward_pre_hook(detach) for layer in layers]
    try:
        yield roots
    finally:
        for handle in hooks:
            handle.remove()


class Outputs:
    """The outputs of layers that have sample norms in the mode of a forward, and how often each was called."""

    def __init__(self) -> None:
        self.calls: Counter[nn.Module] = Counter()
        self.outputs: dict[nn.Module, Tensor] = {}

    def __call__(self, layer: nn.Module, input: Tensor, output: Tensor) -> None:
        """Keep one."""
        if has_sample_norms(layer):
            self.calls[layer] += 1
            self.outputs[layer] = output


def eligible(layers: Layers, seen: Outputs, ends: Sequence[Tensor], leaves: Parameters) -> Layers:
    """Of layers that were called once, the parameters whose whole gradient is that of the formula.

    The rows of the layer's output must be samples: a row has to reach its own block of rows of the network's outputs
    and no other. And nothing else may use the parameter. Both are read off the graph, which has to lead to `leaves`.

    Args:
        layers: the candidates.
        seen: their outputs.
        ends: the network's outputs.
        leaves: the parameters that were used, with gradients.
    """
    uses = consumers(ends)
    rows = {layer: len(out) for layer, out in seen.outputs.items() if seen.calls[layer] == 1 and out.ndim > 1}
    found: Layers = {}
    for count in set(rows.values()):
        same = [layer for layer, number in rows.items() if number == count]
        for layer in _with_separate_rows(count, {layer: seen.outputs[layer] for layer in same}, ends):
            kept = {own: name for own, name in layers[layer].items() if uses[id(leaves[name])] == 1}
            if kept:
                found[layer] = kept
    return {layer: found[layer] for layer in layers if layer in found}


def _with_separate_rows(count: int, outputs: Mapping[nn.Module, Tensor], ends: Sequence[Tensor]) -> Iterator[nn.Module]:
    """The layers whose rows reach their own of `count` blocks of the ends only: tried for the first and the last.

    A single row shows nothing of what several would do.
    """
    if count == 1 or any(end.ndim == 0 or len(end) % count for end in ends):
        return
    separate = dict.fromkeys(outputs, True)
    rows = torch.arange(count, device=ends[0].device)
    for inside in (rows == 0, rows != 0, rows == count - 1, rows != count - 1):
        cotangents = [_noise_in_blocks(end, inside) for end in ends]
        slopes = torch.autograd.grad(ends, list(outputs.values()), cotangents, retain_graph=True, allow_unused=True)
        for layer, slope in zip(outputs, slopes, strict=True):
            if slope is not None:
                reached = slope.reshape(count, -1).ne(0).any(1)
                separate[layer] &= not bool((reached & ~inside).any())
    yield from (layer for layer, is_separate in separate.items() if is_separate)


def _noise_in_blocks(end: Tensor, inside: Tensor) -> Tensor:
    """Normal numbers in some blocks of rows, 0 in the others."""
    generator = torch.Generator(end.device).manual_seed(0)
    noise = torch.randn(end.shape, generator=generator, device=end.device, dtype=end.dtype)
    blocks = noise.view(len(inside), -1) * inside.to(noise).unsqueeze(1)
    return blocks.view(end.shape)
