"""Nothing that a network or half precision can produce makes a loss or a derivative of it NaN."""

import pytest
import torch
from cases import CASES, Case

MAGNITUDES = (0.0, 10.0, 100.0, 1e4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_value_gradient_and_hessian_product_are_finite(case: Case, dtype: torch.dtype, generator) -> None:
    loss = case.loss()
    for magnitude in MAGNITUDES:
        input, target = case.extremes(generator, magnitude)
        input = input.to(dtype).requires_grad_()
        target = target.to(dtype) if target.is_floating_point() else target
        direction = torch.randn(input.shape, generator=generator).to(dtype)

        value = loss(input, target)
        (gradient,) = torch.autograd.grad(value, input, create_graph=True)
        product = gradient
        if case.twice:
            (product,) = torch.autograd.grad((gradient * direction).sum() + 0 * value, input, materialize_grads=True)
        assert value.dtype == torch.float32
        assert value.isfinite(), magnitude
        assert gradient.isfinite().all(), magnitude
        assert product.isfinite().all(), magnitude


@pytest.mark.parametrize("case", CASES)
def test_float32_keeps_the_digits_of_float64_far_out(case: Case, generator) -> None:
    loss = case.loss()
    for magnitude in MAGNITUDES:
        input, target = case.extremes(generator, magnitude)
        half = target.float() if target.is_floating_point() else target
        torch.testing.assert_close(loss(input.float(), half).double(), loss(input, target), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_autocast_returns_float32_and_the_value_without_it(case: Case, generator) -> None:
    input, target = case.inputs(generator, 3)
    input = input.bfloat16()
    expected = case.loss()(input.float(), target)
    with torch.autocast("cpu", torch.bfloat16):
        found = case.loss()(input, target)
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)
