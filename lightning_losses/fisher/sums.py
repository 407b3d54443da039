"""Sums over samples, which add over batches and over ranks."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_losses.checks import message, nearest
from lightning_losses.curvature.estimate import Parameters
from lightning_losses.curvature.products import leaves, recording
from lightning_losses.curvature.sample_layers import Layers
from lightning_losses.distributed import sum_over_ranks
from lightning_losses.fisher.by_layer import LayerPass, separate_layers
from lightning_losses.fisher.by_sample import sums_by_sample
from lightning_losses.fisher.in_step import in_step
from lightning_losses.fisher.layer_sums import Magnitude
from lightning_losses.fisher.predictor import Predict, Predictor, is_empty, samples
from lightning_losses.modes import evaluating
from lightning_losses.numerics import at_least_float32
from lightning_losses.sharding import held, is_sharded, reshard, scattered_sum

Cotangents = Callable[[Tensor, Any], Iterable[Tensor]]
"""From outputs in float32 or wider and targets to what the backwards start from."""


@dataclass(frozen=True)
class SampleSums:
    """Sums over samples of what every entry of their gradients is worth.

    Args:
        sums: by name of a parameter, in its shape, in float32 or wider; of sharded ones in its shards, over all ranks.
        count: the number of samples.
    """

    sums: dict[str, Tensor]
    count: float

    def plus(self, other: "SampleSums") -> "SampleSums":
        """Of the samples of both."""
        sums = {name: total + other.sums[name] for name, total in self.sums.items()}
        return SampleSums(sums, self.count + other.count)

    def over_ranks(self) -> "SampleSums":
        """Of the samples of all ranks, in one message."""
        own = {name: total for name, total in self.sums.items() if not is_sharded(total)}
        count = held(next(iter(self.sums.values()))).part.new_tensor([self.count])
        flat = sum_over_ranks(torch.cat([*(total.flatten() for total in own.values()), count]))
        *parts, count = torch.split(flat, [*(total.numel() for total in own.values()), 1])
        sums = {name: part.view_as(own[name]) for name, part in zip(own, parts, strict=True)}
        return SampleSums({name: sums.get(name, total) for name, total in self.sums.items()}, count.item())

    def mean(self) -> dict[str, Tensor]:
        """Sums over their number.

        Raises:
            ValueError: there is no sample.
        """
        if not self.count:
            raise ValueError(message("batches", "at least one batch with a sample", "none"))
        return {name: total / self.count for name, total in self.sums.items()}


class Summing:
    """Adds up what the samples of batches give to a network's parameters.

    Args:
        network: holds the parameters.
        parameters: those whose sums are wanted; None for all that require a gradient.
        predict: calls the network; None for the network itself.
        cotangents: what backwards start from.
        magnitude: `torch.square` or `torch.abs`.
    """

    def __init__(
        self,
        network: nn.Module,
        parameters: Iterable[str] | None,
        predict: Predict | None,
        cotangents: Cotangents,
        magnitude: Magnitude,
    ) -> None:
        reshard(network)
        self.network = network
        self.parameters = _chosen(network, parameters)
        _check_batch_norm(network)
        self._predictor = Predictor(network, predict)
        self._cotangents = cotangents
        self._magnitude = magnitude
        self._layers: Layers | None = None

    def nothing(self) -> SampleSums:
        """Of no sample."""
        zeros = {name: torch.zeros_like(at_least_float32(p)) for name, p in self.parameters.items()}
        return SampleSums(zeros, 0.0)

    @property
    def is_sharded(self) -> bool:
        """Whether parameters of the network lie on the ranks in shards (FSDP2)."""
        return self._predictor.is_sharded

    def in_step(self, batches: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any, bool]]:
        """Batches, each with whether it counts; as many on all ranks where these gather parameters together."""
        if self.is_sharded:
            return in_step(batches, next(self.network.parameters()).device)
        return ((inputs, targets, True) for inputs, targets in batches if not is_empty(inputs))

    def of(self, inputs: Any, targets: Any, counts: bool = True) -> SampleSums:
        """Of one batch, which may be there only because other ranks have one."""
        run = LayerPass(self._predictor, self.parameters, self._known_layers(inputs), inputs)
        if not run.outputs.requires_grad:
            raise ValueError("The outputs of the network depend on no parameter that is asked for.")
        totals, others = self.nothing().sums, {name: self.parameters[name] for name in run.others}
        if others and self.is_sharded:
            raise ValueError(
                "`network` must be made of layers that `layer_sums` knows where FSDP2 shards it, found "
                f"{', '.join(list(others)[:3])} elsewhere. Use DDP, or leave them out of `parameters`."
            )
        kept = list[Tensor]()
        for cotangent in self._cotangents(at_least_float32(run.outputs.detach()), targets):
            for name, part in run.backward(counts * cotangent, self._magnitude):
                totals[name] += scattered_sum(part, self.parameters[name])
            kept += [cotangent.to(run.outputs.dtype)] if others else []
        if others:
            totals |= sums_by_sample(self._predictor, others, inputs, torch.stack(kept), self._magnitude)
        return SampleSums(totals, len(run.outputs) * counts)

    def of_mean(self, inputs: Any, targets: Any) -> SampleSums:
        """Of the mean of a batch's gradients, which counts as one sample."""
        at, totals = leaves(self.parameters), self.nothing().sums
        with recording():
            outputs = self._predictor.at(at, inputs)
        for cotangent in self._cotangents(at_least_float32(outputs.detach()), targets):
            start = cotangent.to(outputs.dtype) / len(outputs)
            gradients = torch.autograd.grad(outputs, list(at.values()), start, materialize_grads=True)
            for total, gradient in zip(totals.values(), gradients, strict=True):
                total += self._magnitude(at_least_float32(gradient))
        return SampleSums(totals, 1.0)

    def _known_layers(self, inputs: Any) -> Layers:
        """Found for the first batch of several samples; in shards for two, so that all ranks do the same."""
        if self._layers is None:
            several = samples(inputs, torch.tensor([0, -1])) if self.is_sharded else inputs
            self._layers = separate_layers(self._predictor, self.parameters, several)
        return self._layers or {}


@contextmanager
def without_traces(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, no autocast, nothing compiled; modes and random numbers are put back."""
    devices = {parameter.device for parameter in network.parameters()}
    with ExitStack() as stack:
        stack.enter_context(evaluating(network))
        stack.enter_context(torch.random.fork_rng([device for device in devices if device.type == "cuda"]))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        for kind in {device.type for device in devices}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        if any(isinstance(module, nn.RNNBase) for module in network.modules()):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # it has no backward in evaluation mode
        yield


def _chosen(network: nn.Module, names: Iterable[str] | None) -> Parameters:
    known = dict(network.named_parameters())
    wanted = {name for name, p in known.items() if p.requires_grad} if names is None else set(names)
    for name in wanted - known.keys():
        raise ValueError(f"`parameters` must name some of the network, found {name!r}. {nearest(name, known)}")
    chosen = {name: parameter for name, parameter in known.items() if name in wanted}
    if not chosen:
        raise ValueError(message("network", "a module with parameters that require a gradient", type(network).__name__))
    return chosen


def _check_batch_norm(network: nn.Module) -> None:
    for path, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            rule = "a module that does not mix the samples of a batch"
            raise ValueError(message("network", rule, f"{path}: BatchNorm without running statistics"))
