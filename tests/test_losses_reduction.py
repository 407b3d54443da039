"""A mask deletes, an integer weight repeats, order does not matter, and nothing is worth 0."""

import math

import pytest
import torch
from cases import CASES, Case
from torch import Tensor

REDUCIBLE = [case for case in CASES if case.has_reduction]


def along(dim: int, vector: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`vector` laid along `dim` of a tensor of `shape`."""
    return vector.reshape([-1 if d == dim % len(shape) else 1 for d in range(len(shape))]).expand(shape)


def gradient(case: Case, input: Tensor, target: Tensor, **arguments) -> tuple[Tensor, Tensor]:
    input = input.detach().requires_grad_()
    value = case.loss()(input, target, **arguments)
    return value.detach(), torch.autograd.grad(value, input)[0]


CASES_AND_DIMS = [pytest.param(case, dim, id=f"{case.id}-dim{dim}") for case in CASES for dim in case.dims]
WEIGHABLE = [parameters for parameters in CASES_AND_DIMS if parameters.values[0].weighable]


@pytest.mark.parametrize("case", REDUCIBLE)
def test_none_sum_and_mean_agree(case: Case, generator) -> None:
    input, target = case.inputs(generator, 5)
    shape = case.elements(target)
    weight = torch.rand(shape, generator=generator, dtype=torch.float64) if case.weighable else None
    values = case.loss(reduction="none")(input, target, weight)
    _, count = case.loss().parts(input, target, weight, None).sum_and_count()
    torch.testing.assert_close(case.loss(reduction="sum")(input, target, weight), values.sum())
    torch.testing.assert_close(case.loss(reduction="mean")(input, target, weight), values.sum() / count)
    if case.elementwise:
        assert values.shape == shape


@pytest.mark.parametrize(("case", "dim"), CASES_AND_DIMS)
def test_a_mask_is_a_deletion(case: Case, dim: int, generator) -> None:
    input, target = case.inputs(generator, 6)
    shape = case.elements(target)
    kept = torch.tensor([1, 2] if shape[dim] < 6 else [0, 3, 5])
    mask = along(dim, torch.zeros(shape[dim], dtype=torch.bool).index_fill(0, kept, True), shape)
    # deleting by hand also proves that the label of a masked element is never read
    spoilt = torch.where(target_mask(case, target, mask), target, math.nan if target.is_floating_point() else -7)

    value, gradients = gradient(case, input, spoilt, mask=mask)
    expected, expected_gradients = gradient(case, input.index_select(dim, kept), target.index_select(dim, kept))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients.index_select(dim, kept), expected_gradients)
    torch.testing.assert_close(gradients.abs().sum(), expected_gradients.abs().sum())  # the others get none


def target_mask(case: Case, target: Tensor, mask: Tensor) -> Tensor:
    axis = case.loss().element_axis(target)
    return mask if axis is None else mask.unsqueeze(axis)


@pytest.mark.parametrize(("case", "dim"), WEIGHABLE)
def test_an_integer_weight_is_a_repetition(case: Case, dim: int, generator) -> None:
    input, target = case.inputs(generator, 4)
    shape = case.elements(target)
    times = torch.tensor([2, 0, 1, 3, 1, 1])[: shape[dim]]

    value, gradients = gradient(case, input, target, weight=along(dim, times, shape))
    repeated = (tensor.repeat_interleave(times, dim) for tensor in (input, target))
    expected, expected_gradients = gradient(case, *repeated)
    torch.testing.assert_close(value, expected)
    of_each = torch.arange(len(times)).repeat_interleave(times)
    torch.testing.assert_close(gradients, torch.zeros_like(input).index_add(dim, of_each, expected_gradients))


@pytest.mark.parametrize(("case", "dim"), CASES_AND_DIMS)
def test_the_order_of_elements_does_not_matter(case: Case, dim: int, generator) -> None:
    input, target = case.inputs(generator, 6)
    order = torch.randperm(input.shape[dim], generator=generator)
    value, gradients = gradient(case, input, target)
    found, found_gradients = gradient(case, input.index_select(dim, order), target.index_select(dim, order))
    torch.testing.assert_close(found, value)
    torch.testing.assert_close(found_gradients, gradients.index_select(dim, order))


@pytest.mark.parametrize("case", CASES)
def test_if_all_is_masked_the_value_and_all_gradients_are_zero(case: Case, generator) -> None:
    input, target = case.inputs(generator, 4)
    nothing = torch.zeros(case.elements(target), dtype=torch.bool)
    for arguments in [{"mask": nothing}, {"weight": nothing.double()}][: 1 + case.weighable]:
        value, gradients = gradient(case, input, target, **arguments)
        assert value == 0
        assert torch.equal(gradients, torch.zeros_like(input))


@pytest.mark.parametrize("case", [case for case in CASES if case.ignore_index is not None])
def test_if_every_label_is_ignored_the_value_and_all_gradients_are_zero(case: Case, generator) -> None:
    input, target = case.inputs(generator, 4)
    value, gradients = gradient(case, input, torch.full_like(target, case.ignore_index))
    assert value == 0
    assert torch.equal(gradients, torch.zeros_like(input))


@pytest.mark.parametrize("case", CASES)
def test_an_empty_batch_is_zero_with_a_gradient(case: Case, generator) -> None:
    input, target = (tensor[:0] for tensor in case.inputs(generator, 4))
    value, gradients = gradient(case, input, target)
    assert value == 0
    assert gradients.shape == input.shape
    loss = case.loss()
    full = loss.statistics(*case.inputs(generator, 4))
    if case.pooled and case.elementwise:
        assert torch.equal(full + loss.statistics(input, target), full)


@pytest.mark.parametrize("case", [case for case in CASES if case.ignore_index is not None])
def test_ignoring_a_label_is_masking_it(case: Case, generator) -> None:
    input, target = case.inputs(generator, 4)
    mask = target != case.ignore_index
    masked = case.loss(ignore_index=None)(input, target, mask=mask)
    torch.testing.assert_close(case.loss()(input, target), masked)
