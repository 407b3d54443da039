"""One probe of the trace of the Hessian at a fixed batch, by ours and by the peers, behind one signature.

A peer takes a network of its own, in eval mode, and a batch; what it returns gives the value of one more random probe
at every call. Each is driven as its documentation does, with cross-entropy.
"""

from collections.abc import Callable
from itertools import count

import torch
from _resnet import Batch
from backpack import extend
from backpack.hessianfree.hvp import hessian_vector_product
from cockpit import Cockpit
from cockpit.quantities import HessTrace
from curvlinops import HessianLinearOperator, hutchinson_trace, hutchpp_trace
from hessian_eigenthings import HessianOperator as EigenthingsHessian
from hessian_eigenthings import hutch_plus_plus as eigenthings_hutch
from hessian_eigenthings import hutchinson, supervised_loss
from pyhessian import hessian
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from lightning_losses.curvature import Estimate, HessianOperator, Objective, dot, hutch_plus_plus, rademacher_like

Probe = Callable[[], float]
Peer = Callable[[nn.Module, Batch], Probe]


def gradient(network: nn.Module, batch: Batch) -> Probe:
    """The unit of cost: a forward and a backward."""

    def once() -> float:
        loss = _loss(network, batch)
        torch.autograd.grad(loss, _parameters(network))
        return float(loss)

    return once


def double_backward(network: nn.Module, batch: Batch) -> Probe:
    """What one writes by hand: a graph of the gradient, kept, and a backward through it for each probe."""
    parameters = _parameters(network)
    gradients = torch.autograd.grad(_loss(network, batch), parameters, create_graph=True)

    def once() -> float:
        probe = _rademacher(parameters)
        return _dot(probe, torch.autograd.grad(gradients, parameters, probe, retain_graph=True))

    return once


def pyhessian(network: nn.Module, batch: Batch) -> Probe:
    """From the graph of the gradient, kept."""
    measured = hessian(network, nn.CrossEntropyLoss(), data=batch, cuda=False)
    return lambda: float(measured.trace(maxIter=1)[0])


def curvlinops(network: nn.Module, batch: Batch) -> Probe:
    """By forward over reverse, from a new graph every time."""
    operator = _curvlinops_operator(network, batch)
    return lambda: float(hutchinson_trace(operator, num_matvecs=1))


def curvlinops_hutch_plus_plus(network: nn.Module, batch: Batch) -> Probe:
    """The least that Hutch++ can be run with: three products."""
    operator = _curvlinops_operator(network, batch)
    return lambda: float(hutchpp_trace(operator, num_matvecs=3))


def eigenthings(network: nn.Module, batch: Batch) -> Probe:
    """From a new graph every time; without a seed every call would draw the same probe."""
    operator, seeds = _eigenthings_operator(network, batch), count(1000)
    return lambda: hutchinson(operator, num_samples=1, seed=next(seeds)).estimate


def eigenthings_hutch_plus_plus(network: nn.Module, batch: Batch) -> Probe:
    """The least that Hutch++ can be run with: three products."""
    operator, seeds = _eigenthings_operator(network, batch), count(1000)
    return lambda: eigenthings_hutch(operator, num_matvecs=3, seed=next(seeds)).estimate


def backpack_product(network: nn.Module, batch: Batch) -> Probe:
    """From a new graph every time, and keeping it."""
    parameters = _parameters(network)

    def once() -> float:
        probe = _rademacher(parameters)
        return _dot(probe, hessian_vector_product(_loss(network, batch), parameters, probe))

    return once


def cockpit(network: nn.Module, batch: Batch) -> Probe:
    """Cockpit's HessTrace in the training's own backward, as BackPACK's diagonal of the GGN with one sampled label.

    Its default, BackPACK's DiagHessian, refuses the sums of a residual network.
    """
    images, labels = batch
    extended, criterion = extend(network, use_converter=True).eval(), extend(nn.CrossEntropyLoss())
    trace, steps = HessTrace(lambda step: True, curvature="diag_ggn_mc"), count()
    instruments = Cockpit(extended.parameters(), quantities=[trace])

    def once() -> float:
        step, loss = next(steps), criterion(extended(images), labels)
        with instruments(step, info={"batch_size": len(images), "loss": loss}):
            loss.backward()
        return float(sum(trace.get_output()[step]))

    return once


def objective(network: nn.Module, batch: Batch) -> Objective:
    """The loss as a function of the parameters, as ours take it."""
    images, labels = batch
    return lambda at: cross_entropy(functional_call(network, dict(at), (images,)), labels)


def our_hessian(network: nn.Module, batch: Batch) -> Probe:
    """What `hutchinson_trace` does for each probe, from the graph of the gradient, kept."""
    parameters = dict(network.named_parameters())
    operator = HessianOperator(objective(network, batch), parameters)

    def once() -> float:
        probe = rademacher_like(parameters)
        return float(dot(probe, operator.product(probe)))

    return once


def our_hutch_plus_plus(network: nn.Module, batch: Batch, products: int) -> Estimate:
    """With its standard error, from which the number of products can be told that 5 % takes."""
    return hutch_plus_plus(objective(network, batch), dict(network.named_parameters()), matvecs=products)


def _curvlinops_operator(network: nn.Module, batch: Batch) -> HessianLinearOperator:
    """Without its check that two passes agree, which takes eleven gradients."""
    data, loss = [batch], nn.CrossEntropyLoss()
    return HessianLinearOperator(network, loss, _parameters(network), data, check_deterministic=False)


def _eigenthings_operator(network: nn.Module, batch: Batch) -> EigenthingsHessian:
    return EigenthingsHessian(network, [batch], supervised_loss(nn.CrossEntropyLoss()))


def _loss(network: nn.Module, batch: Batch) -> Tensor:
    images, labels = batch
    return cross_entropy(network(images), labels)


def _parameters(network: nn.Module) -> list[nn.Parameter]:
    return list(network.parameters())


def _rademacher(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [2.0 * torch.randint_like(p, 2).detach() - 1.0 for p in parameters]


def _dot(a: list[Tensor], b: tuple[Tensor, ...]) -> float:
    return sum(float((x * y).sum()) for x, y in zip(a, b, strict=True))
