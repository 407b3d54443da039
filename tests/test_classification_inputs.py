"""Inputs and hyperparameters that losses of classification refuse, or warn about."""

import math
import re
import warnings

import pytest
import torch
from torch import Tensor

from lightning_losses.losses import (
    CORAL,
    CORN,
    Asymmetric,
    BCEWithLogits,
    CostSensitive,
    CrossEntropy,
    Distillation,
    Hinge,
    JensenShannon,
    KLDivergence,
    Loss,
    MultiMargin,
    SigmoidFocal,
    SoftmaxFocal,
    SquaredHinge,
    SymmetricKL,
)

SOFTMAX_TAKERS = [
    (CrossEntropy, torch.tensor([0, 1])),
    (SoftmaxFocal, torch.tensor([0, 1])),
    (lambda: CostSensitive(cost_matrix=1 - torch.eye(3)), torch.tensor([0, 1])),
    (KLDivergence, torch.full((2, 3), 1 / 3)),
    (JensenShannon, torch.full((2, 3), 1 / 3)),
    (SymmetricKL, torch.zeros(2, 3)),
    (Distillation, torch.zeros(2, 3)),
]
PROBABILITIES = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize(("make", "target"), SOFTMAX_TAKERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_probabilities_where_logits_are_due_are_warned_about_once(make, target: Tensor, dtype: torch.dtype) -> None:
    loss, input = make(), PROBABILITIES.to(dtype)
    with pytest.warns(UserWarning, match="`input` must be logits, but looks like probabilities"):
        loss(input, target)
    with warnings.catch_warnings(action="error"):
        loss(input, target)


@pytest.mark.parametrize(
    "input",
    [
        torch.zeros(2, 3),
        torch.eye(3)[:2] * 40,
        PROBABILITIES + 0.01,
        torch.cat([PROBABILITIES[:1], torch.zeros(1, 3)]),
        PROBABILITIES - PROBABILITIES.mean(),
        PROBABILITIES.log(),
        PROBABILITIES.to("meta"),
    ],
)
def test_logits_are_not_taken_for_probabilities(input: Tensor) -> None:
    with warnings.catch_warnings(action="error"):
        CrossEntropy()(input, torch.tensor([0, 1], device=input.device))


def test_one_class_and_later_batches_are_not_looked_at() -> None:
    loss = CrossEntropy()
    with warnings.catch_warnings(action="error"):
        for _ in range(5):
            loss(torch.ones(2, 1), torch.tensor([0, 0]))
            loss(torch.zeros(2, 3), torch.tensor([0, 1]))
        loss(PROBABILITIES, torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Asymmetric(gamma_positive=-1.0), ValueError, "`gamma_positive` must be at least 0, found -1.0"),
        (lambda: Asymmetric(gamma_negative=-1.0), ValueError, "`gamma_negative` must be at least 0, found -1.0"),
        (lambda: Asymmetric(clip=1.0), ValueError, "`clip` must be at least 0 and below 1, found 1.0"),
        (lambda: SigmoidFocal(alpha=[0.5, 1.5]), ValueError, "`alpha` must be at least 0 and at most 1, found 1.5"),
        (lambda: MultiMargin(margin=0.0), ValueError, "`margin` must be above 0, found 0.0"),
        (lambda: MultiMargin(power=3), ValueError, "`power` must be 1 or 2, found 3"),
        (lambda: CostSensitive(), ValueError, "`cost_matrix` must be given or else `false_negative_ratio`, not both"),
        (lambda: CostSensitive(cost_matrix=[[0.0]], false_negative_ratio=1.0), ValueError, "not both, found [[0.0]]"),
        (lambda: CostSensitive(cost_matrix=[[0.0, 1.0]]), ValueError, "`cost_matrix` must be square, found (1, 2)"),
        (lambda: CostSensitive(cost_matrix=[[-1.0]]), ValueError, "`cost_matrix` must be finite and at least 0"),
        (lambda: CostSensitive(cost_matrix=[[math.nan]]), ValueError, "`cost_matrix` must be finite and at least 0"),
        (lambda: CostSensitive(false_negative_ratio=0.0), ValueError, "`false_negative_ratio` must be above 0"),
        (lambda: CORAL(classes=1), ValueError, "`classes` must be at least 2, found 1"),
        (lambda: CORN(classes="5"), TypeError, "`classes` must be a number, found '5'"),
        (lambda: JensenShannon(share=1.0), ValueError, "`share` must be above 0 and below 1, found 1.0"),
        (lambda: Distillation(temperature=0.0), ValueError, "`temperature` must be above 0, found 0.0"),
    ],
)
def test_hyperparameters(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        make()


PAIR = torch.zeros(1, 2)
NAN = torch.tensor([[0.5, math.nan]])


@pytest.mark.parametrize(
    ("loss", "input", "target", "message"),
    [
        (Asymmetric(), torch.zeros(4, 1), torch.zeros(4), "`input` must be of the shape (4,) of `target`"),
        (Asymmetric(), PAIR, torch.tensor([[0.0, 0.5]]), "`target` must be 0 or 1 everywhere, found 0.5"),
        (Hinge(), PAIR, torch.tensor([[1, -1]]), "`target` must be 0 or 1 everywhere, found -1"),
        (SquaredHinge(), PAIR, torch.tensor([[1.0, -1.0]]), "`target` must be 0 or 1 everywhere, found -1.0"),
        (Hinge(), PAIR, NAN, "`target` must be 0 or 1 everywhere, found 0.5"),
        (MultiMargin(), PAIR, torch.tensor([2]), "`target` must be class indices in 0..1, found '2..2'"),
        (SigmoidFocal(alpha=[0.5]), PAIR, torch.zeros(1, 2), "`alpha` must be 2 numbers, one per class, found (1,)"),
        (SigmoidFocal(alpha=[0.5]), torch.zeros(2), torch.zeros(2), "`input` must be of shape [N, C, *], found (2,)"),
        (CrossEntropy(normalize=True), torch.zeros(1, 1), torch.tensor([0]), "`input` must be of at least 2 classes"),
        (CostSensitive(cost_matrix=[[0.0]]), PAIR, torch.tensor([0]), "`cost_matrix` must be 2 numbers, one per class"),
        (CORAL(classes=3), torch.zeros(1, 3), torch.tensor([0]), "`input` must be of shape [N, 2, *], one logit per"),
        (CORN(classes=3), torch.zeros(2), torch.tensor([0]), "threshold between 3 classes, found (2,)"),
        (CORN(classes=3), PAIR, torch.tensor([3]), "`target` must be class indices in 0..2, found '3..3'"),
        (BCEWithLogits(), PAIR, NAN, "`target` must be in [0, 1], found 'nan..nan'"),
        (SymmetricKL(), PAIR, NAN, "`target` must be finite"),
        (Distillation(), PAIR, torch.tensor([[0.0, math.inf]]), "`target` must be finite"),
        (Distillation(), PAIR, torch.zeros(1, 3), "`target` must be of the shape (1, 2) of `input`, found (1, 3)"),
    ],
    ids=repr,
)
def test_inputs(loss: Loss, input: Tensor, target: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        loss(input, target)


@pytest.mark.parametrize("loss", [CrossEntropy(), KLDivergence(), JensenShannon()], ids=repr)
@pytest.mark.parametrize(
    ("target", "message"),
    [
        (NAN, "`target` must be in [0, 1], found 'nan..nan'"),
        (torch.tensor([[2.0, -1.0]]), "`target` must be in [0, 1], found '-1..2'"),  # logits, say
        (torch.tensor([[1.0, 1.0]]), "`target` must be distributions that sum to 1 along axis 1, found 'a sum of 2'"),
        (torch.tensor([[0.1, 0.1]]), "`target` must be distributions that sum to 1 along axis 1, found 'a sum of 0.2'"),
        (torch.zeros(1, 3), "`target` must be of the shape (1, 2) of `input`, found (1, 3)"),
    ],
)
def test_distributions(loss: Loss, target: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        loss(PAIR, target)
    masked = loss(torch.zeros(2, 2), torch.cat([target[:, :2], PAIR + 0.5]), mask=torch.tensor([False, True]))
    assert masked == loss(PAIR, PAIR + 0.5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_distributions_may_sum_to_1_as_nearly_as_half_precision_can(dtype: torch.dtype, generator) -> None:
    target = (4 * torch.randn(1000, 50, generator=generator)).softmax(1).to(dtype)
    assert KLDivergence()(torch.zeros(1000, 50), target) > 0
