"""Bugs that other losses of segmentation have or had, and what is no input to ours."""

import math
import re

import pytest
import torch
from torch import Tensor

from lightning_losses.losses import (
    Boundary,
    Dice,
    FocalTversky,
    GeneralizedDice,
    LovaszHinge,
    LovaszSoftmax,
    Tversky,
)

OVERLAPS = [Tversky(), FocalTversky(), GeneralizedDice(), LovaszSoftmax()]
SURE = 40.0


def sure(labels: Tensor, classes: int) -> Tensor:
    """Logits that leave no doubt."""
    return torch.nn.functional.one_hot(labels, classes).movedim(-1, 1) * SURE


def derivatives(loss, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    input = input.clone().requires_grad_()
    (first,) = torch.autograd.grad(loss(input, target), input, create_graph=True)
    return first, torch.autograd.grad(first.square().sum(), input)[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("loss", OVERLAPS, ids=repr)
def test_a_large_image_is_exact_in_any_precision(loss, dtype: torch.dtype, generator) -> None:
    """Sums over 2^18 pixels overflow in float16, and packages that sort in it end in an error."""
    logits = torch.randn(1, 2, 512, 512, generator=generator).to(dtype)
    target = torch.randint(0, 2, (1, 512, 512), generator=generator)
    assert float(loss(logits, target)) == pytest.approx(float(loss(logits.double(), target)), abs=1e-6)


@pytest.mark.parametrize("loss", OVERLAPS, ids=repr)
def test_an_absent_class_is_left_out(loss) -> None:
    """Wrong everywhere with two of four classes present is 1; a zero for each absent class would make it 1/2."""
    target = torch.arange(2).expand(3, 2)
    assert float(loss(sure(1 - target, 4), target)) == pytest.approx(1)


@pytest.mark.parametrize("loss", OVERLAPS, ids=repr)
def test_what_is_wrong_in_an_ignored_pixel_costs_nothing(loss) -> None:
    loss = type(loss)(ignore_index=255)
    labels = torch.tensor([[0, 1, 1, 0]])
    target = torch.tensor([[0, 1, 1, 255]])
    assert float(loss(sure(labels, 2), target)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("loss", [*OVERLAPS, FocalTversky(gamma=3.0)], ids=repr)
@pytest.mark.parametrize("certainty", [1.0, 8.0, 20.0, SURE, 200.0])
def test_derivatives_are_finite_all_the_way_to_a_perfect_overlap(loss, certainty: float) -> None:
    """The slope of a power below 1 is infinite at 0."""
    target = torch.tensor([[0, 1, 2, 1]])
    for derivative in derivatives(loss, sure(target, 3) * (certainty / SURE), target):
        assert derivative.isfinite().all()


def test_tversky_of_equal_costs_is_dice_and_focal_tversky_of_gamma_1_is_tversky(generator) -> None:
    input, target = torch.randn(2, 3, 9, generator=generator), torch.randint(0, 3, (2, 9), generator=generator)
    torch.testing.assert_close(
        Tversky(alpha=0.5, beta=0.5, smoothing=1.0)(input, target), Dice(smoothing=2.0)(input, target)
    )
    torch.testing.assert_close(FocalTversky(gamma=1.0)(input, target), Tversky()(input, target))


def test_alpha_is_the_cost_of_false_positives_and_beta_that_of_misses() -> None:
    foreground = {"include_background": False}
    target = torch.tensor([[1, 1, 0, 0]])
    too_many, too_few = sure(torch.tensor([[1, 1, 1, 0]]), 2), sure(torch.tensor([[1, 0, 0, 0]]), 2)
    assert float(Tversky(alpha=0.3, beta=0.7, **foreground)(too_many, target)) == pytest.approx(0.3 / 2.3)
    assert float(Tversky(alpha=0.3, beta=0.7, **foreground)(too_few, target)) == pytest.approx(0.7 / 1.7)


def test_generalized_dice_sees_a_rare_class_as_well_as_a_common_one() -> None:
    target = torch.zeros(1, 1000, dtype=torch.long)
    target[0, 0] = 1
    missed = sure(torch.zeros_like(target), 2)
    assert GeneralizedDice()(missed, target) > 0.99
    assert GeneralizedDice(smoothing=100.0)(missed, target) < 0.1


@pytest.mark.parametrize("per_image", [False, True])
def test_lovasz_of_certain_predictions_is_the_jaccard_loss(per_image: bool, generator) -> None:
    labels, target = torch.randint(0, 3, (2, 2, 50), generator=generator)
    groups = range(2) if per_image else [slice(None)]
    losses = []
    for group in groups:
        for c in range(3):
            true, found = target[group] == c, labels[group] == c
            losses.append(1 - (true & found).sum() / (true | found).sum())
    loss = LovaszSoftmax(per_image=per_image)
    torch.testing.assert_close(loss(sure(labels, 3), target), torch.stack(losses).mean())


def test_the_steps_of_a_million_pixels_do_not_drown_in_rounding(generator) -> None:
    """Each is the difference of two float32 numbers near 1, of which it would keep no more than a digit."""
    logits = torch.randn(1, 2, 1024, 1024, generator=generator)
    target = torch.randint(0, 2, (1, 1024, 1024), generator=generator)
    wide, narrow = logits.double().requires_grad_(), logits.requires_grad_()
    for input in (narrow, wide):
        LovaszSoftmax()(input, target).backward()
    torch.testing.assert_close(narrow.grad.double(), wide.grad, rtol=1e-3, atol=1e-12)


def test_lovasz_hinge_without_a_true_pixel_is_the_largest_error() -> None:
    loss = LovaszHinge(ignore_index=255)
    assert float(loss(torch.tensor([[0.5, -3.0, 9.0]]), torch.tensor([[0, 0, 255]]))) == 1.5


def test_boundary_costs_what_is_wrong_by_its_distance() -> None:
    distances = torch.tensor([-2.0, -1.0, 1.0, 2.0, 3.0])  # the true region is the two pixels on the left
    phi = torch.stack([-distances, distances]).unsqueeze(0)
    near, far = torch.tensor([[1, 1, 1, 0, 0]]), torch.tensor([[1, 1, 0, 0, 1]])
    assert float(Boundary()(sure(far, 2), phi) - Boundary()(sure(near, 2), phi)) == pytest.approx(2 * (3 - 1) / 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tversky(alpha=-0.1), "`alpha` must be at least 0, found -0.1"),
        (lambda: Tversky(beta=0.0), "`beta` must be above 0, found 0.0"),
        (lambda: Tversky(score_absent=True), "`smoothing` must be above 0 where absent classes are scored"),
        (lambda: FocalTversky(gamma=0.0), "`gamma` must be above 0, found 0.0"),
        (lambda: GeneralizedDice(smoothing=-1.0), "`smoothing` must be at least 0, found -1.0"),
        (lambda: LovaszSoftmax(reduction="average"), "`reduction` must be one of 'mean', 'sum', 'none'"),
    ],
)
def test_hyperparameters(make, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


@pytest.mark.parametrize("loss", OVERLAPS, ids=repr)
def test_labels(loss) -> None:
    logits = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match=re.escape("`target` must be class indices in 0..2, found '3..3'")):
        loss(logits, torch.full((2, 4), 3))
    with pytest.raises(TypeError, match=re.escape("`target` must be class indices of an integer dtype")):
        loss(logits, torch.zeros(2, 4))
    with pytest.raises(ValueError, match=re.escape("(2, 4) of `input` without its class axis")):
        loss(logits, torch.zeros(2, 5, dtype=torch.long))


def test_a_region_is_of_zeros_and_ones() -> None:
    with pytest.raises(ValueError, match=re.escape("`target` must be 0 or 1 everywhere, found 2")):
        LovaszHinge()(torch.zeros(1, 2), torch.tensor([[0, 2]]))
    with pytest.raises(ValueError, match=re.escape("`input` must be of the shape (2,) of `target`, found (1, 2)")):
        LovaszHinge()(torch.zeros(1, 2), torch.tensor([0, 1]))


def test_distances_are_finite_numbers_and_no_labels() -> None:
    with pytest.raises(
        TypeError, match=re.escape("`target` must be signed distances of a floating dtype, found torch.int64")
    ):
        Boundary()(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3, dtype=torch.long))
    with pytest.raises(ValueError, match=re.escape("`target` must be of the shape (1, 2, 3) of `input`, found (1, 3)")):
        Boundary()(torch.zeros(1, 2, 3), torch.zeros(1, 3))
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError, match="`target` must be finite"):
            Boundary()(torch.zeros(1, 2, 3), torch.full((1, 2, 3), wrong))


def test_a_class_weight_of_the_wrong_length_is_named() -> None:
    for loss in (Tversky, FocalTversky, GeneralizedDice):
        with pytest.raises(ValueError, match=re.escape("`class_weight` must be 2 numbers, one per class, found (1,)")):
            loss(class_weight=[1.0])(torch.zeros(1, 2), torch.tensor([0]))
