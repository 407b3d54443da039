"""One training step's backward, by ours and by the peers, behind one signature.

A method takes the losses and the shared features, leaves the gradients in the model's parameters as its library does,
and returns the weights that it used. Its own parameters, if any, are trained by the model's optimizer.
"""

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache, reduce
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from gradnorm_pytorch import GradNormLossWeighter
from torch import Tensor, nn
from torch_harness.losses import BalancerConfig, LossBalancer, LossTarget, weighted_loss
from torchjd.aggregation import UPGrad, UPGradWeighting
from torchjd.autogram import Engine
from torchjd.autojac import jac, jac_to_grad, mtl_backward

from lightning_losses import LossModule, Term
from lightning_losses.balancers import Balancer, Branches


class Network(nn.Module):
    """A shared trunk whose last layer is `last`, and a head a task."""

    def __init__(self, trunk: nn.Module, last: nn.Linear | nn.Conv2d, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.trunk = trunk
        self.last = [last]  # in a list, so that it is not registered twice
        self.heads = nn.ModuleList(heads)

    @property
    def tasks(self) -> int:
        """The number of tasks."""
        return len(self.heads)

    @property
    def last_weight(self) -> nn.Parameter:
        """GradNorm's W: the weights of the last shared layer."""
        return cast(nn.Parameter, self.last[0].weight)


class Method(nn.Module):
    """Weighs losses and runs the backward pass."""

    learning_rate = 1e-3  # of its own parameters; the model's

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = [network]  # in a list: its parameters are not the method's own
        self.names = [f"t{i}" for i in range(network.tasks)]

    def start(self, features: Tensor, task: int) -> Tensor:
        """What a task's head is given; called for the tasks in turn."""
        return features

    def backward(self, losses: Sequence[Tensor], features: Tensor) -> Tensor:
        """Gradients into the parameters; the weights of this step."""
        raise NotImplementedError

    def stepped(self) -> None:
        """What is left to do once the optimizer has stepped."""


class PlainSum(Method):
    """The hand-written weighted sum."""

    def __init__(self, network: Network, weights: Sequence[float] | None = None) -> None:
        super().__init__(network)
        self.weights = list(weights or [1.0] * network.tasks)

    def backward(self, losses: Sequence[Tensor], features: Tensor) -> Tensor:
        """An ordinary backward."""
        torch.autograd.backward(weighted_sum(self.weights, losses))
        return torch.tensor(self.weights)


class PlainSumWithGradients(PlainSum):
    """The least that a method measuring at features can cost: every loss's gradient there, and nothing done with it."""

    def backward(self, losses: Sequence[Tensor], features: Tensor) -> Tensor:
        """A first-order gradient a loss, then an ordinary backward."""
        for loss in losses:
            torch.autograd.grad(loss, features, retain_graph=True)
        return super().backward(losses, features)


class Ours(Method):
    """A LossModule with one of this library's balancers, measuring at the features or at the last layer's weights."""

    learning_rate = 0.025  # Uncertainty's variances get what the GradNorm paper gives its weights

    def __init__(self, network: Network, balancer: Balancer, at: str = "features") -> None:
        super().__init__(network)
        self.criterion = LossModule({name: Term() for name in self.names}, balancer=balancer)
        self.at = at

    def backward(self, losses: Sequence[Tensor], features: Tensor) -> Tensor:
        """The total's ordinary backward."""
        shared = features if self.at == "features" else self.network[0].last_weight
        self.criterion(**dict(zip(self.names, losses, strict=True)), shared=shared).backward()
        return torch.stack(list(self.criterion.report.weights.values()))


class OursInBranches(Ours):
    """The same, measured in the ordinary backward: every head starts from a branch of the features."""

    branches: Branches

    def __init__(self, network: Network, balancer: Balancer) -> None:
        super().__init__(network, balancer, at="branches")
        self.criterion.auto_step = False

    def start(self, features: Tensor, task: int) -> Tensor:
        """The task's branch."""
        if task == 0:
            self.branches = self.criterion.branch(features)
        return self.branches[self.names[task]]

    def backward(self, losses: Sequence[Tensor], features: Tensor) -> Tensor:
        """The total's ordinary backward."""
        self.criterion(**dict(zip(self.names, losses, strict=True)), shared=self.branches).backward()
        return torch.stack(list(self.criterion.report.weights.values()))

    def stepped(self) -> None:
        """Only now is the backward known."""
        self.criterion.step()


class GradnormPytorch(Method):
    """gradnorm-pytorch's GradNormLossWeighter, at its own learning rate (1e-4, plain gradient descent)."""

    def __init__(self, network: Network, alpha: float, at: str = "weight") -> None:
        super().__init__(network)
        self.at = at
        self.weighter = GradNormLossWeighter(
            num_losses=network.tasks, restoring_force_alpha=alpha, grad_norm_parameters=network.last_weight
        )

    def backward(self, losses: Sequence[Tensor], features: Tensor) -> Tensor:
        """It runs both of its backwards itself."""
        weights: Tensor = self.weighter.loss_weights.detach().clone()
        self.weighter.backward(list(losses), activations=features if self.at == "features" else None)
        return weights


class LibMTL(Method):
    """A weighting of LibMTL, unmodified, called as its Trainer does, which itself is bound to "cuda:0".

    `zero_grad_share_params` keeps zeros instead of None, because under torch >= 2.0 the library's own would leave no
    gradient to write to.

    Args:
        network: the model.
        name: its class in `LibMTL.weighting`.
        options: what its `backward` takes beside the losses.
    """

    weighting: Any

    def __init__(self, network: Network, name: str, **options: Any) -> None:
        super().__init__(network)
        self.options = options
        weighting: Any = _libmtl(name)()
        weighting.task_num, weighting.device = network.tasks, torch.device("cpu")
        weighting.rep_grad, weighting.epoch = False, 0
        weighting.get_share_params = network.trunk.parameters
        weighting.zero_grad_share_params = lambda: network.trunk.zero_grad(set_to_none=False)
        weighting.init_param()
        self.weighting = weighting

    def backward(self, losses: Sequence[Tensor], features: Tensor) -> Tensor:
        """Every task's backward through the whole trunk."""
        return torch.as_tensor(self.weighting.backward(torch.stack(list(losses)), **self.options)).float()


class LibMTLGradNorm(LibMTL):
    """LibMTL's GradNorm; its epoch 0 (equal weights, mean losses kept as L(0)) is one step here, as in the paper."""

    def __init__(self, network: Network, alpha: float) -> None:
        super().__init__(network, "GradNorm", alpha=alpha)

    def backward(self, losses: Sequence[Tensor], features: Tensor) -> Tensor:
        """The first losses are kept."""
        weights = super().backward(losses, features)
        if self.weighting.epoch == 0:
            self.weighting.train_loss_buffer = torch.stack(list(losses)).detach().numpy()[:, None]
            self.weighting.epoch = 1
        return weights


class TorchJDUPGrad(Method):
    """Jacobian descent by TorchJD: the Jacobian of the losses at all shared parameters, aggregated by UPGrad."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.aggregator = UPGrad()

    def backward(self, losses: Sequence[Tensor], features: Tensor) -> Tensor:
        """As in TorchJD's guide to multi-task learning."""
        mtl_backward(list(losses), features=features)
        jac_to_grad(self.network[0].trunk.parameters(), self.aggregator)
        return torch.full((len(losses),), float("nan"))


class TorchJDAutogram(Method):
    """TorchJD's engine: the Gramian at all shared parameters, layer by layer, the Jacobian never stored."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.engine = Engine(network.trunk, batch_dim=None)
        self.weighting = UPGradWeighting()

    def backward(self, losses: Sequence[Tensor], features: Tensor) -> Tensor:
        """As in TorchJD's guide to the engine."""
        stacked = torch.stack(list(losses))
        weights: Tensor = self.weighting(self.engine.compute_gramian(stacked))
        torch.autograd.backward(stacked, weights)
        return weights


class TorchJDAtFeatures(Method):
    """TorchJD's Jacobian at the features, its UPGrad weights and one ordinary backward."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.weighting = UPGradWeighting()

    def backward(self, losses: Sequence[Tensor], features: Tensor) -> Tensor:
        """Put together from TorchJD's parts; what its guides show is `mtl_backward`."""
        rows = jac(list(losses), features, retain_graph=True)[0].flatten(1)
        weights: Tensor = self.weighting(rows @ rows.T)
        torch.autograd.backward(torch.stack(list(losses)), weights)
        return weights


class TorchHarness(Method):
    """torch-harness's LossBalancer at the features, measuring at every step; all tasks to the same gradient norm."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        targets = {name: LossTarget(ratio=1.0, initial_weight=1.0) for name in self.names[1:]}
        self.balancer = LossBalancer(reference="t0", adaptive=targets, config=BalancerConfig(update_every=1))
        self.steps = 0

    def backward(self, losses: Sequence[Tensor], features: Tensor) -> Tensor:
        """Its weights first, then the ordinary backward."""
        named = dict(zip(self.names, losses, strict=True))
        weights = self.balancer.update(named, shared=features, step=self.steps)
        self.steps += 1
        weighted_loss(named, weights).backward()
        return torch.tensor([weights[name] for name in self.names])


def weighted_sum(weights: Iterable[float | Tensor], losses: Iterable[Tensor]) -> Tensor:
    """What stands in a training_step today: `w_1 * l_1 + w_2 * l_2 + ...`."""
    return reduce(torch.add, [weight * loss for weight, loss in zip(weights, losses, strict=True)])


def _libmtl(name: str) -> Callable[[], nn.Module]:
    """A weighting's class from its own file, past the package's __init__, which imports what torchvision lost."""
    _stand_in_for_libmtl()
    weighting: Callable[[], nn.Module] = getattr(importlib.import_module(f"LibMTL.weighting.{name}"), name)
    return weighting


@cache
def _stand_in_for_libmtl() -> None:
    spec = find_spec("LibMTL")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("LibMTL is not installed.")
    for name in ("LibMTL", "LibMTL.weighting"):
        package = ModuleType(name)
        package.__path__ = [str(Path(spec.origin).parent / name.partition(".")[2])]
        sys.modules[name] = package
