"""Bugs that other implementations of these losses have, or had."""

import math

import pytest
import torch
import torch.nn.functional as F

from lightning_losses.functional import giou_loss
from lightning_losses.losses import (
    MSE,
    BCEWithLogits,
    CrossEntropy,
    Dice,
    DiceCE,
    GIoU,
    SigmoidFocal,
    SmoothL1,
    SoftmaxFocal,
)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 0.9, 1.5])
@pytest.mark.parametrize("logit", [0.0, 50.0, 200.0])
def test_focal_gradients_are_finite_where_the_power_of_a_vanishing_number_has_none(gamma: float, logit: float) -> None:
    for loss, input, target in (
        (SigmoidFocal(gamma=gamma), torch.tensor([logit, -logit]), torch.tensor([1, 0])),
        (SoftmaxFocal(gamma=gamma), torch.tensor([[logit, 0.0]]), torch.tensor([0])),
    ):
        input.requires_grad_()
        (first,) = torch.autograd.grad(loss(input, target), input, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), input)
        assert first.isfinite().all()
        assert second.isfinite().all()


def test_focal_of_many_classes_is_not_divided_by_their_number() -> None:
    assert float(SoftmaxFocal(gamma=2.0)(torch.zeros(2, 4, 3), torch.zeros(2, 3, dtype=torch.long))) == pytest.approx(
        0.75**2 * math.log(4)
    )


def test_focal_without_focusing_is_cross_entropy(generator) -> None:
    input, target = torch.randn(8, 5, generator=generator) * 20, torch.arange(8) % 5
    torch.testing.assert_close(SoftmaxFocal(gamma=0.0)(input, target), F.cross_entropy(input, target))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("loss", [Dice(), DiceCE(ce_weight=0.0)], ids=repr)
def test_dice_of_a_large_image_is_exact_in_any_precision(loss, dtype: torch.dtype) -> None:
    """Sums over 2^18 pixels overflow in float16, and in float32 they drift by a percent when added one by one."""
    logits = torch.zeros(1, 2, 512, 512, dtype=dtype)
    logits[:, 1] = math.log(9)  # probabilities .1 and .9
    target = torch.ones(1, 512, 512, dtype=torch.long)
    assert float(loss(logits, target)) == pytest.approx(float(loss(logits.double(), target)), abs=1e-6)
    assert float(loss(logits, target)) == pytest.approx(1 - 2 * 0.9 / 1.9, abs=1e-3)


def test_dice_leaves_out_absent_classes_and_no_more() -> None:
    """Wrong everywhere with two of four classes present is 1; a zero for each absent class would make it 1/2."""
    target = torch.tensor([[0, 0, 1, 1]])
    wrong = F.one_hot(1 - target, 4).movedim(-1, 1) * 100.0
    right = F.one_hot(target, 4).movedim(-1, 1) * 100.0
    assert Dice()(wrong, target) == 1
    assert Dice()(right, target) == 0
    assert float(Dice(score_absent=True, smoothing=1.0)(right, target)) == pytest.approx(0)


def test_dice_of_absent_classes_has_a_gradient_against_false_positives_if_asked_to() -> None:
    target = torch.zeros(1, 16, dtype=torch.long)
    logits = torch.zeros(1, 2, 16, requires_grad=True)
    loss = Dice(score_absent=True, smoothing=8.0)
    (gradient,) = torch.autograd.grad(loss.parts(logits, target, None, None).values[1], logits)
    assert (gradient[:, 1] > 1e-3).all()


def test_dice_of_the_batch_is_not_the_mean_over_images() -> None:
    target = torch.tensor([[0, 0, 0, 1], [1, 1, 1, 1]])
    logits = torch.zeros(2, 2, 4)
    assert float(Dice()(logits, target)) == pytest.approx((1 - 2 * 1.5 / (4 + 3) + 1 - 2 * 2.5 / (4 + 5)) / 2)
    per_image = [1 - 2 * 1.5 / (2 + 3), 1 - 2 * 0.5 / (2 + 1), 1 - 2 * 2 / (2 + 4)]  # the second has no class 0
    assert float(Dice(per_image=True)(logits, target)) == pytest.approx(sum(per_image) / 3)


def test_dice_ignores_the_predictions_at_ignored_pixels_too() -> None:
    target = torch.tensor([[0, 1, 255, 255]])
    logits = F.one_hot(torch.tensor([[0, 1, 0, 0]]), 2).movedim(-1, 1) * 100.0
    assert Dice(ignore_index=255)(logits, target) == 0


@pytest.mark.parametrize("options", [{}, {"ignore_index": 1}, {"class_weight": [1.0, 2.0, 3.0]}], ids=str)
def test_dice_ce_is_dice_and_cross_entropy(options: dict, generator) -> None:
    input = torch.randn(2, 3, 5, 5, generator=generator)
    target = torch.randint(0, 3, (2, 5, 5), generator=generator)
    apart = 0.3 * Dice(**options)(input, target) + 0.7 * CrossEntropy(**options)(input, target)
    torch.testing.assert_close(DiceCE(dice_weight=0.3, ce_weight=0.7, **options)(input, target), apart)


POINT, LINE, SQUARE = [1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 2.0, 1.0], [0.0, 0.0, 2.0, 2.0]
INVERTED = [2.0, 2.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("input", "target", "value"),
    [
        (POINT, POINT, 0.0),
        (LINE, LINE, 0.0),
        (SQUARE, SQUARE, 0.0),
        (POINT, LINE, 2.0),
        (POINT, SQUARE, 1.0),
        (LINE, SQUARE, 1.0),
        (SQUARE, LINE, 1.0),
        (INVERTED, SQUARE, 1.0),
    ],
)
def test_giou_without_area_is_finite_with_finite_derivatives(input: list, target: list, value: float) -> None:
    boxes = torch.tensor(input, requires_grad=True)
    loss = GIoU()(boxes, torch.tensor(target))
    (first,) = torch.autograd.grad(loss, boxes, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), boxes, materialize_grads=True)
    assert loss == value
    assert first.isfinite().all()
    assert second.isfinite().all()


@pytest.mark.parametrize("size", [10.0**-k for k in range(2, 30, 3)])
def test_giou_of_vanishing_boxes_has_no_derivative_that_overflows(size: float) -> None:
    boxes = torch.tensor([0.0, 0.0, size, 1.2 * size], requires_grad=True)
    (first,) = torch.autograd.grad(GIoU()(boxes, torch.tensor([0.0, 0.0, 1.1 * size, size])), boxes, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), boxes, materialize_grads=True)
    assert first.isfinite().all()
    assert second.isfinite().all()


def test_giou_does_not_hide_a_nan() -> None:
    assert giou_loss(torch.full((1, 4), math.nan), torch.tensor([SQUARE])).isnan().all()


def test_giou_has_a_gradient_where_the_boxes_do_not_meet() -> None:
    boxes = torch.tensor([5.0, 5.0, 6.0, 6.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(GIoU()(boxes, torch.tensor(SQUARE)), boxes)
    assert (gradient[:2] + gradient[2:] > 0).all()  # to shift it towards the origin lowers the loss


@pytest.mark.parametrize("loss", [CrossEntropy(ignore_index=-1), SoftmaxFocal(ignore_index=-1)], ids=repr)
def test_an_all_ignored_batch_is_zero_and_not_nan(loss) -> None:
    assert loss(torch.zeros(2, 3), torch.tensor([-1, -1])) == 0


def test_weighted_cross_entropy_equals_that_of_torch(generator) -> None:
    input, target = torch.randn(9, 3, generator=generator), torch.arange(9) % 3
    weight = torch.tensor([0.5, 1.0, 3.0])
    ours = CrossEntropy(class_weight=weight, label_smoothing=0.2, ignore_index=1)(input, target)
    theirs = F.cross_entropy(input, target, weight, label_smoothing=0.2, ignore_index=1)
    torch.testing.assert_close(ours, theirs)


def test_certain_distributions_are_worth_what_the_labels_are(generator) -> None:
    """In torch the two have different means as soon as there are class weights."""
    input, target = torch.randn(9, 3, generator=generator), torch.arange(9) % 3 // 2
    loss = CrossEntropy(class_weight=[0.5, 1.0, 3.0], label_smoothing=0.1)
    torch.testing.assert_close(loss(input, F.one_hot(target, 3).float()), loss(input, target))


def test_the_loss_of_a_confident_mistake_is_not_capped() -> None:
    assert BCEWithLogits()(torch.tensor([-1e4]), torch.tensor([1.0])) == 1e4
    assert CrossEntropy()(torch.tensor([[1e4, 0.0]]), torch.tensor([1])) == 1e4


def test_a_residual_of_300_does_not_overflow_in_float16() -> None:
    assert MSE()(torch.tensor([300.0], dtype=torch.float16), torch.tensor([0.0])) == 90_000


def test_smooth_l1_with_beta_0_is_the_absolute_error() -> None:
    assert SmoothL1(beta=0.0)(torch.tensor([3.0]), torch.tensor([1.0])) == 2
