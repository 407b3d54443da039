"""Normalised values: 0 is perfect, 1 is knowing nothing."""

import math

import pytest
import torch

from lightning_losses import Bounds


def test_the_ends_of_the_scale() -> None:
    bounds = Bounds(lower=0.5, upper=math.inf, reference=2.5)
    assert bounds.normalize(0.5) == 0
    assert bounds.normalize(2.5) == 1
    assert bounds.normalize(4.5) == 2  # the reference is not an upper bound
    assert bounds.normalize(0.3) < 0  # a value below its bound shows


def test_tensors_stay_tensors_of_their_shape() -> None:
    bounds = Bounds(lower=torch.tensor(1.0), reference=torch.tensor(3.0))
    torch.testing.assert_close(bounds.normalize(torch.tensor([1.0, 2.0, 3.0])), torch.tensor([0.0, 0.5, 1.0]))


def test_without_a_reference_there_is_no_normalised_value() -> None:
    assert Bounds().normalize(1.0) is None


def test_bounds_the_wrong_way_round_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"`upper` must be at least `lower`=1, found 0"):
        Bounds(lower=1.0, upper=0.0)


def test_a_weighted_sum_of_losses_has_the_weighted_sum_of_their_bounds() -> None:
    dice, cross_entropy = Bounds(0.0, 1.0, 0.75), Bounds(0.5, math.inf, 2.0)
    total = dice.scaled(2.0).plus(cross_entropy.scaled(0.5))
    assert total == Bounds(0.25, math.inf, 2.5)
    assert dice.plus(Bounds()).reference is None


def test_a_weight_of_zero_leaves_what_is_infinite_infinite() -> None:
    assert Bounds(-math.inf, math.inf).scaled(0.0) == Bounds(-math.inf, math.inf)
