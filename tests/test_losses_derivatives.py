"""Losses are plain differentiable formulas: monitors differentiate them twice, in reverse and forward mode."""

import pytest
import torch
from cases import CASES, Case


@pytest.mark.parametrize("case", [case for case in CASES if not case.frozen])
def test_first_and_second_derivatives(case: Case, generator) -> None:
    input, target = case.inputs(generator, 2)
    loss = case.loss()
    input.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, target), input)
    assert not case.twice or torch.autograd.gradgradcheck(lambda x: loss(x, target), input)


@pytest.mark.parametrize("case", [case for case in CASES if case.twice])
def test_forward_over_reverse_equals_reverse_over_reverse(case: Case, generator) -> None:
    input, target = case.inputs(generator, 3)
    direction = torch.randn(input.shape, generator=generator, dtype=torch.float64)
    loss = case.loss()

    _, forward = torch.func.jvp(torch.func.jacrev(lambda x: loss(x, target)), (input,), (direction,))
    input.requires_grad_()
    value = loss(input, target)
    (gradient,) = torch.autograd.grad(value, input, create_graph=True)
    (reverse,) = torch.autograd.grad((gradient * direction).sum() + 0 * value, input, materialize_grads=True)
    torch.testing.assert_close(forward, reverse)


@pytest.mark.parametrize("case", [case for case in CASES if case.divisible])
def test_per_sample_gradients_by_vmap_equal_a_loop(case: Case, generator) -> None:
    input, target = case.inputs(generator, 3)
    loss = case.loss()

    def of_one(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss(x.unsqueeze(0), y.unsqueeze(0))

    gradient = torch.func.grad(of_one)
    one_by_one = torch.stack([gradient(x, y) for x, y in zip(input, target, strict=True)])
    torch.testing.assert_close(torch.func.vmap(gradient)(input, target), one_by_one)
