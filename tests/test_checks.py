"""Errors name the parameter, the rule, the value found and the nearest right name."""

import math
import re

import pytest
import torch

from lightning_losses.checks import check_choice, check_labels, check_number, check_same_shape, message, nearest


def test_a_message_is_a_sentence() -> None:
    assert message("gamma", "at least 0", -1) == "`gamma` must be at least 0, found -1."


@pytest.mark.parametrize(
    ("name", "allowed", "hint"),
    [
        ("wieght", ["weight", "loss"], "Did you mean 'weight'?"),
        ("DICE", ["Dice", "MSE"], "Did you mean 'Dice'?"),
        ("zzz", ["b", "a", "b"], "Choose from 'a', 'b'."),
        ("zzz", [], "There is none to choose from."),
    ],
)
def test_the_nearest_name_is_offered(name: str, allowed: list[str], hint: str) -> None:
    assert nearest(name, allowed) == hint


@pytest.mark.parametrize(
    ("value", "limits", "rule"),
    [
        (-1, {"at_least": 0}, "at least 0"),
        (0, {"above": 0}, "above 0"),
        (2.0, {"at_least": 0, "at_most": 1}, "at least 0 and at most 1"),
        (1.0, {"at_least": 0, "below": 1}, "at least 0 and below 1"),
        (math.nan, {}, "finite"),
        (math.inf, {"at_least": 0}, "at least 0"),
    ],
)
def test_a_number_outside_of_its_limits(value: float, limits: dict[str, float], rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"`p` must be {rule}, found {value!r}.")):
        check_number("p", value, **limits)


@pytest.mark.parametrize(("value", "limits"), [(0, {"at_least": 0}), (1, {"at_most": 1}), (0.5, {"above": 0})])
def test_a_number_inside_of_its_limits_is_returned(value: float, limits: dict[str, float]) -> None:
    assert check_number("p", value, **limits) is value


@pytest.mark.parametrize("value", [True, "1", None, torch.tensor(1.0)], ids=repr)
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(TypeError, match="`p` must be a number"):
        check_number("p", value)


def test_a_choice() -> None:
    assert check_choice("mode", "a", ["a", "b"]) == "a"
    with pytest.raises(ValueError, match=re.escape("`mode` must be one of 'a', 'b', found 'c'.")):
        check_choice("mode", "c", ["a", "b"])


def test_shapes() -> None:
    check_same_shape("input", torch.zeros(2, 1), "target", torch.ones(2, 1))
    with pytest.raises(ValueError, match=re.escape("`input` must be of the shape (2,) of `target`, found (2, 1).")):
        check_same_shape("input", torch.zeros(2, 1), "target", torch.ones(2))


def test_labels() -> None:
    check_labels(torch.tensor([0, 2]), 3)
    check_labels(torch.tensor([], dtype=torch.long), 3)
    for bad in ([0, 3], [-1, 0]):
        with pytest.raises(ValueError, match=re.escape(f"class indices in 0..2, found '{bad[0]}..{bad[1]}'.")):
            check_labels(torch.tensor(bad), 3)
    for dtype in (torch.float32, torch.bool, torch.complex64):
        with pytest.raises(TypeError, match=f"of an integer dtype, found {dtype}"):
            check_labels(torch.zeros(2, dtype=dtype), 3)


def test_labels_are_not_looked_at_where_looking_is_not_free() -> None:
    bad = torch.tensor([7])
    check_labels(bad.to("meta"), 3)
    torch.func.vmap(lambda label: check_labels(label, 3) or label)(bad)
