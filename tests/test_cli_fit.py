"""Training on the command line: resume, stop, finish, compare with the reference."""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import lightning
import pytest
import torch
import yaml

from lightning_losses import __version__
from lightning_losses.cli import catalogue, main

TOY = str(Path(__file__).parent / "recipes" / "toy")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_SILENT", "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "LIGHTNING_LOSSES_RECIPE_FOLDERS"):
        monkeypatch.setenv(name, "")  # what a command sets is gone after the test
        monkeypatch.delenv(name)


@pytest.fixture
def call(capsys):
    """Run a command; its exit code and what it printed."""

    def _call(*words):
        code = main([*words, "trainer.enable_progress_bar=false"])
        out, err = capsys.readouterr()
        return code, out, err

    return _call


@pytest.fixture
def interrupt(monkeypatch):
    """Let the toy's training raise at a step, as a signal would."""
    toy = catalogue.find(TOY).find("recipe.model", "model.Line", object)
    train = toy.training_step

    def _interrupt(step, error):
        def training_step(self, batch, index):
            if self.global_step == step:
                raise error
            return train(self, batch, index)

        monkeypatch.setattr(toy, "training_step", training_step)
        return lambda: monkeypatch.setattr(toy, "training_step", train)

    return _interrupt


def result(directory):
    return json.loads(Path(directory, "result.json").read_text())


def weights(directory):
    return torch.load(Path(directory, "checkpoints", "last.ckpt"), weights_only=True)["state_dict"]


class TestFit:
    def test_the_summary_says_how_it_went_and_where_things_are(self, call):
        code, out, _ = call("fit", TOY, "run_dir=run")
        lines = [line.split() for line in out.splitlines()]
        assert code == 0
        measured = result("run")["metrics"]["test/r2"]
        assert out.startswith(f"toy (default): test/r2 {measured:.4f}, reference 0.95 ± 0.02: reached\n")
        assert lines[1][0] == "time"
        paths = {name: Path(path) for name, path in lines[2:]}
        assert list(paths) == ["checkpoint", "report", "curves", "configuration", "result"]
        assert all(path.is_file() for path in paths.values())

    def test_the_result_can_be_compared_with_another(self, call):
        call("fit", TOY, "--size", "smoke", "run_dir=run", "seed_everything=5")
        found = result("run")
        assert found["versions"] == {
            "torch": torch.__version__,
            "lightning": lightning.__version__,
            "lightning-losses": __version__,
        }
        assert (found["recipe"], found["size"], found["seed"]) == ("toy", "smoke", 5)
        assert found["reference"]["value"] == 0.3
        assert found["minutes"] < 1
        assert found["hardware"].startswith("1 x ")
        assert f"lightning-losses fit {TOY} --size smoke run_dir=run seed_everything=5" in found["command"]

    def test_the_configuration_is_kept_resolved_and_without_secrets(self, call, monkeypatch):
        monkeypatch.setenv("TOKEN", "hush")
        call("fit", TOY, "run_dir=run", "model.penalty.key=${oc.env:TOKEN}", "trainer.max_epochs=1")
        text = Path("run/config.yaml").read_text()
        assert yaml.safe_load(text)["model"]["features"] == 4
        assert "hush" not in text

    def test_the_tested_checkpoint_is_the_best_one(self, call):
        call("fit", TOY, "run_dir=run", "trainer.callbacks.0.init_args.mode=min")
        best = Path("run", result("run")["checkpoint"])
        first_epoch = torch.load(best, weights_only=True)["epoch"]
        assert first_epoch == 0  # the variance explained rises, so its least value is the first

    def test_the_best_one_is_that_of_the_saver_that_watches_a_metric(self, call):
        saver = "class_path: ModelCheckpoint, init_args: {dirpath: '${run_dir}/checkpoints'"
        savers = f"[{{{saver}, save_last: true}}}}, {{{saver}, monitor: val/r2, mode: min}}}}]"
        call("fit", TOY, "run_dir=run", f"trainer.callbacks={savers}")
        assert torch.load(Path("run", result("run")["checkpoint"]), weights_only=True)["epoch"] == 0

    def test_checkpoints_may_lie_elsewhere(self, call):
        where = ["run_dir=run", "trainer.callbacks.0.init_args.dirpath=elsewhere"]
        assert call("fit", TOY, *where)[0] == 0
        assert Path("run", result("run")["checkpoint"]).resolve().parent == Path("elsewhere").resolve()

    def test_without_a_reference_the_metrics_are_shown(self, call):
        code, out, _ = call("fit", TOY, "run_dir=run", "reference.value=null")
        assert code == 0
        assert out.splitlines()[0] == f"toy (default): test/r2 {result('run')['metrics']['test/r2']:.4f}"

    def test_a_metric_that_is_not_logged_is_named_and_the_result_is_kept(self, call):
        code, _, err = call("fit", TOY, "run_dir=run", "reference.metric=test/r")
        message = "`reference.metric` must be a metric that the test logs, found 'test/r'. Did you mean 'test/r2'?"
        assert (code, err) == (2, f"lightning-losses: {message}\n")
        assert "test/r2" in result("run")["metrics"]


class TestCheck:
    @pytest.mark.parametrize(
        ("reference", "code"),
        [
            (["reference.value=0.9"], 0),
            (["reference.value=1.01", "reference.tolerance=0.1"], 0),
            (["reference.value=1.01", "reference.tolerance=0"], 1),
            (["reference.value=0.9", "reference.mode=min", "reference.tolerance=0"], 1),
            (["reference.value=1.01", "reference.mode=min"], 0),
        ],
        ids=["better", "within the tolerance", "missed", "too high", "low enough"],
    )
    def test_fit_and_test_exit_with_1_if_the_reference_is_missed(self, call, reference, code):
        assert call("fit", TOY, "run_dir=run", *reference)[0] == 0
        assert call("fit", TOY, "run_dir=run", *reference, "--check")[0] == code
        assert call("test", TOY, "run_dir=run", *reference, "--check")[0] == code

    def test_it_needs_a_reference(self, call, tmp_path):
        code, _, err = call("fit", TOY, "--check", "reference=null")
        message = "--check needs a reference: add reference.metric=NAME reference.value=VALUE"
        assert (code, err) == (2, f"lightning-losses: {message}\n")
        assert not list(tmp_path.iterdir())


class TestResume:
    def test_a_run_that_was_stopped_and_resumed_is_bit_equal_to_one_that_was_not(self, call, interrupt):
        call("fit", TOY, "run_dir=whole")
        undo = interrupt(10, KeyboardInterrupt())
        code, _, err = call("fit", TOY, "run_dir=parts")
        assert code == 130
        assert err == (
            "lightning-losses: Stopped by SIGINT. Run the same command to resume from parts/checkpoints/last.ckpt.\n"
        )
        undo()
        code, out, _ = call("fit", TOY, "run_dir=parts")
        assert code == 0
        assert out.startswith("Resuming from parts/checkpoints/last.ckpt\n")
        whole, parts = weights("whole"), weights("parts")
        assert all(torch.equal(whole[name], parts[name]) for name in whole | parts)
        assert result("whole")["metrics"] == result("parts")["metrics"]

    def test_a_signal_before_the_first_checkpoint_says_so(self, call, interrupt):
        interrupt(1, KeyboardInterrupt())
        before = signal.getsignal(signal.SIGINT)
        code, _, err = call("fit", TOY, "run_dir=run")
        assert code == 130
        assert err.endswith("Run the same command to start again, as there is no checkpoint yet.\n")
        assert signal.getsignal(signal.SIGINT) is before

    def test_a_finished_run_says_so_and_trains_no_more(self, call, interrupt):
        first = call("fit", TOY, "run_dir=run")[1]
        interrupt(0, AssertionError("trained again"))
        code, out, _ = call("fit", TOY, "run_dir=run")
        assert code == 0
        assert (
            out == f"This run is already finished; another run_dir or seed_everything would start a new one.\n{first}"
        )

    def test_a_finished_run_goes_on_to_more_epochs(self, call):
        call("fit", TOY, "run_dir=run", "trainer.max_epochs=2")
        call("fit", TOY, "run_dir=run", "trainer.max_epochs=4")
        call("fit", TOY, "run_dir=whole", "trainer.max_epochs=4")
        assert all(torch.equal(value, weights("whole")[name]) for name, value in weights("run").items())
        assert result("run")["limits"]["max_epochs"] == 4

    def test_a_directory_with_another_configuration_is_left_alone(self, call):
        call("fit", TOY, "run_dir=run")
        kept = result("run"), Path("run/config.yaml").read_text()
        code, _, err = call("fit", TOY, "run_dir=run", "model.lr=0.1", "data.rows=32", "seed_everything=2")
        differences = "seed_everything (there 1, now 2), model.lr (there 0.2, now 0.1), data.rows (there 64, now 32)"
        message = f"The run in run has another configuration: {differences}. Choose another run_dir."
        assert (code, err) == (2, f"lightning-losses: {message}\n")
        assert (result("run"), Path("run/config.yaml").read_text()) == kept

    def test_the_time_of_all_parts_is_counted(self, call, interrupt, monkeypatch):
        def train(start, end):
            times = itertools.chain([start], itertools.repeat(end))
            monkeypatch.setattr("lightning_losses.cli.stopwatch.monotonic", lambda: next(times))
            call("fit", TOY, "run_dir=run")

        undo = interrupt(10, KeyboardInterrupt())
        train(0, 100)
        undo()
        train(1000, 1005)
        assert result("run")["minutes"] == 1.75


class TestTest:
    def test_it_measures_what_fit_measured_and_leaves_the_curves_alone(self, call):
        call("fit", TOY, "run_dir=run")
        files = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
        code, out, _ = call("test", TOY, "run_dir=run")
        assert code == 0
        assert out.startswith(f"toy (default): test/r2 {result('run')['metrics']['test/r2']:.4f}, ")
        assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == files

    def test_it_takes_other_data(self, call):
        call("fit", TOY, "run_dir=run")
        call("test", TOY, "run_dir=run", "data.noise=[0,3]")
        code, out, _ = call("test", TOY, "run_dir=run", "data.noise=[0,3]", "--check")
        assert (code, "missed by" in out) == (1, True)

    def test_it_takes_no_other_model(self, call):
        call("fit", TOY, "run_dir=run")
        code, _, err = call("test", TOY, "run_dir=run", "model.lr=0.1")
        assert code == 2
        assert "model.lr (there 0.2, now 0.1)" in err

    def test_an_unfinished_run_is_tested_at_its_last_checkpoint(self, call, interrupt):
        interrupt(10, KeyboardInterrupt())
        call("fit", TOY, "run_dir=run")
        code, out, _ = call("test", TOY, "run_dir=run")
        assert code == 0
        assert "run/checkpoints/last.ckpt" in out

    def test_it_needs_a_checkpoint(self, call):
        message = "There is no checkpoint run/checkpoints/last.ckpt: train first, with the verb fit."
        assert call("test", TOY, "run_dir=run") == (2, "", f"lightning-losses: {message}\n")


class TestFailure:
    def test_it_is_one_line_that_says_where_the_traceback_is(self, call):
        code, _, err = call("fit", TOY, "run_dir=run", "model.fail=6")
        message = "term 'mse' is nan at step 6 (traceback in run/traceback-0.txt)"
        assert (code, err) == (1, f"lightning-losses: {message}\n")
        assert "in training_step" in Path("run/traceback-0.txt").read_text()
        assert not Path("run/result.json").exists()

    def test_one_that_is_no_mistake_of_the_user_is_named(self, call, interrupt):
        interrupt(2, KeyError("mask"))
        code, _, err = call("fit", TOY, "run_dir=run")
        message = "KeyError: 'mask' (traceback in run/traceback-0.txt)"
        assert (code, err) == (1, f"lightning-losses: {message}\n")


def test_two_processes_of_the_installed_command_report_once(tmp_path):
    """The console script, since Lightning starts the second process by running the same command again."""
    script = Path(sys.executable).with_name("lightning-losses")
    words = ["fit", TOY, "--check", "run_dir=run", "trainer.devices=2", "trainer.strategy=ddp"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([script, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("reference 0.95 ± 0.02: reached") == 1
    assert result(tmp_path / "run")["hardware"].startswith("2 x ")
    noise = ("Seed set", "GPU available", "Tip", "Initializing", "`Trainer.fit` stopped", "GLOBAL_RANK")
    assert not [word for word in noise if word in done.stdout + done.stderr]
