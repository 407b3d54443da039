"""A certificate is given where no single weight is curved, and nowhere else: each decision beside the Hessian itself."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import hessian

from lightning_losses.curvature.certificate import certify
from lightning_losses.curvature.directions import unflattened

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
IMAGES = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Weights = dict[str, Tensor]


class Mul(torch.autograd.Function):
    """Not what its name says."""

    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a.exp()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0].exp()


def in_place_on_a_slice(w: Weights) -> Tensor:
    hidden = (X @ w["a"].T).clone()
    hidden[:, :1].tanh_()
    return hidden


def pooled(w: Weights) -> Tensor:
    maps = F.leaky_relu(F.conv2d(F.pad(IMAGES, [1] * 4, mode="reflect"), w["k"]))
    maps = F.max_pool2d(maps, 2) + F.avg_pool2d(maps, 2)
    return F.interpolate(maps, scale_factor=2.0, mode="bilinear").amax((2, 3)).flatten(1)


def normalized(training: bool) -> Callable[[Weights], Tensor]:
    def network(w: Weights) -> Tensor:
        statistics = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
        return F.batch_norm(X @ w["a"].T, *statistics, w["c"], w["b"][0], training=training)

    return network


CERTIFIED: dict[str, Callable[[Weights], Tensor]] = {
    "two layers": lambda w: F.relu(X @ w["a"].T) @ w["b"].T,
    "biases": lambda w: torch.addmm(w["c"], F.hardtanh(X @ w["a"].T), w["b"].T),
    "convolution and pooling": pooled,
    "parallel": lambda w: F.relu(X @ w["a"].T) + (X.flip(1) @ w["a"].T).abs(),
    "gate by other weights": lambda w: (X @ w["a"].T) * w["c"],
    "slopes": lambda w: F.prelu(X @ w["a"].T, w["c"][:1]),
    "embedding": lambda w: F.embedding(torch.tensor([0, 2]), w["a"]) @ w["b"],
    "batch norm with fixed statistics": normalized(training=False),
    "selected and reordered": lambda w: torch.cat([w["a"][:, 1:].T, w["b"][:2].flip(0)], 1).roll(1, 0)[:, 2:],
    "divided by a constant": lambda w: w["a"] / w["b"].detach(),
    "larger of two": lambda w: torch.maximum(X @ w["a"].T, torch.where(X @ w["b"].T > 0, X @ w["b"].T, X)),
}
REFUSED: dict[str, tuple[Callable[[Weights], Tensor], str]] = {
    "smooth": (lambda w: F.gelu(X @ w["a"].T), "GeluBackward0 of a is not piecewise linear"),
    "square": (lambda w: (X @ w["a"].T).square(), "PowBackward0 of a is not"),
    "product with itself": (lambda w: (X @ w["a"].T) * (X @ w["a"].T), "MulBackward0 multiplies what depends on a"),
    "series": (lambda w: F.relu(X @ w["a"].T) @ w["a"].T, "MmBackward0 multiplies what depends on a"),
    "series with a bias": (
        lambda w: torch.addmm(w["c"], F.relu(X @ w["a"].T), w["a"].T),
        "AddmmBackward0 multiplies what depends on a",
    ),
    "quotient": (lambda w: w["a"] / (1 + w["b"].square()), "DivBackward0 of a, b divides by what depends on"),
    "layer norm": (lambda w: F.layer_norm(X @ w["a"].T, (3,)), "NativeLayerNormBackward0 of a is not"),
    "batch norm with the batch's statistics": (normalized(training=True), "the batch's own statistics"),
    "softmax": (lambda w: (X @ w["a"].T).softmax(1), "SoftmaxBackward0 of a is not"),
    "in place on a slice": (in_place_on_a_slice, "CopySlices of a is not"),
    "a function of one's own": (lambda w: Mul.apply(X @ w["a"].T), "MulBackward of a is not"),
    "norm": (lambda w: w["a"].norm(dim=1), "LinalgVectorNormBackward0 of a is not"),
}


def weights() -> Weights:
    shapes = {"a": (3, 3), "b": (3, 3), "c": (3,), "k": (2, 3, 3, 3)}
    generator = torch.Generator().manual_seed(2)
    return {name: torch.randn(*shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


def leaves() -> Weights:
    return {name: w.requires_grad_() for name, w in weights().items()}


def curvature(network: Callable[[Weights], Tensor]) -> Tensor:
    """Second derivatives of the outputs' sum of sines' arguments by each single weight: of every output, summed up."""
    at = weights()
    vector = torch.cat([w.flatten() for w in at.values()])
    mix = torch.arange(1, network(at).numel() + 1, dtype=torch.float64).sin()
    return hessian(lambda v: (network(unflattened(v, at)).flatten() * mix).sum())(vector).diagonal()


@pytest.mark.parametrize("name", CERTIFIED)
def test_it_holds_where_no_output_is_curved_in_any_single_weight(name: str) -> None:
    at = leaves()
    assert certify([CERTIFIED[name](at)], at) == (True, ())
    assert float(curvature(CERTIFIED[name]).abs().max()) < 1e-12


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_the_reason_where_one_is(name: str) -> None:
    network, reason = REFUSED[name]
    at = leaves()
    certificate = certify([network(at)], at)
    assert not certificate.holds
    assert any(reason in one for one in certificate.reasons), certificate.reasons
    if name != "a function of one's own":
        assert float(curvature(network).abs().max()) > 1e-6


def test_what_reaches_no_parameter_may_be_curved() -> None:
    at = leaves()
    assert certify([torch.tanh(X) @ at["a"], torch.tanh(at["b"].detach())], at).holds


def test_every_output_counts() -> None:
    at = leaves()
    assert not certify([X @ at["a"], torch.tanh(at["b"])], at).holds
