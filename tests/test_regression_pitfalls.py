"""Losses of regression and rounding where other implementations of them fail, and what they say of bad input."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_losses import LossModule, Term
from lightning_losses.functional import adaptive_wing, empirical_quantile, log_cosh, pinball, rounding_error
from lightning_losses.losses import (
    MAE,
    MSE,
    AdaptiveWing,
    BerHu,
    Huber,
    LogCosh,
    Loss,
    Quantile,
    QuantileCrossing,
    Rounding,
    RoundingDecision,
    SmoothL1,
    Wing,
)

RESIDUAL = [MSE(), MAE(), SmoothL1(), Huber(), LogCosh(), BerHu(), BerHu(threshold=1.0), Quantile(), Wing()]


def derivatives(loss: Loss, input: Tensor, *target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value, gradient and the Hessian's diagonal, element by element."""
    input = input.detach().requires_grad_()
    value = loss(input, *target)
    (first,) = torch.autograd.grad(value.sum(), input, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), input, materialize_grads=True)
    return value.detach(), first.detach(), second


def test_log_cosh_of_small_residuals_keeps_its_digits() -> None:
    """|e| + softplus(-2|e|) - log 2 is 0 in float32 up to residuals of 2e-4."""
    residuals = torch.logspace(-15, 1, 2000, dtype=torch.float64).float()
    exact = residuals.double().cosh().log()
    exact = torch.where(residuals < 1e-2, residuals.double() ** 2 / 2 - residuals.double() ** 4 / 12, exact)
    torch.testing.assert_close(log_cosh(residuals, torch.zeros(2000)).double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("residual", [12.0, 100.0, 6e4])
def test_log_cosh_of_large_residuals_does_not_overflow(residual: float) -> None:
    found = LogCosh()(torch.tensor([residual], dtype=torch.float16), torch.zeros(1))
    assert float(found) == pytest.approx(residual - math.log(2), rel=1e-3)


def test_the_derivatives_of_log_cosh_are_those_of_the_formula_also_where_its_line_begins() -> None:
    residuals = torch.tensor([0.0, 1e-4, 0.5, 1.0, 5.0, 19.999998, 20.0, 20.000002, 1e4, 1e8, 1e30])
    residuals = torch.cat([residuals, -residuals])
    _, first, second = derivatives(LogCosh(reduction="none"), residuals, torch.zeros(22))
    torch.testing.assert_close(first, residuals.tanh())
    torch.testing.assert_close(second, 1 - first.square())


@pytest.mark.parametrize("delta", [0.1, 1.0, 7.0])
def test_huber_is_that_of_torch_and_delta_times_smooth_l1(delta: float, generator) -> None:
    input, target = 5 * torch.randn(2, 50, generator=generator)
    torch.testing.assert_close(Huber(delta=delta)(input, target), F.huber_loss(input, target, delta=delta))
    torch.testing.assert_close(Huber(delta=delta)(input, target), delta * SmoothL1(beta=delta)(input, target))


@pytest.mark.parametrize("loss", [MAE(), Quantile(quantiles=0.9), Wing(), BerHu(), LogCosh()], ids=repr)
def test_a_perfect_prediction_has_no_gradient(loss: Loss) -> None:
    value, first, second = derivatives(loss, torch.tensor([1.0, -2.0]), torch.tensor([1.0, -2.0]))
    assert value == 0
    assert torch.equal(first, torch.zeros(2))
    assert second.isfinite().all()


def test_the_median_is_the_middle_quantile(generator) -> None:
    input, target = torch.randn(2, 9, generator=generator)
    torch.testing.assert_close(2 * Quantile()(input, target), MAE()(input, target))
    assert empirical_quantile(target, torch.tensor(0.5)) == target.median()


@pytest.mark.parametrize("quantile", [0.001, 0.1, 0.5, 0.77, 0.999])
def test_no_constant_is_better_than_the_empirical_quantile(quantile: float, generator) -> None:
    target = torch.randn(30, generator=generator, dtype=torch.float64)
    of_each = torch.stack([pinball(constant, target, quantile).mean() for constant in target])
    loss = Quantile(quantiles=quantile)
    reference = loss.bounds(loss.statistics(torch.zeros(30, dtype=torch.float64), target)).reference
    torch.testing.assert_close(torch.as_tensor(reference), of_each.min())


def test_the_price_of_a_rare_side_is_exact() -> None:
    """|e| / 2 + (tau - 1/2) e would lose a quarter of the digits."""
    found = pinball(torch.tensor([1.0]), torch.tensor([0.0]), 1 - 2**-20)
    assert found == 2**-20


def test_several_quantiles_are_the_mean_of_each_alone(generator) -> None:
    input, target = torch.randn(4, 3, 5, generator=generator), torch.randn(4, 5, generator=generator)
    levels = (0.25, 0.5, 0.9)
    of_each = [Quantile(quantiles=level)(input[:, q], target) for q, level in enumerate(levels)]
    torch.testing.assert_close(Quantile(quantiles=levels)(input, target), sum(of_each) / 3)
    torch.testing.assert_close(Quantile(quantiles=[0.25])(input[:, :1], target), of_each[0])


def test_only_crossed_quantiles_are_pushed_and_towards_each_other() -> None:
    _, first, _ = derivatives(QuantileCrossing(), torch.tensor([[1.0, 2.0, 3.0], [1.0, 4.0, 3.0]]))
    assert torch.equal(first, torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.5, -0.5]]))


def test_the_threshold_of_berhu_is_a_constant_to_the_gradient(generator) -> None:
    input, target = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    fixed = BerHu(threshold=0.2 * float((input - target).abs().max()))
    assert torch.autograd.gradcheck(lambda x: fixed(x, target), input.clone().requires_grad_())
    for found, expected in zip(derivatives(BerHu(), input, target), derivatives(fixed, input, target), strict=True):
        torch.testing.assert_close(found, expected)


def test_what_does_not_count_does_not_move_the_threshold_of_berhu() -> None:
    input, target = torch.tensor([1.0, 10.0, 1e6]), torch.zeros(3)
    expected = BerHu()(input[:2], target[:2])
    counts = torch.tensor([True, True, False])
    assert BerHu()(input, target, mask=counts) == expected
    assert BerHu()(input, target, weight=counts.float()) == expected
    assert BerHu()(input, torch.tensor([0.0, 0.0, math.nan]), mask=counts) == expected


@pytest.mark.parametrize("residual", [0.0, 1e-45, 1e-30, 1e30])
def test_berhu_of_residuals_of_any_size_has_finite_derivatives(residual: float) -> None:
    for found in derivatives(BerHu(), torch.full((3,), residual), torch.zeros(3))[:2]:
        assert found.isfinite().all()


def threshold(loss: BerHu) -> float:
    assert loss.running is not None
    return float(loss.running)


def test_a_running_threshold_follows_the_training_batches_and_nothing_else() -> None:
    loss, zero = BerHu(decay=0.75), torch.zeros(1)
    assert loss.eval()(torch.tensor([10.0]), zero) == BerHu()(torch.tensor([10.0]), zero)  # knows of nothing yet
    loss.train()(torch.tensor([10.0]), zero)
    assert threshold(loss) == 2
    loss(torch.tensor([30.0]), zero)
    assert threshold(loss) == 3
    loss.statistics(torch.tensor([50.0]), zero)
    loss.eval()(torch.tensor([50.0]), zero)
    assert threshold(loss) == 3
    assert loss(torch.tensor([30.0]), zero) == BerHu(threshold=3.0)(torch.tensor([30.0]), zero)


@pytest.mark.parametrize(
    ("input", "arguments"),
    [
        (torch.zeros(0), {}),
        (torch.ones(1), {"mask": torch.zeros(1, dtype=torch.bool)}),
        (torch.full((1,), torch.inf), {}),
        (torch.full((1,), torch.nan), {}),
    ],
    ids=["empty", "masked", "infinite", "nan"],
)
def test_a_batch_without_a_residual_teaches_a_running_threshold_nothing(input: Tensor, arguments: dict) -> None:
    loss = BerHu(decay=0.5)
    loss(torch.tensor([10.0]), torch.zeros(1))
    loss(input, torch.zeros_like(input), **arguments)
    assert threshold(loss) == 2


def test_a_wrong_batch_is_an_error_before_it_teaches_a_running_threshold_anything() -> None:
    loss, input, target = BerHu(decay=0.5), torch.ones(3, 1), torch.zeros(3)
    with pytest.raises(ValueError, match="`input` must be of the shape"):
        loss(input, target)
    with pytest.raises(ValueError, match="`weight` must be broadcastable"):
        loss(input, target.unsqueeze(1), weight=torch.ones(2))
    with pytest.raises(TypeError, match="`mask` must be boolean"):
        loss(input, target.unsqueeze(1), mask=torch.ones(3, 1))
    assert threshold(loss) == 0


def test_a_running_threshold_is_state_and_the_others_have_none() -> None:
    loss, again = BerHu(decay=0.5), BerHu(decay=0.5)
    loss(torch.tensor([10.0]), torch.zeros(1))
    again.load_state_dict(loss.state_dict())
    assert threshold(again) == 2
    assert not BerHu().state_dict()
    assert not BerHu(threshold=1.0).state_dict()


def test_a_threshold_without_memory_is_that_of_the_batch(generator) -> None:
    loss = BerHu(decay=0.0)
    for _ in range(3):
        input, target = torch.randn(2, 5, generator=generator)
        torch.testing.assert_close(loss(input, target), BerHu()(input, target))


def test_a_compiled_running_threshold_is_the_eager_one(generator) -> None:
    eager, original = BerHu(decay=0.5), BerHu(decay=0.5)
    compiled = torch.compile(original, fullgraph=True, backend="aot_eager")
    for _ in range(3):
        input, target = torch.randn(2, 5, generator=generator)
        torch.testing.assert_close(compiled(input, target), eager(input, target))
    assert threshold(original) == pytest.approx(threshold(eager))


def test_transforms_leave_a_running_threshold_as_it_is(generator) -> None:
    loss = BerHu(decay=0.5)
    input, target = torch.randn(2, 5, generator=generator)
    loss(input, target)
    before = threshold(loss)
    torch.func.vmap(torch.func.grad(lambda x, y: loss(x, y)))(10 * input, target)
    assert threshold(loss) == before


def test_the_pieces_of_wings_meet_and_the_offset_of_wing_may_be_negative() -> None:
    for loss, edge in ((Wing(), 10.0), (Wing(width=1.0, epsilon=0.01), 1.0), (AdaptiveWing(), 0.5)):
        near, far = (loss(torch.tensor([edge * side]), torch.zeros(1)) for side in (1 - 1e-6, 1 + 1e-6))
        torch.testing.assert_close(near, far)
        assert near > 0


@pytest.mark.parametrize("truth", [0.0, 0.1, 0.5, 1.0])
def test_derivatives_of_adaptive_wing_are_finite_at_and_next_to_a_perfect_prediction(truth: float) -> None:
    target = torch.full((4,), truth)
    for found in derivatives(AdaptiveWing(), target + torch.tensor([0.0, 1e-45, -1e-38, 1e-7]), target):
        assert found.isfinite().all()
    _, first, second = derivatives(AdaptiveWing(), target, target)
    assert torch.equal(first, torch.zeros(4))
    assert torch.equal(second, torch.zeros(4))


@pytest.mark.parametrize(
    ("loss", "edge"), [(Wing(), 10.0), (BerHu(threshold=2.0), 2.0), (AdaptiveWing(), 0.5)], ids=repr
)
def test_where_two_pieces_meet_the_gradient_is_that_of_one_side(loss: Loss, edge: float) -> None:
    slopes = [derivatives(loss, torch.tensor([edge * side]), torch.zeros(1))[1] for side in (1 - 1e-6, 1.0, 1 + 1e-6)]
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-4, atol=0)


def test_the_tangent_of_adaptive_wing_continues_its_slope(generator) -> None:
    target = torch.rand(20, generator=generator, dtype=torch.float64)
    sides = [(target + 0.5 + step).requires_grad_() for step in (-1e-9, 1e-9)]
    slopes = [torch.autograd.grad(adaptive_wing(side, target).sum(), side)[0] for side in sides]
    torch.testing.assert_close(*slopes)


SHAPES = [("absolute", 0.5), ("square", 0.25), ("sine", 1.0)]


@pytest.mark.parametrize(("shape", "most"), SHAPES)
def test_weights_spread_evenly_score_the_reference_of_their_rounding(shape: str, most: float) -> None:
    loss = Rounding(shape=shape, scale=0.1)
    weights = torch.linspace(-0.5, 0.5, 100_001, dtype=torch.float64)  # ten steps
    bounds = loss.bounds(loss.statistics(weights))
    assert float(loss(weights)) == pytest.approx(bounds.reference, abs=1e-4)
    assert (bounds.lower, bounds.upper) == (0, most)


@pytest.mark.parametrize(("shape", "most"), SHAPES)
def test_on_the_grid_and_halfway_a_rounding_has_the_documented_gradient(shape: str, most: float) -> None:
    value, first, second = derivatives(Rounding(shape=shape, reduction="none"), torch.tensor([1.0, -2.0, 0.5, 1.5]))
    torch.testing.assert_close(value, torch.tensor([0.0, 0.0, most, most]))
    assert torch.equal(first[:2], torch.zeros(2))
    torch.testing.assert_close(first[2:].abs(), torch.full((2,), 0.0 if shape == "sine" else 1.0), atol=1e-6, rtol=0)
    assert second.isfinite().all()


def test_one_scale_per_channel_is_a_division_first(generator) -> None:
    weight, scales = torch.randn(3, 4, generator=generator), torch.tensor([[0.5], [0.25], [2.0]])
    apart = [Rounding(scale=float(scale))(row) for row, scale in zip(weight, scales, strict=True)]
    torch.testing.assert_close(Rounding()(weight / scales), sum(apart) / 3)


def test_a_rounding_is_the_one_that_torch_would_make(generator) -> None:
    weight = torch.randn(100, generator=generator)
    expected = (weight - torch.fake_quantize_per_tensor_affine(weight, 0.1, 0, -128, 127)) / 0.1
    torch.testing.assert_close(rounding_error(weight, 0.1), expected, rtol=0, atol=1e-5)


def test_the_mean_rounding_does_not_grow_with_the_model(generator) -> None:
    weight = torch.randn(100, generator=generator)
    torch.testing.assert_close(Rounding()(weight.repeat(50)), Rounding()(weight))


@pytest.mark.parametrize("beta", [2, 2.5, 20.0])
def test_roundings_spread_evenly_score_the_reference_of_their_beta(beta: float) -> None:
    loss = RoundingDecision(beta=20.0)
    loss.beta = beta  # annealed
    spread = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    assert loss.bounds().reference == beta / (beta + 1)
    assert float(loss(spread)) == pytest.approx(beta / (beta + 1), abs=1e-4)


@pytest.mark.parametrize("beta", [2.0, 2.5, 20.0])
def test_derivatives_of_a_rounding_decision_are_finite_also_where_it_is_open_or_made(beta: float) -> None:
    value, first, second = derivatives(RoundingDecision(beta=beta, reduction="none"), torch.tensor([0.0, 0.5, 1.0]))
    assert torch.equal(value, torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(first, torch.tensor([2 * beta, 0.0, -2 * beta]))
    edge = -4 * beta * (beta - 1)
    torch.testing.assert_close(second, torch.tensor([edge, -8.0 if beta == 2 else 0.0, edge]), rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("loss", [Rounding(), RoundingDecision(), QuantileCrossing()], ids=repr)
def test_a_loss_of_one_tensor_needs_no_target_and_looks_at_none(loss: Loss) -> None:
    input = torch.tensor([[0.3, 0.2], [0.9, 1.0]])
    assert loss(input) == loss(input, torch.full((2, 2), math.nan)) == loss(input, None)
    assert torch.equal(loss.statistics(input), loss.statistics(input, torch.zeros(7)))


def test_a_term_of_one_tensor_takes_it_by_the_name_of_its_keyword() -> None:
    layer = torch.nn.Linear(3, 1)
    terms = {"fit": MAE(), "grid": Term(Rounding(scale=0.5), weight=0.1, inputs=("weight",))}
    input, target = torch.ones(4, 1), torch.zeros(4, 1)
    total = LossModule(terms)(input=input, target=target, weight=layer.weight)
    torch.testing.assert_close(total, 1 + 0.1 * Rounding(scale=0.5)(layer.weight))
    total.backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("loss", RESIDUAL, ids=repr)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_target_that_is_no_number_is_an_error_unless_it_is_masked(loss: Loss, value: float) -> None:
    input, target = torch.zeros(2), torch.tensor([1.0, value])
    with pytest.raises(ValueError, match=r"`target` must be finite everywhere it is not masked, found"):
        loss(input, target)
    assert loss(input, target, mask=torch.tensor([True, False])).isfinite()


@pytest.mark.parametrize("loss", RESIDUAL, ids=repr)
def test_integer_truths_are_numbers(loss: Loss) -> None:
    input, target = torch.tensor([0.5, 2.0, 3.0]), torch.tensor([1, 2, 5])
    assert loss(input, target) == loss(input, target.float())
    assert torch.equal(loss.statistics(input, target), loss.statistics(input, target.float()))


@pytest.mark.parametrize("loss", [*RESIDUAL, AdaptiveWing()], ids=repr)
def test_shapes_are_not_broadcast(loss: Loss) -> None:
    with pytest.raises(ValueError, match=re.escape("`input` must be of the shape (4,) of `target`, found (4, 1)")):
        loss(torch.zeros(4, 1), torch.zeros(4))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Huber(delta=0.0), ValueError, "`delta` must be above 0, found 0.0"),
        (lambda: BerHu(threshold=0.0), ValueError, "`threshold` must be above 0, found 0.0"),
        (lambda: BerHu(decay=1.0), ValueError, "`decay` must be at least 0 and below 1, found 1.0"),
        (lambda: BerHu(threshold=1.0, decay=0.9), ValueError, "`decay` must be None where `threshold` is fixed"),
        (lambda: Quantile(quantiles=1.0), ValueError, "`quantiles` must be above 0 and below 1, found 1.0"),
        (lambda: Quantile(quantiles=[0.5, 0.0]), ValueError, "`quantiles` must be above 0 and below 1, found 0.0"),
        (lambda: Quantile(quantiles=[0.9, 0.1]), ValueError, "`quantiles` must be one or more increasing numbers"),
        (lambda: Quantile(quantiles=[]), ValueError, "`quantiles` must be one or more increasing numbers, found []"),
        (lambda: Quantile(quantiles="0.5"), TypeError, "`quantiles` must be a number"),
        (lambda: Wing(width=0.0), ValueError, "`width` must be above 0, found 0.0"),
        (lambda: Wing(epsilon=-1.0), ValueError, "`epsilon` must be above 0, found -1.0"),
        (lambda: AdaptiveWing(omega=0.0), ValueError, "`omega` must be above 0, found 0.0"),
        (lambda: AdaptiveWing(theta=0.0), ValueError, "`theta` must be above 0, found 0.0"),
        (lambda: AdaptiveWing(epsilon=0.0), ValueError, "`epsilon` must be above 0, found 0.0"),
        (lambda: AdaptiveWing(alpha=2.0), ValueError, "`alpha` must be above 2, found 2.0"),
        (lambda: Rounding(shape="sin"), ValueError, "`shape` must be one of 'absolute', 'square', 'sine', found 'sin'"),
        (lambda: Rounding(scale=0.0), ValueError, "`scale` must be above 0, found 0.0"),
        (lambda: RoundingDecision(beta=1.5), ValueError, "`beta` must be at least 2, found 1.5"),
    ],
)
def test_hyperparameters(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("loss", "arguments", "message"),
    [
        (Quantile(quantiles=[0.1, 0.9]), (torch.zeros(4, 3), torch.zeros(4)), "here (4, 2)"),
        (Quantile(quantiles=[0.1, 0.9]), (torch.zeros(4, 5, 2), torch.zeros(4, 5)), "here (4, 2, 5)"),
        (Quantile(quantiles=[0.1, 0.9]), (torch.zeros(2), torch.tensor(0.0)), "`input` must be of the shape [N, Q, *]"),
        (QuantileCrossing(), (torch.zeros(4, 1),), "`input` must be of shape [N, Q, *] with at least 2 quantiles"),
        (AdaptiveWing(), (torch.zeros(2), torch.tensor([0.0, 2.5])), "`target` must be in [0, 1], found '0..2.5'"),
        (AdaptiveWing(), (torch.zeros(1), torch.tensor([math.nan])), "`target` must be finite"),
        (RoundingDecision(), (torch.tensor([-0.5, 1.5]),), "`input` must be in [0, 1], found '-0.5..1.5'"),
    ],
)
def test_inputs(loss: Loss, arguments: tuple[Tensor, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        loss(*arguments)
