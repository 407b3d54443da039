"""Measuring gradients at the shared place."""

import pytest
import torch
from torch import nn

from lightning_losses import LossModule, Term
from lightning_losses.balancers import FeatureProbe, GradNorm, ParameterProbe
from lightning_losses.balancers.place import make_probe


@pytest.fixture
def losses() -> tuple[torch.Tensor, torch.Tensor, nn.Linear]:
    torch.manual_seed(0)
    layer = nn.Linear(4, 5).double()
    features = layer(torch.randn(7, 4, dtype=torch.float64))
    return torch.stack([features.square().mean(), features.exp().sum(), features[:, 0].sin().mean()]), features, layer


@pytest.mark.parametrize("pairwise", [True, False], ids=["gramian", "norms"])
@pytest.mark.parametrize("place", ["features", "parameters"])
def test_products_are_those_of_the_jacobian(losses, place: str, pairwise: bool) -> None:
    values, features, layer = losses
    tensors = [features] if place == "features" else list(layer.parameters())
    rows = [torch.cat([g.flatten() for g in torch.autograd.grad(v, tensors, retain_graph=True)]) for v in values]
    expected = torch.stack(rows) @ torch.stack(rows).T
    probe = make_probe(features if place == "features" else layer, dict(zip("abc", values, strict=True)))
    measured = probe.products(probe.sums(pairwise), 1, pairwise)
    torch.testing.assert_close(measured.double(), expected if pairwise else expected.diagonal(), rtol=1e-5, atol=1e-6)


def test_the_place_decides_the_probe(losses) -> None:
    _, features, layer = losses
    assert isinstance(make_probe(features, {}), FeatureProbe)
    assert isinstance(make_probe([features, features * 2], {}), FeatureProbe)
    assert isinstance(make_probe(layer, {}), ParameterProbe)
    assert isinstance(make_probe(layer.weight, {}), ParameterProbe)


def test_a_term_that_does_not_reach_the_shared_tensor_is_named() -> None:
    criterion = LossModule({"near": Term(), "far": Term()}, balancer=GradNorm())
    features, other = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match=r"Term 'far' does not reach the shared tensor.*balanced=False"):
        criterion(near=features.sum(), far=other.sum(), shared=features)


def test_the_missing_place_is_explained() -> None:
    criterion = LossModule({"a": Term()}, balancer=GradNorm())
    with pytest.raises(ValueError, match="training calls need `shared`"):
        criterion(a=torch.ones((), requires_grad=True))


@pytest.mark.parametrize(
    "place", [torch.ones(2), nn.ReLU(), nn.Linear(2, 2).requires_grad_(False)], ids=["detached", "empty", "frozen"]
)
def test_a_place_without_gradient_is_refused(place) -> None:
    with pytest.raises(ValueError, match="`shared` must hold a tensor that requires a gradient"):
        make_probe(place, {})


def test_a_place_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="`shared` must be a tensor"):
        make_probe(["features"], {})


def test_a_place_named_by_its_path() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neck = nn.Linear(2, 2)
            self.criterion = LossModule({"a": Term()}, balancer=GradNorm(), shared="neck.weight").attach(self)

    net = Net()
    net.criterion(a=net.neck(torch.ones(2)).square().sum())
    assert float(net.criterion.balancer.adam_count) == 1
    assert {name.split(".")[0] for name, _ in net.named_modules()} == {"", "neck", "criterion"}
    with pytest.raises(ValueError, match=r"found 'nek.weight'. Did you mean 'neck.weight'"):
        LossModule({"a": Term()}, balancer=GradNorm(), shared="nek.weight").attach(net)
    with pytest.raises(RuntimeError, match="attach"):
        LossModule({"a": Term()}, balancer=GradNorm(), shared="neck.weight")(a=torch.ones((), requires_grad=True))


@pytest.mark.parametrize("scale", [None, 2.0**10, 2.0**16], ids=["no scaler", "small", "large"])
def test_norms_in_half_precision_are_those_of_float32(scale: float | None) -> None:
    """Whatever scale they are taken at: gradients of 1e-7 would be rounded to the half without one."""
    scaler = None if scale is None else torch.amp.GradScaler("cpu", init_scale=scale)
    values = torch.linspace(0.5, 1.5, 50)
    norms = []
    for dtype in (torch.float32, torch.float16):
        features = values.to(dtype).requires_grad_()
        losses = {"near": 1e-7 * features.square().sum(dtype=torch.float32), "far": 1e-5 * features.float().sum()}
        norms.append(make_probe(features, losses, scaler).sums(pairwise=False).sqrt())
    torch.testing.assert_close(norms[1], norms[0], rtol=1e-2, atol=0)
