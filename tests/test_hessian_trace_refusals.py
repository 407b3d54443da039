"""What the trace monitor cannot look at it says, leaves out or refuses by name."""

import math
from typing import Any

import lightning as L
import pytest
from hessian_trace_problem import (
    STEPS,
    Model,
    Terms,
    batches,
    fit,
    fit_with,
    mlp,
)
from torch import nn
from torch.utils.data import DataLoader

from lightning_losses.callbacks import HessianTraceMonitor, IncompatibleError
from lightning_losses.losses import CrossEntropy, Dice


@pytest.mark.parametrize(
    ("make", "options", "error", "words"),
    [
        (
            lambda: Terms(kind=CrossEntropy(), overlap=Dice()),
            {"matrix": "GGN"},
            IncompatibleError,
            "The loss Dice is no sum",
        ),
        (lambda: Model(mlp()), {"optimizer": 1}, ValueError, "`optimizer` must be one of 1, found index 1"),
        (lambda: Model(mlp()), {"groups": {"trunk": "body.*"}}, ValueError, "must match a parameter, found 'body.*'"),
        (
            lambda: Model(mlp()),
            {"groups": {"total": "net.*"}},
            ValueError,
            "`groups` must be named otherwise than 'total'",
        ),
    ],
    ids=["no likelihood", "no such optimizer", "no such layer", "a name that is taken"],
)
def test_what_cannot_be_measured_is_refused_by_name(
    make: Any, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        fit_with(HessianTraceMonitor(every_n_steps=1, **options), make(), batches())


def test_a_loss_that_cannot_be_differentiated_twice_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(*args: Any) -> None:
        raise RuntimeError("The loss must be made of operations that can be differentiated twice, and one cannot.")

    monkeypatch.setattr("lightning_losses.callbacks.eigenvalue_probe.HessianOperator", once)
    assert len(fit(Model(mlp()), batches(), sharpness="critical")) == STEPS
    with pytest.raises(IncompatibleError, match='one cannot. Instead, take sharpness="critical"'):
        fit(Model(mlp()), batches(), sharpness="lambda_max")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budget": 0.0}, "`budget` must be above 0 and below 1, found 0.0"),
        ({"budget": 1.5}, "`budget` must be above 0 and below 1, found 1.5"),
        ({"every_n_steps": 0}, "`every_n_steps` must be at least 1, found 0"),
        ({"matrix": "fisher"}, "`matrix` must be one of 'auto', 'Hessian', 'GGN', found 'fisher'"),
        ({"mode": "test"}, "`mode` must be one of 'eval', 'train', found 'test'"),
        ({"sharpness": "max"}, "`sharpness` must be one of 'lambda_max', 'critical', found 'max'"),
        ({"depth": 0}, "`depth` must be at least 1, found 0"),
        ({"optimizer": -1}, "`optimizer` must be at least 0, found -1"),
    ],
)
def test_arguments_out_of_range_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        HessianTraceMonitor(**options)


class Nothing(Model):
    def training_step(self, batch: Any, batch_idx: int) -> None:
        return None


def test_a_step_without_a_loss_is_left_out_and_said() -> None:
    with pytest.warns(UserWarning, match=r"curvature at step 0 was not measured: `training_step` must return a loss"):
        trainer = L.Trainer(
            accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[HessianTraceMonitor(every_n_steps=1, sharpness=None)],
        )  # fmt: skip
        trainer.fit(Nothing(mlp()), DataLoader(batches(), batch_size=None))


def test_what_a_training_does_not_pay_for_is_not_looked_at_and_said(caplog: pytest.LogCaptureFixture) -> None:
    monitor = HessianTraceMonitor(budget=0.5)
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        fit_with(monitor, Model(mlp()), batches() * 6)
    assert "trace/total" in monitor.latest
    assert "lambda_max" not in monitor.latest
    assert (
        "does not look at lambda_max: a look costs the time of some 30 steps, which 25.0% of 36 batches" in caplog.text
    )


@pytest.mark.parametrize("sharpness", ["lambda_max", "critical"])
def test_a_batch_without_a_finite_loss_is_left_out(sharpness: str) -> None:
    data = batches()
    data[2][0][0, 0] = math.nan
    seen = fit(Model(mlp(nn.Tanh)), data[:3], sharpness=sharpness)
    assert [math.isnan(found[sharpness][0]) for found, _ in seen] == [False, False, True]
