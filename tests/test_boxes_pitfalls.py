"""Bugs that other losses of boxes have or had, and what is no box."""

import math
import re

import pytest
import torch
from torch import Tensor

from lightning_losses.functional import ciou_loss, cxcywh_to_xyxy, diou_loss, giou_loss, iou_loss
from lightning_losses.losses import CIoU, DIoU, GIoU, IoU

FORMULAS = [iou_loss, giou_loss, diou_loss, ciou_loss]
LOSSES = [IoU, GIoU, DIoU, CIoU]

POINT, LINE, SQUARE = [1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 2.0, 1.0], [0.0, 0.0, 2.0, 2.0]
UPRIGHT, INVERTED, HALF_INVERTED = [1.0, 0.0, 1.0, 2.0], [2.0, 2.0, 0.0, 0.0], [2.0, 0.0, 0.0, 2.0]


def derivatives(formula, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    input = input.clone().requires_grad_()
    value = formula(input, target)
    (first,) = torch.autograd.grad(value.sum(), input, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum() + 0 * value.sum(), input)
    return value.detach(), first.detach(), second


@pytest.mark.parametrize("formula", FORMULAS)
def test_boxes_without_area_have_finite_derivatives(formula) -> None:
    kinds = [POINT, LINE, UPRIGHT, SQUARE, INVERTED, HALF_INVERTED, [0.0] * 4]
    pairs = torch.tensor([(i, t) for i in kinds for t in kinds if t not in (INVERTED, HALF_INVERTED)])
    for result in derivatives(formula, *pairs.unbind(1)):
        assert result.isfinite().all()


@pytest.mark.parametrize("formula", FORMULAS)
def test_equal_boxes_are_worth_0_even_without_area(formula) -> None:
    boxes = torch.tensor([POINT, LINE, UPRIGHT, SQUARE, [0.0] * 4])
    assert torch.equal(formula(boxes, boxes), torch.zeros(5))


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("size", [10.0**-k for k in range(2, 30, 3)])
def test_vanishing_boxes_have_no_derivative_that_overflows(formula, size: float) -> None:
    input, target = torch.tensor([0.0, 0.0, size, 1.2 * size]), torch.tensor([0.0, 0.0, 1.1 * size, size])
    large = torch.tensor([0.0, 0.0, 1.0, 1.0])
    for other in (target, large):
        for result in derivatives(formula, input, other)[:2]:
            assert result.isfinite().all()
        curvature = torch.autograd.functional.hessian(lambda boxes, other=other: formula(boxes, other), input)
        assert curvature.isfinite().all()


@pytest.mark.parametrize("formula", [diou_loss, ciou_loss])
def test_an_inverted_prediction_stays_inside_the_bounds_and_is_pulled(formula) -> None:
    """The box around near and far corners alone would not hold its centre: 6 and more is what comes of that."""
    target = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    value, gradient, _ = derivatives(formula, torch.tensor([10.0, 10.0, 0.0, 0.0]), target)
    assert value < 2
    assert (gradient[:2] + gradient[2:] > 0).all()


@pytest.mark.parametrize("formula", [giou_loss, diou_loss, ciou_loss])
def test_boxes_that_do_not_meet_are_pulled_towards_each_other(formula) -> None:
    _, gradient, _ = derivatives(formula, torch.tensor([5.0, 5.0, 6.0, 6.0]), torch.tensor(SQUARE))
    assert (gradient[:2] + gradient[2:] > 0).all()


def test_ciou_comes_near_its_supremum_and_not_nearer_to_any_other() -> None:
    far = torch.tensor([1e6, 0.0, 1e6 + 1, 1e-6], dtype=torch.float64)
    assert 2.4999 < ciou_loss(far, torch.tensor([0.0, 0.0, 1e-6, 1.0], dtype=torch.float64)) < 2.5


def test_ciou_has_the_gradient_of_its_value_and_not_that_of_a_constant_factor(generator) -> None:
    input = torch.tensor([0.0, 0.0, 3.0, 1.0], dtype=torch.float64)
    target = torch.tensor([0.2, 0.1, 1.3, 2.0], dtype=torch.float64)
    _, gradient, _ = derivatives(ciou_loss, input, target)
    steps = 1e-6 * torch.eye(4, dtype=torch.float64)
    slopes = (ciou_loss(input + steps, target.expand(4, 4)) - ciou_loss(input - steps, target.expand(4, 4))) / 2e-6
    torch.testing.assert_close(gradient, slopes, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("size", [1e-7, 1e-5, 1e-3])
def test_ciou_near_a_perfect_box_is_smooth_where_its_factor_is_0_by_0(size: float) -> None:
    target = torch.tensor(SQUARE)
    for result in derivatives(ciou_loss, target + size * torch.tensor([0.0, 0.0, 1.0, -1.0]), target):
        assert result.isfinite().all()
        assert result.abs().max() < 10


@pytest.mark.parametrize("name", ["generalized", "distance", "complete"])
def test_ordinary_boxes_are_worth_what_torchvision_says_and_flat_ones_have_its_nan_no_more(
    name: str, generator
) -> None:
    ops = pytest.importorskip("torchvision.ops")
    ours, theirs = {
        "generalized": (giou_loss, ops.generalized_box_iou_loss),
        "distance": (diou_loss, ops.distance_box_iou_loss),
        "complete": (ciou_loss, ops.complete_box_iou_loss),
    }[name]
    near = torch.rand(2, 50, 2, generator=generator) * 3
    input, target = torch.cat([near, near + 0.5 + torch.rand(near.shape, generator=generator)], -1)
    torch.testing.assert_close(ours(input, target), theirs(input, target), atol=1e-5, rtol=1e-5)

    flat = torch.tensor([LINE])
    _, gradient, _ = derivatives(ours, flat, torch.tensor([SQUARE]))
    assert gradient.isfinite().all()
    if name == "complete":
        flat.requires_grad_()
        assert torch.autograd.grad(theirs(flat, torch.tensor([SQUARE])).sum(), flat)[0].isnan().any()


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_nan_is_not_hidden(formula) -> None:
    assert formula(torch.full((1, 4), math.nan), torch.tensor([SQUARE])).isnan().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_the_formats_are_worth_the_same(loss, generator) -> None:
    input, target = torch.rand(2, 20, 4, generator=generator)
    expected = loss()(cxcywh_to_xyxy(input), cxcywh_to_xyxy(target))
    torch.testing.assert_close(loss(format="cxcywh")(input, target), expected)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("format", ["xyxy", "cxcywh"])
def test_a_truth_that_is_no_box_is_named(loss, format: str) -> None:
    rules = {"xyxy": "(x1, y1, x2, y2) with x1 <= x2 and y1 <= y2", "cxcywh": "(cx, cy, w, h) with w >= 0 and h >= 0"}
    for wrong in ([0.0, 0.0, 1.0, -1.0], [0.0, 0.0, math.nan, 1.0], [0.0, 0.0, math.inf, 1.0]):
        with pytest.raises(ValueError, match=re.escape(f"`target` must be boxes {rules[format]}, found {wrong}")):
            loss(format=format)(torch.zeros(2, 4), torch.tensor([[0.0, 0.0, 1.0, 1.0], wrong]))


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(ValueError, match=re.escape("`format` must be one of 'xyxy', 'cxcywh', found 'xywh'")):
        IoU(format="xywh")
