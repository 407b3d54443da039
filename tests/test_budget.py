"""What is spent is the share that was asked for."""

import random

import pytest
import torch

from lightning_losses.callbacks.budget import Budget
from lightning_losses.callbacks.clock import Clock
from lightning_losses.callbacks.measuring_schedule import MeasuringSchedule

STEPS = 3000


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("cost", [0.3, 1.0, 10.0], ids="cost {} steps".format)
@pytest.mark.parametrize("trend", [1.0, 3.0], ids=["steady", "steps grow slower"])
def test_the_share_is_kept_within_a_fifth_of_a_point(share: float, cost: float, trend: float) -> None:
    """To within the one measurement that may just have been made, or be just due."""
    budget, noise, due = Budget(share), random.Random(0), 1
    spent = whole = 0.0
    for step in range(STEPS):
        seconds = noise.lognormvariate(0, 0.3) * (1 + (trend - 1) * step / STEPS)
        whole += seconds
        budget.earn(seconds)
        due -= 1
        if due <= 0:
            seconds = cost * noise.lognormvariate(0, 0.5)
            spent += seconds
            budget.spend(seconds)
            due = budget.wait()
    assert abs(spent / whole - share) < 0.002 + cost * 1.5 / STEPS


def test_an_expensive_first_measurement_is_paid_back_before_the_next() -> None:
    budget = Budget(0.1)
    budget.earn(1.0)
    budget.spend(20.0)
    assert budget.wait() == pytest.approx((20 + 20 - 0.1) / 0.1, abs=1)


def test_a_first_measurement_that_is_not_typical_is_paid_for_but_not_expected_again() -> None:
    budget = Budget(0.1, guess=3.0)
    budget.earn(1.0)
    budget.spend(20.0, typical=False)
    assert budget.wait() == pytest.approx((20 + 3 - 0.1) / 0.1, abs=1)


def test_a_long_pause_buys_no_burst() -> None:
    budget = Budget(0.1)
    budget.earn(1.0)
    budget.spend(1.0)
    budget.earn(1e6)
    assert budget.credit <= 5.0


@pytest.mark.parametrize(("batches", "looks"), [(599, 0), (600, 1)])
def test_a_training_that_cannot_pay_for_a_first_look_is_not_looked_at(batches: int, looks: int) -> None:
    schedule = MeasuringSchedule(0.01, guess=3.0)
    assert schedule.begin(batches) == bool(looks)
    assert sum(schedule.next_batch() for _ in range(batches)) == looks * batches  # due until it is settled


def test_every_n_steps_is_whatever_it_costs() -> None:
    schedule = MeasuringSchedule(0.01, every=2, guess=3.0)
    assert schedule.begin(1)
    assert schedule.next_batch()


@pytest.mark.parametrize("share", [0, 1, -0.1, 2])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(ValueError, match=r"`budget` must be above 0 and below 1, found"):
        Budget(share)


def test_a_clock_tells_at_once_on_the_cpu() -> None:
    clock, told = Clock(torch.device("cpu")), []
    start = clock.mark()
    clock.tell(start, clock.mark(), told.append)
    assert len(told) == 1
    assert told[0] >= 0
