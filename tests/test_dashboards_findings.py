"""What stands out in a run: every check is silent on a healthy run, and speaks of the one thing that is planted in it."""

import numpy as np
import pytest

from lightning_losses.dashboards.findings.checks import CHECKS, read_out
from lightning_losses.dashboards.history import History
from lightning_losses.dashboards.segment import Series

STEPS = np.arange(0.0, 400.0, 10.0)
N = len(STEPS)
NOISE = np.random.default_rng(0).normal(size=(30, N))
FALLING = np.exp(-STEPS / 150)
GRADNORM = {"model": {"criterion": {"balancer": {"class_path": "GradNorm", "init_args": {"min_weight": 0.01}}}}}


def course(values, row=0, noise=0.02):
    """A series around `values`, with multiplicative noise of its own."""
    return np.broadcast_to(values, N) * (1 + noise * NOISE[row])


def healthy():
    """What the recipes log of a training that goes well, by key."""
    terms = {"dice": 1.0, "focal": 2.0}
    logged = {"train/loss": course(3 * FALLING), "val/loss": course(3.1 * FALLING, 1)}
    for row, (term, height) in enumerate(terms.items()):
        logged[f"train/raw/{term}"] = course(height * FALLING, 2 + row)
        logged[f"losses/normalized/{term}"] = course(1.1 * FALLING, 4 + row)
        logged[f"losses/share/{term}"] = course([0.4, 0.6][row], 6 + row)
        logged[f"losses/weight/{term}"] = course(1.0, 8 + row)
        logged[f"losses/plateau/{term}"] = np.zeros(N)
        logged[f"losses/too_good/{term}"] = np.zeros(N)
        logged[f"gradients/term_norm/{term}"] = course(0.1 * FALLING, 10 + row)
    for row, layer in enumerate(("down", "up", "head", "total")):
        logged[f"gradients/norm/{layer}"] = course(FALLING * [0.2, 0.5, 1.0, 1.2][row], 12 + row, 0.3)
    logged["gradients/nonfinite"] = np.zeros(N)
    logged["gradients/cosine/dice-focal"] = 0.1 * NOISE[16]  # unrelated: negative half of the time
    logged["curvature/stability"] = course(0.5, 17, 0.1)
    return logged


def history(changes=None, config=GRADNORM, result=None):
    logged = {key: values for key, values in (healthy() | (changes or {})).items() if values is not None}
    series = {key: Series(STEPS, np.asarray(values, dtype=float)) for key, values in logged.items()}
    metrics = {"metrics": {"test/iou": 0.75}, "reference": {"metric": "test/iou", "value": 0.74, "tolerance": 0.03}}
    return History("run", config, series, result=metrics if result is None else result)


def with_value(values, at, value):
    return np.where(np.arange(N) == at, value, values)


LATE = STEPS > 150
GOOD = healthy()

PLANTED = [
    # what is planted, the check that speaks, the series that it names, parts of what it says
    (
        {"train/raw/focal": np.where(STEPS >= 200, np.nan, GOOD["train/raw/focal"])},
        "losses that are NaN or infinite", "train/raw/focal", ["20 of 40", "first at step 200"],
    ),
    (
        {"train/loss": with_value(GOOD["train/loss"], 7, np.inf)},
        "losses that are NaN or infinite", "train/loss", ["1 of 40", "first at step 70"],
    ),
    (
        {"gradients/nonfinite": with_value(np.zeros(N), 5, 2)},
        "gradients that are NaN or infinite", "gradients/nonfinite", ["1 of 40", "first at step 50"],
    ),
    (
        {"losses/normalized/dice": with_value(GOOD["losses/normalized/dice"], 20, -0.2)},
        "a loss below its lower bound", "losses/normalized/dice", ["dice is below", "1 of 40", "step 200", "-0.2"],
    ),
    (
        {"losses/normalized/focal": course(1.3)},
        "a loss worse than that of a model that knows nothing", "losses/normalized/focal", ["focal is still worse", "1.3"],
    ),
    (
        {"losses/too_good/dice": with_value(np.zeros(N), 3, 1)},
        "a loss that is too good to be true", "losses/too_good/dice", ["step 30", "leak"],
    ),
    (
        {"losses/share/dice": course(0.04), "losses/share/focal": course(0.96, 1)},
        "a term that dominates", "losses/share/focal", ["focal dominates the total", "96 %", "dice 4 %"],
    ),
    (
        {"losses/weight/dice": course(30.0)},
        "a term that dominates", "gradients/term_norm/dice", ["dice dominates the gradient", "97 %", "focal 3 %"],
    ),
    (
        {"gradients/cosine/dice-focal": -0.4 + 0.1 * NOISE[0]},
        "terms that pull against each other", "gradients/cosine/dice-focal", ["100 % of 40", "-0.4"],
    ),
    (
        {
            "losses/weight/dice": np.where(LATE, 0.0101, np.linspace(1, 0, N) + 0.02),
            "gradients/term_norm/dice": course(10 * FALLING),  # balanced all the same
        },
        "weights stuck at their limit", "losses/weight/dice", ["lower limit", "0.01"],
    ),
    (
        {"gradients/norm/up": with_value(GOOD["gradients/norm/up"], 30, 500.0)},
        "layers whose gradient explodes", "gradients/norm/up", ["of up explodes", "500", "step 300"],
    ),
    (
        {"gradients/norm/down": course(1e-8)},
        "layers whose gradient vanishes", "gradients/norm/down", ["of down vanishes", "1e-08"],
    ),
    (
        {"curvature/stability": np.linspace(0.3, 2.5, N)},
        "curvature beyond what the optimizer can stand", "curvature/stability", ["beyond", "2.2 at the end"],
    ),
    (
        {"curvature/stability": np.minimum(np.linspace(0.2, 2.0, N), 1.0)},
        "curvature beyond what the optimizer can stand", "curvature/stability", ["has risen", "1 at the end"],
    ),
    (
        {"val/loss": 1 + ((STEPS - 150) / 300) ** 2},
        "a validation loss that rises while the training loss falls", "val/loss", ["1.59 at the end", "1 at step 140", "best checkpoint"],
    ),
    (
        {"losses/plateau/focal": (STEPS >= 250) * 1.0},
        "losses that have stopped improving", "losses/plateau/focal", ["from step 250"],
    ),
]  # fmt: skip


def test_a_healthy_run_has_no_finding_and_every_check_has_looked():
    reading = read_out(history())
    assert reading.findings == []
    assert reading.unknown == []
    assert reading.clear == list(CHECKS)


@pytest.mark.parametrize(("changes", "check", "key", "says"), PLANTED)
def test_what_is_planted_is_found_by_its_check_alone(changes, check, key, says):
    run = history(changes)
    found = {looks_for: its for looks_for, ask in CHECKS.items() if (its := ask(run))}
    assert list(found) == [check]
    (finding,) = found[check]
    assert finding.key == key
    for part in says:
        assert part in f"{finding.title} {finding.evidence}"


def test_a_missed_reference_is_a_problem_with_both_numbers():
    reference = {"metric": "test/iou", "value": 0.74, "tolerance": 0.03}
    reading = read_out(history(result={"metrics": {"test/iou": 0.5}, "reference": reference}))
    (finding,) = reading.findings
    assert (finding.severity, finding.key) == ("problem", "test/iou")
    assert "0.5, reference 0.74 ± 0.03: missed by 0.24" in finding.evidence


def test_a_metric_that_should_be_small_is_compared_from_above():
    reference = {"metric": "test/error", "value": 0.1, "tolerance": 0.01, "mode": "min"}
    for measured, count in ((0.05, 0), (0.2, 1)):
        result = {"metrics": {"test/error": measured}, "reference": reference}
        assert len(read_out(history(result=result)).findings) == count


QUIET = {
    "rounding below the bound": {"losses/normalized/dice": with_value(GOOD["losses/normalized/dice"], 20, -1e-6)},
    "above 1 at the start only": {"losses/normalized/dice": np.where(STEPS < 100, 3.0, 0.5)},
    "conflict now and then": {"gradients/cosine/dice-focal": 0.3 + 0.3 * NOISE[0]},
    "weakly opposed": {"gradients/cosine/dice-focal": np.full(N, -0.03)},
    "a weight that a schedule ends": {"losses/weight/dice": np.minimum(np.linspace(0.2, 2, N), 1.0)},
    "norms that fall by a thousand": {f"gradients/norm/{g}": np.logspace(0, -3, N) for g in ("down", "up", "head")},
    "a noisy validation loss": {"val/loss": course(1.0, noise=0.04)},
    "a validation loss that rises with the training loss": {"val/loss": 1 + STEPS / 300, "train/loss": 1 + STEPS / 300},
    "one bad evaluation at the end": {"val/loss": with_value(GOOD["val/loss"], N - 1, 9.0)},
    "at the edge of stability from the start": {"curvature/stability": course(1.0, noise=0.1)},
    "a plateau that was left": {"losses/plateau/dice": ((STEPS > 100) & (STEPS < 200)) * 1.0},
    "a metric that is undefined at first": {"val/iou": with_value(np.full(N, 0.5), 0, np.nan)},
}


@pytest.mark.parametrize("changes", [pytest.param(changes, id=name) for name, changes in QUIET.items()])
def test_no_false_alarm(changes):
    assert read_out(history(changes)).findings == []


def test_a_grad_scaler_may_skip_its_first_steps():
    skipped = {"gradients/nonfinite": (STEPS < 30) * 4.0}
    fp16 = {"trainer": {"precision": "16-mixed"}}
    assert read_out(history(skipped, config=fp16)).findings == []
    assert len(read_out(history(skipped)).findings) == 1


def test_a_weight_at_the_least_of_another_balancer_is_not_stuck():
    change = {"losses/weight/dice": np.full(N, 0.0101)}
    found = CHECKS["weights stuck at their limit"](history(change, config={"balancer": "Fixed"}))
    assert found is None


def test_terms_of_different_loss_modules_do_not_dominate_each_other():
    shares = {"losses/share/dice": None, "losses/share/focal": None, "losses/share/critic/real": course(0.5)}
    shares |= {"losses/share/critic/fake": course(0.5, 1), "losses/share/generator/only": course(1.0, 2)}
    assert read_out(history(shares)).findings == []


def test_nothing_is_said_of_what_was_not_logged_or_hardly():
    reading = read_out(History("empty"))
    assert (reading.findings, reading.clear, reading.unknown) == ([], [], list(CHECKS))
    short = {key: Series(its.steps[:3], its.values[:3]) for key, its in history(dict(PLANTED[3][0])).series.items()}
    assert read_out(History("short", series=short)).findings == []


def test_the_gravest_comes_first():
    changes = PLANTED[-1][0] | PLANTED[6][0] | PLANTED[0][0]
    assert [finding.severity for finding in read_out(history(changes)).findings] == ["problem", "warning", "note"]
