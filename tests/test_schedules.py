"""Weights that change with the step."""

import pytest

from lightning_losses.schedules import Constant, Cosine, Linear, Schedule, WarmUp

SCHEDULES: dict[str, tuple[Schedule, float, float]] = {
    "constant": (Constant(2.0), 2.0, 2.0),
    "linear": (Linear(3.0, 1.0, steps=10, delay=5), 3.0, 1.0),
    "cosine": (Cosine(0.5, 4.0, steps=10, delay=5), 0.5, 4.0),
    "warm-up": (WarmUp(7.0, steps=15), 0.0, 7.0),
}


@pytest.mark.parametrize(("schedule", "start", "end"), SCHEDULES.values(), ids=SCHEDULES)
def test_it_goes_monotonically_from_its_start_to_its_end(schedule: Schedule, start: float, end: float) -> None:
    weights = [schedule(step) for step in range(40)]
    assert weights[0] == start
    assert weights[15:] == [end] * 25
    assert weights == sorted(weights, reverse=end < start)


@pytest.mark.parametrize("cls", [Linear, Cosine])
def test_halfway_is_halfway_and_the_delay_delays(cls: type) -> None:
    schedule = cls(1.0, 3.0, steps=10, delay=4)
    assert [schedule(step) for step in (0, 4, 9, 14)] == pytest.approx([1.0, 1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Constant(-1.0), "`value` must be at least 0, found -1"),
        (lambda: Linear(0.0, 1.0, steps=0), "`steps` must be at least 1, found 0"),
        (lambda: Cosine(0.0, -1.0, steps=5), "`end` must be at least 0"),
        (lambda: Linear(0.0, 1.0, steps=5, delay=-1), "`delay` must be at least 0"),
        (lambda: WarmUp(float("inf"), steps=5), "`value` must be at least 0, found inf"),
    ],
    ids=["value", "steps", "end", "delay", "infinite"],
)
def test_bad_arguments(make, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()
