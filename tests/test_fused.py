"""`fused=True` is worth the same, keeps nothing, and says what it cannot do."""

import pytest
import torch
from cases import CASES, Case
from torch import Tensor

from lightning_losses.functional import fused
from lightning_losses.functional.fused import eager_formulas
from lightning_losses.losses import DiceCE, SigmoidFocal

FUSIBLE = [case for case in CASES if isinstance(case.loss(), SigmoidFocal | DiceCE) and case.twice]
LOSSES = [SigmoidFocal, DiceCE]


def evaluate(loss, input: Tensor, *arguments: Tensor | None) -> tuple[Tensor, Tensor]:
    input = input.detach().requires_grad_()
    value = loss(input, *arguments)
    return value.detach(), torch.autograd.grad(value.sum(), input)[0]


def batch(loss, generator: torch.Generator, size: int = 2) -> tuple[Tensor, Tensor]:
    input = torch.randn(size, 3, 20, 30, generator=generator) * 3
    if loss is SigmoidFocal:
        return input, torch.randint(0, 2, input.shape, generator=generator).float()
    return input, torch.randint(0, 3, (size, 20, 30), generator=generator)


def saved_bytes(loss, input: Tensor, target: Tensor, *arguments: Tensor | None) -> int:
    """Of storages kept for the backward pass that are not the caller's own; of those with more than 64 numbers."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (input, target, *arguments) if tensor is not None}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and storage.nbytes() > 256:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(input.requires_grad_(), target, *arguments)
    return sum(kept.values())


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("case", FUSIBLE)
def test_value_and_gradient_are_those_of_the_plain_formula(case: Case, dtype, masked: bool, generator) -> None:
    for magnitude in (None, 0.0, 100.0, 1e4):
        drawn = case.inputs(generator, 5) if magnitude is None else case.extremes(generator, magnitude)
        input, target = drawn[0].to(dtype), drawn[1]
        shape = case.elements(target)
        arguments = ()
        if masked:
            arguments = torch.rand(shape, generator=generator), torch.rand(shape, generator=generator) < 0.6
        value, gradient = evaluate(case.loss(), input.double(), target, *arguments)
        found, found_gradient = evaluate(case.loss(fused=True), input, target, *arguments)
        assert found.dtype == case.loss()(input, target, *arguments).dtype
        torch.testing.assert_close(found.double(), value, atol=1e-6, rtol=1e-5)
        tolerance = 2 * max(torch.finfo(dtype).eps, 1e-6)
        torch.testing.assert_close(found_gradient.double(), gradient, atol=1e-7, rtol=tolerance)


@pytest.mark.parametrize("loss", LOSSES)
def test_blocks_do_not_show(loss, generator, monkeypatch) -> None:
    monkeypatch.setattr(fused, "BLOCK", 64)
    input, target = batch(loss, generator)
    for layout in (input, input.to(memory_format=torch.channels_last), input.transpose(2, 3).contiguous().mT):
        for expected, found in zip(
            evaluate(loss(), input, target), evaluate(loss(fused=True), layout, target), strict=True
        ):
            torch.testing.assert_close(found, expected)


def test_blocks_of_samples_do_not_show_where_each_class_has_its_alpha(generator, monkeypatch) -> None:
    monkeypatch.setattr(fused, "BLOCK", 64)
    alpha = [0.1, 0.5, 0.9]
    arguments = batch(SigmoidFocal, generator, size=3)
    for expected, found in zip(
        evaluate(SigmoidFocal(alpha=alpha), *arguments),
        evaluate(SigmoidFocal(alpha=alpha, fused=True), *arguments),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("options", [{}, {"reduction": "none"}, {"alpha": [0.1, 0.5, 0.9]}], ids=str)
def test_focal_keeps_no_byte(options: dict, generator) -> None:
    arguments = batch(SigmoidFocal, generator)
    assert saved_bytes(SigmoidFocal(**options), *arguments) >= 16 * arguments[0].numel()
    assert saved_bytes(SigmoidFocal(**options, fused=True), *arguments) == 0


@pytest.mark.parametrize(
    "options", [{}, {"class_weight": [1.0, 2.0, 3.0]}, {"ignore_index": 0}, {"per_image": True}], ids=str
)
def test_dice_ce_keeps_no_byte(options: dict, generator) -> None:
    input, target = batch(DiceCE, generator)
    assert saved_bytes(DiceCE(**options), input, target) >= 8 * input.numel()
    assert saved_bytes(DiceCE(**options, fused=True), input, target.byte()) == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_a_second_derivative_is_an_error_even_where_the_gradient_from_above_is_a_constant(loss, generator) -> None:
    """There torch's `once_differentiable` lets the Hessian of a network be had without the part of the loss."""
    input, target = batch(loss, generator)
    scale = torch.ones((), requires_grad=True)
    value = loss(fused=True)(input * scale.exp(), target)
    (gradient,) = torch.autograd.grad(value, scale, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice a loss with `fused=True`.*eager_formulas"):
        torch.autograd.grad(gradient, scale)


@pytest.mark.parametrize("loss", LOSSES)
def test_eager_formulas_have_the_second_derivative(loss, generator) -> None:
    input, target = batch(loss, generator)
    scale = torch.ones((), requires_grad=True)
    curvatures = []
    for of in (loss(), loss(fused=True)):
        with eager_formulas():
            value = of(input * scale.exp(), target)
        (gradient,) = torch.autograd.grad(value, scale, create_graph=True)
        curvatures += torch.autograd.grad(gradient, scale)
    torch.testing.assert_close(*curvatures)
    assert not saved_bytes(loss(fused=True), input, target)  # outside, nothing has changed


@pytest.mark.parametrize("loss", LOSSES)
def test_transforms_take_the_plain_formula(loss, generator) -> None:
    input, target = batch(loss, generator)
    direction = torch.randn(input.shape, generator=generator)
    products = [
        torch.func.jvp(torch.func.grad(lambda x, of=of: of(x, target)), (input,), (direction,))[1]
        for of in (loss(), loss(fused=True))
    ]
    torch.testing.assert_close(*products)
