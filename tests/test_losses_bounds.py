"""No input leads out of the declared bounds, and the bounds are not wider than they need to be."""

import math

import pytest
import torch
from cases import CASES, Case
from torch import Tensor

from lightning_losses.losses import MSE, BCEWithLogits, CrossEntropy


def search(case: Case, sign: int, generator: torch.Generator, steps: int) -> tuple[float, float, Tensor, Tensor]:
    """(least, greatest) value on the way of a gradient descent (sign 1) or ascent (-1) from random starts."""
    input, target = case.inputs(generator, case.searched)
    loss = case.loss()
    input = input.requires_grad_()
    optimizer = torch.optim.Adam([input], lr=0.3)
    values = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.3 * (1 - step / steps)
        optimizer.zero_grad()
        value = loss(input, target)
        (sign * value).backward()
        optimizer.step()
        input.data = case.inside(input.data)
        values.append(value.item())
    return min(values), max(values), input.detach(), target


@pytest.mark.parametrize("case", CASES)
def test_descent_approaches_the_lower_bound_and_does_not_pass_it(case: Case, generator) -> None:
    least, _, input, target = search(case, 1, generator, steps=150)
    bounds = case.loss().bounds(case.loss().statistics(input, target))
    assert least >= float(bounds.lower) - 1e-9
    if case.reference is not None:
        assert float(bounds.normalize(least)) < 0.02


@pytest.mark.parametrize("case", CASES)
def test_ascent_does_not_pass_the_upper_bound_and_approaches_a_finite_one(case: Case, generator) -> None:
    _, greatest, input, target = search(case, -1, generator, steps=150)
    bounds = case.loss().bounds(case.loss().statistics(input, target))
    assert greatest <= float(bounds.upper) + 1e-9
    if math.isfinite(bounds.upper):
        assert greatest > bounds.upper - 0.1 * (bounds.upper or 1)  # with smoothing it takes many pixels to come near
    elif case.reference is not None:
        assert float(bounds.normalize(greatest)) > 2


@pytest.mark.parametrize("case", CASES)
def test_random_inputs_of_every_scale_stay_inside(case: Case, generator) -> None:
    loss = case.loss()
    for scale in 10.0 ** torch.linspace(-3, 4, 30):
        input, target = case.inputs(generator, 3)
        input = case.inside(input * scale)
        bounds = loss.bounds(loss.statistics(input, target))
        assert float(bounds.lower) - 1e-9 <= loss(input, target).item() <= float(bounds.upper) + 1e-9


@pytest.mark.parametrize("case", [case for case in CASES if case.has_guess])
def test_the_uninformed_prediction_scores_the_reference(case: Case, generator) -> None:
    input, target = case.inputs(generator, 6)
    loss = case.loss()
    mask = torch.rand(case.elements(target), generator=generator) < 0.7
    for masked in (None, mask):
        guess = loss.uninformed(input, spoiled(target, masked, loss.element_axis(target)))
        reference = loss.bounds(loss.statistics(input, target, mask=masked)).reference
        torch.testing.assert_close(loss(guess, target, mask=masked), reference)
        assert float(loss.bounds(loss.statistics(input, target, mask=masked)).normalize(reference)) == 1


def spoiled(target: Tensor, mask: Tensor | None, axis: int | None) -> Tensor:
    """`target` with NaN where masked, as `uninformed` is given it."""
    if mask is None or not target.is_floating_point():
        return target
    return target.masked_fill(~(mask if axis is None else mask.unsqueeze(axis)), math.nan)


@pytest.mark.parametrize("case", [case for case in CASES if case.pooled and case.elementwise and case.weighable])
def test_statistics_of_batches_add_up_to_those_of_their_union(case: Case, generator) -> None:
    input, target = case.inputs(generator, 7)
    weight = torch.rand(case.elements(target), generator=generator)
    loss = case.loss()
    first, second = (loss.statistics(input[part], target[part], weight[part]) for part in (slice(2), slice(2, None)))
    torch.testing.assert_close(first + second, loss.statistics(input, target, weight))


def test_the_reference_of_squared_error_is_the_variance_over_all_batches_not_within_each() -> None:
    loss = MSE()
    batches = [torch.full((4,), 1.0), torch.full((4,), 5.0)]  # no variance within either
    statistics = sum(loss.statistics(batch, batch) for batch in batches)
    assert loss.bounds(statistics).reference == 4


def test_constants_are_known_without_data_and_the_rest_is_not_guessed() -> None:
    assert CrossEntropy(label_smoothing=0.1).bounds() == CrossEntropy().bounds()
    assert CrossEntropy().bounds().reference is None
    assert BCEWithLogits().bounds(torch.empty(0)).lower == 0


def test_label_smoothing_of_ten_classes_has_the_published_floor_and_the_overconfident_pay() -> None:
    loss = CrossEntropy(label_smoothing=0.1)
    target = torch.tensor([0])
    bounds = loss.bounds(loss.statistics(torch.zeros(1, 10), target))
    assert float(bounds.lower) == pytest.approx(0.5003, abs=1e-4)
    sure = torch.nn.functional.one_hot(target, 10) * 40.0
    assert loss(sure, target) > bounds.reference


@pytest.mark.parametrize("case", [case for case in CASES if case.has_reduction])
def test_a_sum_has_no_reference_and_keeps_the_sign_of_its_bounds(case: Case, generator) -> None:
    loss = case.loss(reduction="sum")
    bounds = loss.bounds(loss.statistics(*case.inputs(generator, 3)))
    sign = (0.0 if loss.lower >= 0 else -math.inf, 0.0 if loss.upper <= 0 else math.inf)
    assert (bounds.lower, bounds.upper, bounds.reference) == (*sign, None)
