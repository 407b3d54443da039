"""The band holds the truth as often as it says, whatever the drift."""

import math

import pytest
import torch

from lightning_losses.curvature.local_level import LocalLevel

SEEDS, TIMES, BATCH = 8, 200, 64


def coverage(drift: float, spread: float, jump: float = 0.0, seed: int = 0, stated: bool = True) -> tuple[float, float]:
    """Share of the times at which the band holds the truth, and its mean relative half-width.

    The truth is a random walk of `drift` per root step; a measurement is the mean of lognormal samples whose
    coefficient of variation is `spread`, with the standard error that the samples themselves show.
    """
    generator = torch.Generator().manual_seed(seed)
    sigma2, level, truth = math.log(1 + spread**2), LocalLevel(positive=True, stated=stated), math.log(100.0)
    held, widths, step = 0, 0.0, 0
    for time in range(TIMES):
        gap = int(torch.randint(1, 60, (), generator=generator))
        step += gap
        truth += drift * math.sqrt(gap) * float(torch.randn((), generator=generator))
        truth += jump if time == TIMES // 2 else 0.0
        noise = math.sqrt(sigma2) * torch.randn(BATCH, generator=generator, dtype=torch.float64) - sigma2 / 2
        samples = (truth + noise).exp()
        level.add(float(samples.mean()), float(samples.std()) / math.sqrt(BATCH) if stated else None, step)
        value, lower, upper = level.band(step)
        if time >= 10:
            held += lower <= math.exp(truth) <= upper
            widths += (upper - lower) / (2 * value)
    return held / (TIMES - 10), widths / (TIMES - 10)


@pytest.mark.parametrize("stated", [True, False], ids=["stated errors", "unstated errors"])
@pytest.mark.parametrize("spread", [0.5, 1.6, 2.4])
@pytest.mark.parametrize(("drift", "jump"), [(0.003, 0.0), (0.01, 0.0), (0.03, 0.0), (0.003, -1.0), (0.003, 1.0)])
def test_of_100_bands_some_95_hold_the_truth(drift: float, jump: float, spread: float, stated: bool) -> None:
    share = sum(coverage(drift, spread, jump, seed, stated)[0] for seed in range(SEEDS)) / SEEDS
    assert 0.90 <= share <= 0.985


def test_the_band_of_what_does_not_drift_narrows() -> None:
    single = math.sqrt(1.6**2 / BATCH) * 1.96
    share, width = coverage(0.0, 1.6)
    assert share > 0.9
    assert width < single / 3


def test_the_band_widens_while_nothing_is_measured() -> None:
    level = LocalLevel(positive=False)
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(50, generator=generator).cumsum(0)
    for step, value in enumerate(truth.tolist()):
        level.add(value, 0.1, step)
    widths = [level.band(step).upper - level.band(step).lower for step in (49, 59, 149)]
    assert widths[0] < widths[1] < widths[2]


def test_units_do_not_matter() -> None:
    bands = []
    for unit in (1.0, 1e6):
        level = LocalLevel(positive=False)
        for step, value in enumerate([1.0, 1.5, -0.5, 2.0]):
            level.add(unit * value, unit * 0.3, step)
        bands.append(torch.tensor(level.band(5)) / unit)
    torch.testing.assert_close(*bands)


def test_no_estimate_without_a_measurement_and_none_of_what_is_not_finite() -> None:
    level = LocalLevel(positive=True)
    assert math.isnan(level.band(3).value)
    level.add(math.nan, 1.0, 0)
    level.add(-1.0, 1.0, 0)
    level.add(1.0, math.inf, 0)
    assert level.is_empty


def test_a_band_too_wide_for_a_float_is_infinite() -> None:
    level = LocalLevel(positive=True)
    level.add(1.0, 100.0, 0)
    assert level.band(0).upper == math.inf


def test_a_restored_filter_goes_on_as_the_first_would_have() -> None:
    one, other = LocalLevel(positive=True), LocalLevel(positive=True)
    for step in range(5):
        one.add(10.0 + step, 1.0, step)
    other.load_state_dict(one.state_dict())
    for level in (one, other):
        level.add(20.0, 1.0, 9)
    assert one.band(9) == other.band(9)


@pytest.mark.parametrize("positive", [True, False])
def test_exact_measurements_are_followed(positive: bool) -> None:
    level = LocalLevel(positive)
    for step in range(200):
        level.add(1.0 + 0.01 * step, 0.0, step)
    assert level.band(199).value == pytest.approx(2.99, rel=0.02)
