"""The diagonal of the Fisher information, and the sensitivity of outputs."""

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lightning_losses.checks import check_choice, message
from lightning_losses.distributed import rank
from lightning_losses.fisher.likelihoods import Categorical, Likelihood
from lightning_losses.fisher.predictor import Predict
from lightning_losses.fisher.sums import Cotangents, Summing, without_traces
from lightning_losses.numerics import at_least_float32

ESTIMATORS = ("exact", "sampled", "empirical", "batched")

BATCHED = (
    "estimator='batched' squares the mean of a batch's gradients: for batches of B samples about 1/B of the empirical "
    "Fisher information, so it changes with the batch size. Use 'exact' unless you compare with code that does this."
)


def diagonal_fisher(
    network: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    estimator: str = "exact",
    likelihood: Likelihood | None = None,
    parameters: Iterable[str] | None = None,
    predict: Predict | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    r"""The diagonal of the Fisher information of a network, over the samples of all batches and ranks.

    .. math::
        F_{ii} = \mathbb E_x\, \mathbb E_{y \sim p(y | x)}
        \Big( \frac{\partial \log p(y | x)}{\partial \theta_i} \Big)^2

    - ``"exact"`` sums over all classes, weighted by their probability: a backward for each. Without noise, and so worth
      more than another estimator on more samples.
    - ``"sampled"`` draws one y for each sample from the network's own distribution: unbiased, one backward.
    - ``"empirical"`` takes the given targets. It equals the others only for a network whose probabilities are right;
      one that fits its data perfectly has an empirical Fisher information of 0 (Kunstner 2019, arXiv:1905.12558).
    - ``"batched"`` squares the mean of a batch's gradients, as several implementations of EWC do. It is about
      :math:`1/B` of the empirical one for batches of B samples, and warns; use it to compare with them alone.

    The scales differ, so the weight of a penalty that suits one estimator does not suit another.

    The gradient is that of each sample alone. For linear layers, convolutions, embeddings and normalisation layers it
    costs about what a batch's gradient does (see `layer_sums`); for other parameters it is formed, some samples at a
    time, and one by one in recurrent layers. The network runs eager, outside autocast and in evaluation mode, so that
    BatchNorm uses its running statistics. Afterwards modes, buffers and the states of the global random generators are
    as before, and nothing is in `.grad`.

    A network that FSDP2 has sharded it gathers, block by block, for the forward of a batch and for each backward, and
    what a backward gives to a layer is summed into the shards of all ranks before the next layer's turn. All ranks must
    call it, each with at least one sample; numbers of batches may differ. Only parameters of the layers named above can
    be asked for there, and not ``"batched"``.

    Args:
        network: returns logits [N, C, *] for the inputs of N samples.
        batches: pairs (inputs, targets), on the network's device, as a DataLoader yields them. Inputs are a tensor
            [N, *], or a nested sequence or mapping of such. Targets may be None where the estimator takes none.
        estimator: ``"exact"``, ``"sampled"``, ``"empirical"`` or ``"batched"``.
        likelihood: what the outputs say; default `Categorical()`.
        parameters: names of those wanted; None for all that require a gradient.
        predict: from inputs to outputs, where that is not just a call of the network: one head of several, for example.
        generator: source of randomness for ``"sampled"``; None for one of its own, so that the training's is not used.

    Returns:
        By name a tensor of the parameter's shape, in float32 or wider, the same on all ranks, or in the shards that the
        parameter lies in; 0 for parameters that the outputs do not depend on.

    Raises:
        ValueError: no sample; an unknown estimator or name; targets are missing or out of range; the network mixes
            samples (BatchNorm without running statistics); or it is sharded, and a parameter has no formula.
        ShardedError: the network is sharded, and uses a parameter otherwise than by calling the layer that owns it.

    >>> network = nn.Linear(1, 2, bias=False)
    >>> _ = nn.init.zeros_(network.weight)  # so p = 1/2, and d log p / dw is x/2 or -x/2
    >>> diagonal_fisher(network, [(torch.tensor([[2.0], [4.0]]), None)])
    {'weight': tensor([[2.5000], [2.5000]])}
    """
    check_choice("estimator", estimator, ESTIMATORS)
    cotangents = _cotangents(estimator, likelihood or Categorical(), generator or _own_generator(network))
    if estimator == "batched":
        warnings.warn(BATCHED, UserWarning, stacklevel=2)
    return _mean(Summing(network, parameters, predict, cotangents, torch.square), batches, estimator == "batched")


def output_sensitivity(
    network: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    parameters: Iterable[str] | None = None,
    predict: Predict | None = None,
) -> dict[str, Tensor]:
    r"""How much the outputs change with each parameter, over the samples of all batches and ranks; no truth is needed.

    .. math:: \Omega_i = \mathbb E_x \Big| \frac{\partial \lVert f(x) \rVert_2^2}{\partial \theta_i} \Big|

    Memory aware synapses (Aljundi et al. 2018, arXiv:1711.09601). The absolute value is that of each sample's gradient,
    as in the paper; that of a batch's mean, which others take, shrinks with the size of the batch. Their penalty
    :math:`\lambda \sum_i \Omega_i (\theta_i - \theta_i^*)^2` is that of `EWC` with the weight :math:`2 \lambda`.

    Args:
        network: returns outputs [N, ...] for the inputs of N samples.
        batches: pairs (inputs, anything), as for `diagonal_fisher`, which also says what happens to the network.
        parameters: names of those wanted; None for all that require a gradient.
        predict: from inputs to outputs, where that is not just a call of the network.

    Returns:
        By name a tensor of the parameter's shape, in float32 or wider, the same on all ranks, or in its shards.

    Raises:
        ValueError: no sample, an unknown name, or a network that `diagonal_fisher` would refuse.

    >>> network = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(network.weight, 3.0)  # f^2 = 9 x^2, and its derivative is 6 x^2
    >>> output_sensitivity(network, [(torch.tensor([[1.0], [2.0]]), None)])
    {'weight': tensor([[15.]])}
    """
    return _mean(Summing(network, parameters, predict, lambda outputs, _: [2 * outputs], torch.abs), batches)


def _mean(summing: Summing, batches: Iterable[tuple[Any, Any]], batched: bool = False) -> dict[str, Tensor]:
    if batched and summing.is_sharded:
        raise ValueError(message("estimator", "another than 'batched' where FSDP2 shards the network", "batched"))
    with without_traces(summing.network):
        total = summing.nothing()
        for inputs, targets, counts in summing.in_step(batches):
            total = total.plus(summing.of_mean(inputs, targets) if batched else summing.of(inputs, targets, counts))
        return total.over_ranks().mean()


def _cotangents(estimator: str, likelihood: Likelihood, generator: torch.Generator) -> Cotangents:
    def cotangents(outputs: Tensor, targets: Any) -> Iterable[Tensor]:
        if estimator == "exact":
            return likelihood.columns(outputs)
        if estimator == "sampled":
            return [likelihood.score(outputs, likelihood.draw(outputs, generator))]
        if not isinstance(targets, Tensor):
            raise ValueError(message("targets", f"a tensor for the {estimator} estimator", targets))
        return [likelihood.score(outputs, at_least_float32(targets))]

    return cotangents


def _own_generator(network: nn.Module) -> torch.Generator:
    """Of other numbers on each rank."""
    device = next(network.parameters()).device
    return torch.Generator(device).manual_seed(rank())
