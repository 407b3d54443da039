"""What happens between two tasks: measured, kept, started afresh; and what is refused."""

import warnings
from typing import Any

import pytest
import torch
from continual_problem import BATCH, SAMPLES, Net, Points, fit, points
from lightning.pytorch import Callback, LightningDataModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from lightning_losses import LossModule, Term
from lightning_losses.balancers import Uncertainty
from lightning_losses.callbacks import (
    ContinualLearning,
    FisherInformation,
    OutputSensitivity,
    PathIntegral,
    Teacher,
    TeacherSnapshot,
)
from lightning_losses.fisher import diagonal_fisher
from lightning_losses.losses import EWC, CrossEntropy


def learn(tmp_path, weight: float, consolidation=None, **options: Any) -> tuple[ContinualLearning, Net]:
    torch.manual_seed(0)
    callback, model = ContinualLearning(consolidation=consolidation), Net(weight)
    fit(tmp_path, model, Points(epochs_per_task=4), callback, **options)
    return callback, model


class TestForgetting:
    def test_plain_training_forgets(self, tmp_path) -> None:
        callback, _ = learn(tmp_path, 0.0)
        assert callback.matrix[0][0] == 1.0
        assert callback.matrix[1][0] < 0.3
        assert callback.matrix[1][1] == 1.0

    @pytest.mark.parametrize(
        ("weight", "consolidation"),
        [(10.0, FisherInformation()), (0.5, PathIntegral(damping=0.1)), (0.1, OutputSensitivity(samples=20))],
        ids=["EWC", "SI", "MAS"],
    )
    def test_what_consolidates_does_not(self, tmp_path, weight, consolidation) -> None:
        callback, _ = learn(tmp_path, weight, consolidation)
        assert callback.matrix[1] == [1.0, 1.0]


def test_weights_that_a_balancer_learns_are_not_anchored(tmp_path) -> None:
    model = Net()
    terms = {
        "task": Term(CrossEntropy(), inputs=["logits", "target"]),
        "ewc": Term(EWC(), inputs=["model"], balanced=False),
    }
    model.criterion = LossModule(terms, balancer=Uncertainty())
    fit(tmp_path, model, Points(), ContinualLearning(consolidation=PathIntegral()))
    assert set(model.criterion.terms["ewc"].loss.importance) == {"network.weight", "network.bias"}


class TestMatrix:
    def test_a_row_is_what_the_network_does_when_the_task_has_ended(self, tmp_path) -> None:
        """Measured again here, of the parameters that the anchors keep."""
        callback, model = learn(tmp_path, 0.0, FisherInformation())
        after = [*model.criterion.terms["ewc"].loss.anchors]
        assert len(after) == 1  # online
        data = [points(task).tensors for task in range(2)]
        network = nn.Linear(3, 2)
        network.load_state_dict({k.removeprefix("network."): v for k, v in after[0].parameters.items()})
        row = [float((network(x).argmax(1) == y).float().mean()) for x, y in data]
        assert callback.matrix[-1] == row

    def test_it_is_logged_and_its_mean_over_the_tasks_is_tested(self, tmp_path) -> None:
        callback, model = ContinualLearning(), Net()
        trainer = fit(tmp_path, model, Points(epochs_per_task=4), callback)
        logged = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("continual/")}
        (first, _), (forgot, second) = callback.matrix
        assert logged == pytest.approx(
            {
                "continual/average_accuracy": (forgot + second) / 2,
                "continual/backward_transfer": forgot - first,
                "continual/forgetting": first - forgot,
            }
        )
        tested = trainer.test(model, Points(), verbose=False)[0]
        assert tested["test/average_accuracy"] == pytest.approx((forgot + second) / 2)
        assert (tmp_path / "tasks.csv").exists()


class Recorder(Callback):
    """The optimizer's state at the first batch of every epoch, and every learning rate."""

    def __init__(self) -> None:
        self.states: list[int] = []
        self.rates: list[float] = []
        self.identities: set[int] = set()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        (optimizer,) = trainer.optimizers
        self.identities.add(id(optimizer))
        self.rates.append(optimizer.param_groups[0]["lr"])
        if batch_idx == 0:
            self.states.append(len(optimizer.state))


class Scheduled(Net):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=2 * SAMPLES // BATCH)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def test_every_task_starts_with_a_fresh_optimizer_and_schedule(tmp_path) -> None:
    """The schedule is as long as a task: Lightning would step it past its end."""
    recorder = Recorder()
    fit(tmp_path, Scheduled(), Points(epochs_per_task=2), ContinualLearning(), recorder)
    assert recorder.states == [0, 2, 0, 2]
    first, second = torch.tensor(recorder.rates).chunk(2)
    assert torch.equal(first, second)
    assert len(first.unique()) > 10
    assert len(recorder.identities) == 1  # what holds the optimizer may go on holding it


class TestBatchNorm:
    @staticmethod
    def statistics(tmp_path, **options) -> list[torch.Tensor]:
        """Of the running mean at the end of each epoch."""
        seen = []

        class Statistics(Callback):
            def on_train_epoch_end(self, trainer, pl_module) -> None:
                seen.append(pl_module.network[1].running_mean.clone())

        fit(tmp_path, Net(norm=True), Points(epochs_per_task=2), ContinualLearning(**options), Statistics())
        return seen

    def test_its_statistics_stay_as_the_first_task_has_left_them(self, tmp_path) -> None:
        one, two, *later = self.statistics(tmp_path)
        assert not torch.equal(one, two)
        assert all(torch.equal(two, other) for other in later)

    def test_they_drift_if_they_are_let(self, tmp_path) -> None:
        _, two, *later = self.statistics(tmp_path, freeze_batch_norm=False)
        assert not any(torch.equal(two, other) for other in later)


class TestFisher:
    @pytest.mark.parametrize("estimator", ["exact", "sampled", "empirical"])
    def test_it_is_that_of_the_tasks_samples_in_the_network_that_has_learnt_it(self, tmp_path, estimator) -> None:
        consolidation = FisherInformation(estimator=estimator, samples=20)
        torch.manual_seed(0)
        model = Net(1.0)
        fit(tmp_path, model, Points(tasks=1, epochs_per_task=2), ContinualLearning(consolidation=consolidation))
        (anchor,) = model.criterion.terms["ewc"].loss.anchors
        batch = tuple(tensor[:20] for tensor in points(0).tensors)
        expected = diagonal_fisher(model, [batch], estimator=estimator)
        assert anchor.fisher.keys() == {"network.weight", "network.bias"}
        for name, fisher in expected.items():
            assert torch.equal(anchor.fisher[name], fisher)
            assert torch.equal(anchor.parameters[name], dict(model.named_parameters())[name])

    def test_before_a_task_has_ended_the_penalty_is_exactly_nothing(self, tmp_path) -> None:
        seen = []

        class Penalties(Callback):
            def on_train_batch_end(self, trainer, pl_module, *_) -> None:
                seen.append(float(pl_module.criterion.report.raw["ewc"]))

        fit(tmp_path, Net(1.0), Points(), ContinualLearning(consolidation=FisherInformation()), Penalties())
        batches = SAMPLES // BATCH
        assert seen[: batches + 1] == [0.0] * (batches + 1)  # the first step of the second task starts at the anchor
        assert min(seen[batches + 1 :]) > 0

    def test_a_step_that_overshoots_is_warned_about_once(self, tmp_path) -> None:
        with pytest.warns(UserWarning, match="The penalty's own gradient step overshoots") as caught:
            fit(tmp_path, Net(1e3, lr=1e-2), Points(tasks=3), ContinualLearning(consolidation=FisherInformation()))
        assert sum("overshoots" in str(warning.message) for warning in caught) == 1

    def test_it_is_the_greatest_step_of_the_schedule_that_counts(self, tmp_path) -> None:
        class Decaying(Net):
            def configure_optimizers(self) -> Any:
                optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
                return [optimizer], [torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=1)]

        with pytest.warns(UserWarning, match=r"overshoots: strength 1000 \* lr 0.01 "):
            fit(tmp_path, Decaying(1e3, lr=1e-2), Points(), ContinualLearning(consolidation=FisherInformation()))

    def test_an_adaptive_step_is_not(self, tmp_path) -> None:
        class Adaptive(Net):
            def configure_optimizers(self) -> Any:
                return torch.optim.Adam(self.parameters(), lr=1e-2)

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit(tmp_path, Adaptive(1e3), Points(), ContinualLearning(consolidation=FisherInformation()))
        assert not [warning for warning in caught if "overshoots" in str(warning.message)]


class Halt(Callback):
    """Stops as a time limit does, in the middle of an epoch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        trainer.should_stop = trainer.current_epoch == 1 and batch_idx == 2


class TestStops:
    def test_a_task_that_was_not_finished_is_not_taken_as_learnt(self, tmp_path) -> None:
        model, callback = Net(1.0), ContinualLearning(consolidation=FisherInformation())
        with pytest.warns(UserWarning, match="Training has stopped within task 2"):
            fit(tmp_path, model, Points(), callback, Halt())
        assert len(callback.matrix) == len(model.criterion.terms["ewc"].loss.anchors) == 1

    def test_fewer_epochs_than_the_tasks_have_are_warned_of(self, tmp_path) -> None:
        with pytest.warns(UserWarning, match="max_epochs=2: the 2 tasks take 4"):
            fit(tmp_path, Net(), Points(epochs_per_task=2), ContinualLearning(), max_epochs=2)

    @pytest.mark.parametrize("steps", [3, 11])
    def test_steps_that_end_within_a_task_are_refused(self, tmp_path, steps: int) -> None:
        with pytest.raises(ValueError, match="`max_steps` must be -1 or a multiple of 8, .* found"):
            fit(tmp_path, Net(), Points(), ContinualLearning(), max_steps=steps)
        fit(tmp_path, Net(), Points(), ContinualLearning(), max_steps=8)

    def test_a_run_goes_on_behind_the_last_step_of_a_task(self, tmp_path) -> None:
        """From a checkpoint that was written ahead of the task's end, and before there is a loss of the new run's."""
        learning = [ContinualLearning(consolidation=FisherInformation()) for _ in range(2)]
        saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        whole, resumed = Net(5.0, lr=0.1), Net(5.0, lr=0.1)
        fit(tmp_path, whole, Points(), learning[0], saver, enable_checkpointing=True)
        with pytest.warns(UserWarning, match="Task 1 has ended without a validation"):
            fit(tmp_path, resumed, Points(), learning[1], ckpt_path=tmp_path / "step=8.ckpt")
        assert len(learning[1].matrix) == 2
        torch.testing.assert_close(resumed.network.state_dict(), whole.network.state_dict(), rtol=0, atol=0)


class NoTasks(LightningDataModule):
    def train_dataloader(self) -> Any:
        return Points().train_dataloader()


@pytest.mark.parametrize(
    ("model", "data", "callback", "options", "said"),
    [
        (Net(), Points(), {}, {"max_epochs": 3}, "`max_epochs` must be at most 2, the epochs of 2 tasks, found 3"),
        (Net(), Points(), {}, {"max_epochs": -1}, "`max_epochs` must be at most 2"),
        (Net(), Points(epochs_per_task=3), {}, {"check_val_every_n_epoch": 2}, "must be a divisor of 3"),
        (Net(), Points(), {}, {"limit_val_batches": 0}, "with validation enabled"),
        (Net(), Points(), {"metric": "val/acuracy"}, {}, r"Did you mean 'val/accuracy'\?"),
        (Net(ewc=False), Points(), {"consolidation": FisherInformation()}, {}, "one EWC term, found none"),
        (Net(), Points(), {"consolidation": FisherInformation(module="net")}, {}, "net"),
        (Net(), Points(), {"consolidation": FisherInformation(module="network")}, {}, "The model has no parameter"),
        (Net(), Points(), {"consolidation": TeacherSnapshot()}, {}, "must have one `Teacher`, found 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_work_is_refused_by_name(tmp_path, model, data, callback, options, said) -> None:
    with pytest.raises((ValueError, AttributeError), match=said):
        fit(tmp_path, model, data, ContinualLearning(**callback), **options)


def test_data_that_tell_of_no_tasks_are_refused(tmp_path) -> None:
    with pytest.raises(TypeError, match="`datamodule` must be a data module with `tasks`"):
        fit(tmp_path, Net(), NoTasks(), ContinualLearning(), max_epochs=1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FisherInformation(estimator="exakt"), "`estimator` must be one of"),
        (lambda: FisherInformation(samples=0), "`samples` must be at least 1, found 0"),
        (lambda: OutputSensitivity(samples=0), "`samples` must be at least 1, found 0"),
        (lambda: PathIntegral(damping=0.0), "`damping` must be above 0, found 0.0"),
        (lambda: Net(-1.0), "`weight` must be at least 0, found -1.0"),
    ],
)
def test_numbers_out_of_range_are_named(make, said) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_a_teacher_is_asked_for_nothing_before_a_task_has_ended() -> None:
    with pytest.raises(RuntimeError, match="The teacher must be asked when a task has ended"):
        Teacher()(nn.Linear(1, 1), torch.ones(1, 1))
