"""Every loss is worth what its formula says."""

import copy
import pickle

import pytest
import torch
from cases import CASES, Case


def arrays(*tensors: torch.Tensor) -> list:
    return [tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy() for tensor in tensors]


@pytest.mark.parametrize("case", CASES)
def test_the_mean_equals_an_independent_computation(case: Case, generator) -> None:
    input, target = case.inputs(generator, 7)
    ones = torch.ones(case.elements(target), dtype=torch.float64)
    weight = torch.rand(ones.shape, generator=generator, dtype=torch.float64)
    expected = case.value(*arrays(input, target, ones))
    assert case.loss()(input, target).item() == pytest.approx(expected, rel=1e-6)  # float32 class weights
    if case.weighable:
        expected = case.value(*arrays(input, target, weight))
        assert case.loss()(input, target, weight).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("case", [case for case in CASES if case.reference is not None])
def test_the_uninformed_and_the_best_value_equal_an_independent_computation(case: Case, generator) -> None:
    input, target = case.inputs(generator, 7)
    weight = torch.randint(1, 4, case.elements(target), generator=generator).double()
    if not (case.weighable and case.weighs_reference):
        weight = torch.ones_like(weight)
    loss = case.loss()
    bounds = loss.bounds(loss.statistics(input, target, weight if case.weighable else None))
    assert float(bounds.reference) == pytest.approx(case.reference(*arrays(target, weight)), rel=1e-6)
    assert float(bounds.lower) == pytest.approx(case.lower(*arrays(target, weight)), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_labels_of_any_integer_dtype_and_numbers_of_any_precision(case: Case, generator) -> None:
    input, target = case.inputs(generator, 7)
    expected = case.loss()(input, target)
    dtypes = [torch.float32] if target.is_floating_point() else [torch.uint8, torch.int16, torch.int32, torch.int64]
    for dtype in dtypes:
        found = case.loss()(input.float(), target.to(dtype))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_a_copy_is_worth_the_same(case: Case, generator) -> None:
    input, target = case.inputs(generator, 3)
    loss = case.loss()
    expected = loss(input, target)
    assert torch.equal(pickle.loads(pickle.dumps(loss))(input, target), expected)
    assert torch.equal(copy.deepcopy(loss)(input, target), expected)
    fresh = case.loss()
    fresh.load_state_dict(loss.state_dict())
    assert torch.equal(fresh(input, target), expected)


@pytest.mark.parametrize("case", [case for case in CASES if case.is_public])
def test_it_prints_the_call_that_makes_it(case: Case, generator) -> None:
    import lightning_losses.losses

    input, target = case.inputs(generator, 3)
    again = eval(repr(case.loss()), vars(lightning_losses.losses))
    assert torch.equal(again(input, target), case.loss()(input, target))
