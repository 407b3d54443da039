"""Sums over samples of squared gradients that are formed, for parameters that no formula is known for."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from lightning_losses.curvature.estimate import Parameters
from lightning_losses.curvature.products import leaves, recording
from lightning_losses.fisher.layer_sums import Magnitude, Sums
from lightning_losses.fisher.predictor import Predictor, samples
from lightning_losses.numerics import at_least_float32

NUMBERS = 2**22
"""Of gradients that are held at a time."""


def sums_by_sample(
    predictor: Predictor, parameters: Parameters, inputs: Any, cotangents: Tensor, magnitude: Magnitude
) -> Sums:
    """The sum over samples of what the cotangents give to the parameters, each squared on its own.

    Several samples at a time, or one by one through a network that `torch.vmap` has no rule for (LSTM).

    Args:
        predictor: the network's outputs.
        parameters: those whose sums are wanted.
        inputs: a batch of N samples.
        cotangents: at the outputs, [K, N, ...].
        magnitude: `torch.square` or `torch.abs`.
    """
    at = {name: parameter.detach() for name, parameter in parameters.items()}
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():  # the other kernels are no faster under vmap
        warnings.filterwarnings("ignore", "There is a performance drop")
        try:
            return _summed(at, _in_chunks(predictor, at, inputs, cotangents, magnitude))
        except RuntimeError:
            return _summed(at, _one_by_one(predictor, at, inputs, cotangents, magnitude))


def _in_chunks(
    predictor: Predictor, at: Parameters, inputs: Any, cotangents: Tensor, magnitude: Magnitude
) -> Iterator[Sequence[Tensor]]:
    def of_one(index: Tensor, starts: Tensor) -> list[Tensor]:
        pull = torch.func.vjp(lambda p: predictor.at(p, samples(inputs, index.unsqueeze(0))), dict(at))[1]
        totals: list[Tensor] = []
        for start in starts.unbind(0):
            parts = [magnitude(at_least_float32(gradient)) for gradient in pull(start.unsqueeze(0))[0].values()]
            totals = [total + part for total, part in zip(totals, parts, strict=True)] if totals else parts
        return totals

    of_several = torch.vmap(of_one, in_dims=(0, 1), randomness="different")
    size = max(1, NUMBERS // sum(parameter.numel() for parameter in at.values()))
    with torch.no_grad():
        for indices in torch.split(torch.arange(cotangents.shape[1], device=cotangents.device), size):
            yield [rows.sum(0) for rows in of_several(indices, cotangents[:, indices])]


def _one_by_one(
    predictor: Predictor, at: Parameters, inputs: Any, cotangents: Tensor, magnitude: Magnitude
) -> Iterator[Sequence[Tensor]]:
    for index in torch.arange(cotangents.shape[1], device=cotangents.device):
        alone = leaves(at)
        with recording():
            outputs = predictor.at(alone, samples(inputs, index.unsqueeze(0)))
        for start in cotangents[:, index]:
            gradients = torch.autograd.grad(
                outputs, list(alone.values()), start.unsqueeze(0), retain_graph=True, materialize_grads=True
            )
            yield [magnitude(at_least_float32(gradient)) for gradient in gradients]


def _summed(at: Parameters, parts: Iterable[Sequence[Tensor]]) -> Sums:
    totals = {name: torch.zeros_like(at_least_float32(parameter)) for name, parameter in at.items()}
    for part in parts:
        for total, summand in zip(totals.values(), part, strict=True):
            total += summand
    return totals
