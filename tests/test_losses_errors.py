"""A wrong hyperparameter or input is an error that names it, the rule and what was found."""

import re

import pytest
import torch
from cases import CASES, Case

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


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: CrossEntropy(reduction="average"), ValueError, "`reduction` must be one of 'mean', 'sum', 'none'"),
        (lambda: CrossEntropy(label_smoothing=1.0), ValueError, "`label_smoothing` must be at least 0 and below 1"),
        (lambda: CrossEntropy(class_weight=[1.0, -2.0]), ValueError, "`class_weight` must be at least 0, found -2.0"),
        (lambda: CrossEntropy(class_weight=torch.tensor([torch.nan])), ValueError, "`class_weight` must be at least 0"),
        (lambda: CrossEntropy(class_weight=["a"]), TypeError, "`class_weight` must be a number, found 'a'"),
        (lambda: BCEWithLogits(pos_weight=0.0), ValueError, "`pos_weight` must be above 0, found 0.0"),
        (lambda: SigmoidFocal(alpha=1.5), ValueError, "`alpha` must be at least 0 and at most 1, found 1.5"),
        (lambda: SigmoidFocal(gamma=-1.0), ValueError, "`gamma` must be at least 0, found -1.0"),
        (lambda: SoftmaxFocal(gamma=-1.0), ValueError, "`gamma` must be at least 0, found -1.0"),
        (lambda: SoftmaxFocal(alpha=[-0.1, 1.0]), ValueError, "`alpha` must be at least 0, found -0.1"),
        (lambda: SmoothL1(beta=-0.5), ValueError, "`beta` must be at least 0, found -0.5"),
        (lambda: SmoothL1(beta="1"), TypeError, "`beta` must be a number, found '1'"),
        (lambda: Dice(smoothing=-1.0), ValueError, "`smoothing` must be at least 0, found -1.0"),
        (lambda: Dice(score_absent=True), ValueError, "`smoothing` must be above 0 where absent classes are scored"),
        (lambda: DiceCE(ce_weight=-1.0), ValueError, "`ce_weight` must be at least 0, found -1.0"),
    ],
)
def test_hyperparameters(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        make()


LABELLED = [CrossEntropy(), SoftmaxFocal(), Dice(), DiceCE()]
LOGITS = torch.zeros(2, 3, 4, 4)


@pytest.mark.parametrize("loss", LABELLED, ids=repr)
@pytest.mark.parametrize(
    ("input", "target", "error", "message"),
    [
        (LOGITS, torch.full((2, 4, 4), 3), ValueError, "`target` must be class indices in 0..2, found '3..3'"),
        (LOGITS, torch.full((2, 4, 4), -100), ValueError, "`target` must be class indices in 0..2, found '-100..-100'"),
        (LOGITS, torch.zeros(2, 4, 4), TypeError, "`target` must be class indices of an integer dtype"),
        (LOGITS, torch.zeros(2, 4, 4, dtype=torch.bool), TypeError, "of an integer dtype, found torch.bool"),
        (LOGITS, torch.zeros(2, 1, 4, 4, dtype=torch.long), ValueError, "(2, 4, 4) of `input` without its class axis"),
        (LOGITS, torch.zeros(3, 4, 4, dtype=torch.long), ValueError, "found (3, 4, 4)"),
        (
            torch.zeros(3),
            torch.zeros(3, dtype=torch.long),
            ValueError,
            "`input` must be of shape [N, C, *], found (3,)",
        ),
    ],
)
def test_labels(loss, input: torch.Tensor, target: torch.Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        loss(input, target)


@pytest.mark.parametrize("make", [CrossEntropy, SoftmaxFocal, Dice, DiceCE])
def test_an_ignored_label_may_be_outside_of_the_classes_and_others_may_not(make) -> None:
    loss = make(ignore_index=255)
    target = torch.zeros(2, 4, 4, dtype=torch.uint8)
    target[0, 0, 0] = 255
    loss(LOGITS, target)
    target[0, 0, 1] = 254
    with pytest.raises(ValueError, match=re.escape("class indices in 0..2, found '0..254'")):
        loss(LOGITS, target)


def test_an_ignored_label_of_minus_100_does_not_wrap_around_in_unsigned_labels() -> None:
    target = torch.tensor([156], dtype=torch.uint8)  # 156 is -100 modulo 256
    assert CrossEntropy(ignore_index=-100)(torch.zeros(1, 200), target) > 0


@pytest.mark.parametrize("loss", [MSE(), SmoothL1(), BCEWithLogits(), SigmoidFocal(), GIoU()], ids=repr)
def test_shapes_are_not_broadcast(loss) -> None:
    with pytest.raises(ValueError, match=re.escape("`input` must be of the shape (4,) of `target`, found (4, 1)")):
        loss(torch.zeros(4, 1), torch.zeros(4))


@pytest.mark.parametrize(
    ("loss", "input", "target", "message"),
    [
        (BCEWithLogits(), torch.zeros(2), torch.tensor([0.0, 2.0]), "`target` must be in [0, 1], found '0..2'"),
        (BCEWithLogits(), torch.zeros(2), torch.tensor([-1, 1]), "`target` must be in [0, 1], found '-1..1'"),
        (SigmoidFocal(), torch.zeros(2), torch.tensor([0.0, 0.5]), "`target` must be 0 or 1 everywhere, found 0.5"),
        (SigmoidFocal(), torch.zeros(2), torch.tensor([0, 255]), "`target` must be 0 or 1 everywhere, found 255"),
        (
            CrossEntropy(),
            torch.zeros(1, 2),
            torch.tensor([[1.5, -0.5]]),
            "`target` must be in [0, 1], found '-0.5..1.5'",
        ),
        (CrossEntropy(), torch.zeros(1, 2), torch.tensor([[1.0]]), "`target` must be of the shape (1, 2) of `input`"),
        (CrossEntropy(class_weight=[1.0]), torch.zeros(1, 2), torch.tensor([0]), "`class_weight` must be 2 numbers"),
        (SoftmaxFocal(alpha=[1.0]), torch.zeros(1, 2), torch.tensor([0]), "`alpha` must be 2 numbers, one per class"),
        (Dice(class_weight=[1.0]), torch.zeros(1, 2), torch.tensor([0]), "`class_weight` must be 2 numbers"),
        (GIoU(), torch.zeros(2, 5), torch.zeros(2, 5), "`input` must be of shape [*, 4], found (2, 5)"),
        (
            GIoU(),
            torch.zeros(2, 4),
            torch.tensor([[0.0, 0, 1, 1], [2, 0, 1, 1]]),
            "boxes (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, found [2.0, 0.0, 1.0, 1.0]",
        ),
    ],
)
def test_values_and_shapes(loss, input: torch.Tensor, target: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        loss(input, target)


@pytest.mark.parametrize("case", CASES)
def test_a_weight_or_mask_that_would_multiply_the_elements_is_an_error(case: Case, generator) -> None:
    input, target = case.inputs(generator, 4)
    shape = (2, *case.elements(target))
    rule = "broadcastable to the shape .* of the elements" if case.weighable else "None"
    with pytest.raises(ValueError, match=rf"`weight` must be {rule}"):
        case.loss()(input, target, weight=torch.ones(shape))
    with pytest.raises(ValueError, match=r"`mask` must be broadcastable to the shape .* of the elements, found \(2, "):
        case.loss()(input, target, mask=torch.ones(shape, dtype=torch.bool))
    with pytest.raises(TypeError, match=r"`mask` must be boolean, found torch.float32"):
        case.loss()(input, target, mask=torch.ones(case.elements(target)))


@pytest.mark.parametrize("loss", LABELLED, ids=repr)
def test_labels_on_another_device_are_not_looked_at(loss) -> None:
    """A look at an accelerator's values would stop the host; on the meta device it would raise."""
    assert loss(LOGITS.to("meta"), torch.zeros(2, 4, 4, dtype=torch.long, device="meta")).is_meta
