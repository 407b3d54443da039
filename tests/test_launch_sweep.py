"""Sweeps: every combination has a run of its own, is trained once, and ends in one table."""

import csv
import itertools
import json
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm, directives

from lightning_losses.cli import catalogue, main
from lightning_losses.cli.assembly import Job
from lightning_losses.config import ConfigError
from lightning_losses.launch import local, program, slurm, sweep
from lightning_losses.launch.options import SlurmOptions
from lightning_losses.launch.placement import Placement

TOY = str(Path(__file__).parent / "recipes" / "toy")
QUIET = "trainer.enable_progress_bar=false"
AXES = ["--sweep", "model.lr=0.1,0.2", "model.fail=2,-1"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fake(tmp_path_factory, monkeypatch):
    fake = FakeSlurm(tmp_path_factory.mktemp("slurm"))
    for key, value in fake.environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(program, "program", lambda: str(fake.program))
    return fake


@pytest.fixture
def trained(monkeypatch):
    """Train in this process; the commands that were run."""
    commands = []

    def call(words):
        commands.append(words)
        return main(words[1:])

    monkeypatch.setattr(local, "call", call)
    return commands


@pytest.fixture
def launch(capsys):
    def _launch(*words):
        code = main(["launch", TOY, *words])
        out, err = capsys.readouterr()
        return code, out, err

    return _launch


def table(folder="runs/toy"):
    (file,) = Path(folder).glob("sweep-*/results.csv")
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


class TestAxes:
    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ("0.1", ["0.1"]),
            ("", [""]),
            ("a,b,", ["a", "b", ""]),
            ("[64,64],[32,32]", ["[64,64]", "[32,32]"]),
            ("{class_path: G, init_args: {alpha: 1, b: [1,2]}},Fixed", None),
            ("'a,b',\"c,d\"", ["'a,b'", '"c,d"']),
            ("it's,a,dog's", ["it's", "a", "dog's"]),
            ("${oc.env:A,b},c", ["${oc.env:A,b}", "c"]),
            ('["a]", b],c', ['["a]", b]', "c"]),
            (")a,b(", [")a", "b("]),
        ],
    )
    def test_values_are_split_at_commas_outside_of_brackets_and_quotes(self, text, values):
        assert sweep.split(text) == (values or ["{class_path: G, init_args: {alpha: 1, b: [1,2]}}", "Fixed"])
        assert ",".join(sweep.split(text)) == text

    @pytest.mark.parametrize(
        ("axes", "message"),
        [
            (["model.lr"], "--sweep must be key=value,value,..., found 'model.lr'."),
            (["=1,2"], "--sweep must be key=value,value,..., found '=1,2'."),
            (["a=1,2", "a=3"], "--sweep must name each key once, found a twice."),
            (["a=1,2,1"], "--sweep a must have different values, found '1' twice."),
        ],
    )
    def test_what_is_no_axis_is_refused(self, axes, message):
        with pytest.raises(ConfigError) as error:
            sweep.parse(axes)
        assert str(error.value) == message

    def test_every_combination_comes_once_and_constants_are_no_axis(self):
        job = Job(catalogue.find(TOY), "default", ["data.rows=32"], "")
        jobs = sweep.expand(job, {"model.lr": ["1", "2"], "seed_everything": ["7"], "data.features": ["3", "4", "5"]})
        assert [own for _, own in jobs] == [
            {"model.lr": lr, "data.features": features} for lr, features in itertools.product("12", "345")
        ]
        assert jobs[4][0].overrides == ["data.rows=32", "model.lr=2", "seed_everything=7", "data.features=4"]


@pytest.mark.filterwarnings("ignore:The `srun` command is available")
class TestDirectories:
    def plan(self, *axes):
        job = Job(catalogue.find(TOY), "default", [], "")
        return sweep.plan_all(sweep.expand(job, sweep.parse(axes)), elsewhere=True)

    def test_they_are_distinct_and_the_same_whenever_asked(self):
        axes = ["model.lr=0.1,0.2", "seed_everything=1,2"]
        runs, again = self.plan(*axes), self.plan(*axes)
        assert len({run.directory for run in runs}) == 4
        assert [run.directory for run in runs] == [run.directory for run in again]
        assert sweep.folder(runs) == sweep.folder(again)

    def test_a_longer_sweep_takes_the_runs_of_a_shorter_one(self):
        short, long = self.plan("model.lr=1,2"), self.plan("model.lr=1,2,3")
        assert {run.directory for run in short} < {run.directory for run in long}
        assert sweep.folder(short) != sweep.folder(long)

    def test_two_ways_to_write_a_value_are_no_two_runs(self):
        with pytest.raises(ConfigError, match=r"own directory, found .* for model.lr=0.1 and model.lr=1e-1"):
            self.plan("model.lr=0.1,1e-1")

    def test_a_mistake_in_one_run_is_named_and_stops_all(self, launch, trained, tmp_path):
        code, _, err = launch("--backend", "local", "--sweep", "model.lr=0.1,fast")
        assert (code, err) == (2, "lightning-losses: model.lr=fast: `model.lr` must be a number, found 'fast'.\n")
        assert not trained
        assert not list(tmp_path.iterdir())


class TestHere:
    def test_a_failed_run_does_not_stop_the_others_and_the_table_is_sorted(self, launch, trained):
        code, out, _ = launch("--backend", "local", QUIET, *AXES)
        assert code == 1
        assert len(trained) == 4
        rows = table()
        assert [row["state"] for row in rows] == ["finished", "finished", "failed", "failed"]
        assert [row["model.fail"] for row in rows] == ["-1", "-1", "2", "2"]
        measured = [float(row["test/r2"]) for row in rows[:2]]
        assert measured == sorted(measured, reverse=True)
        for row in rows[:2]:
            result = json.loads(Path(row["run_dir"], "result.json").read_text())
            assert float(row["test/r2"]) == result["metrics"]["test/r2"]
        assert "Run 1 of 4, model.lr=0.1 model.fail=2: failed with exit code 1\n" in out
        assert out.splitlines()[-1].startswith("Written to runs/toy/sweep-")

        del trained[:]  # the same command again: what is finished is not trained again
        code, out, _ = launch("--backend", "local", QUIET, *AXES)
        assert code == 1
        assert [words[-1] for words in trained] == ["model.fail=2", "model.fail=2"]
        assert "Run 2 of 4, model.lr=0.1 model.fail=-1: finished already\n" in out

        code, _, _ = launch("--backend", "local", QUIET, "reference.mode=min", "--collect", *AXES)
        assert code == 0
        assert [float(row["test/r2"]) for row in table()[:2]] == measured[::-1]

    def test_an_interruption_stops_all(self, launch, monkeypatch):
        calls = []
        monkeypatch.setattr(local, "call", lambda words: calls.append(words) or 130)
        code, _, err = launch("--backend", "local", *AXES)
        assert (code, err, len(calls)) == (130, "Interrupted.\n", 1)

    def test_a_table_of_what_has_not_begun(self, launch):
        code, out, _ = launch("--backend", "local", "--collect", "--sweep", "model.lr=0.1,0.2")
        assert code == 0
        assert [(row["model.lr"], row["state"]) for row in table()] == [("0.1", "not started"), ("0.2", "not started")]
        assert "not started" in out


class TestArray:
    def test_each_task_trains_its_own_run(self, fake, launch):
        code, out, _ = launch("--backend", "slurm", "--nodes", "2", "--devices", "1", 'reference.source="a b"', *AXES)
        assert code == 0
        assert out.startswith("4 of 4 runs submitted as job 41\n")
        (file,) = Path("runs/toy").glob("sweep-*/job.sbatch")
        assert fake.arguments() == ["--parsable", "--array=0,1,2,3", str(file)]
        assert directives(file.read_text())["array"] == "0-3"
        for index, (lr, fail) in enumerate(itertools.product(["0.1", "0.2"], ["2", "-1"])):
            done = fake.run(file.read_text(), SLURM_ARRAY_TASK_ID=str(index))
            assert done.returncode == 0, done.stderr
            words = fake.ran()["words"]
            placed = ["trainer.num_nodes=2", "trainer.strategy=ddp"]
            swept = [f"model.lr={lr}", f"model.fail={fail}"]
            assert words == ["fit", f"{TOY}/config.yaml", 'reference.source="a b"', *swept, *placed]

    def test_what_is_finished_or_queued_is_left_out(self, fake, launch, trained, capsys):
        words = ["--devices", "1", QUIET, "--sweep", "model.lr=0.1,0.2,0.3"]
        launch("--backend", "slurm", *words)
        runs = sorted(Path("runs/toy").glob("default-*/slurm-job"), key=lambda file: file.read_text())
        assert [file.read_text() for file in runs] == ["41_0\n", "41_1\n", "41_2\n"]
        main(["fit", TOY, QUIET, "model.lr=0.3"])
        capsys.readouterr()
        fake.squeue("41_0|RUNNING\n")
        _, out, _ = launch("--backend", "slurm", *words)
        assert out.startswith("1 of 3 runs submitted")
        assert "--array=1" in fake.arguments()
        launch("--backend", "slurm", "--collect", *words)
        states = {row["model.lr"]: row["state"] for row in table()}
        assert states == {"0.3": "finished", "0.1": "running", "0.2": "not started"}
        fake.squeue("41_0|RUNNING\n41_1|PENDING\n")
        (fake.notes / "submitted").unlink()
        _, out, _ = launch("--backend", "slurm", *words)
        assert out == "All 3 runs are finished or queued: --collect makes the table of results.\n"
        assert fake.note("submitted") is None

    def test_a_dry_run_shows_script_and_table_and_writes_nothing(self, fake, launch, tmp_path):
        code, out, _ = launch("--backend", "slurm", "--devices", "1", "--dry-run", *AXES)
        assert code == 0
        assert not list(tmp_path.iterdir())
        assert out.splitlines()[-4:] == [
            f"# {lr} {fail}"
            for lr, fail in itertools.product(["model.lr=0.1", "model.lr=0.2"], ["model.fail=2", "model.fail=-1"])
        ]

    def test_runs_of_different_size_are_no_array(self, fake, launch):
        code, _, err = launch("--backend", "slurm", "--sweep", "trainer.devices=1,2")
        assert code == 2
        assert "must have the same nodes, devices and accelerator" in err

    def test_the_directories_are_the_runs_own(self, launch):
        message = "run_dir must not be given with --sweep: each run has a directory of its own."
        words = ["--backend", "slurm", "--devices", "1", "--sweep"]
        for given in (["model.lr=0.1,0.2", "run_dir=a,b"], ["model.lr=0.1,0.2", "--debug", "run_dir=a"]):
            code, _, err = launch(*words, *given)
            assert (code, err.splitlines()[-1]) == (2, f"lightning-losses: {message}")


@pytest.mark.filterwarnings("ignore:The `srun` command is available")
class TestSubmitit:
    @pytest.fixture
    def asked(self):
        pytest.importorskip("submitit")
        return slurm.Request(Placement(1, 1, "cpu"), SlurmOptions(time="5"), 0)

    @pytest.fixture
    def runs(self):
        job = Job(catalogue.find(TOY), "default", [], "")
        return sweep.plan_all(sweep.expand(job, {"model.lr": ["0.1"]}), elsewhere=True)

    def test_processes_of_this_machine_train_the_runs(self, fake, asked, runs):
        from lightning_losses.launch import through_submitit

        (job,) = through_submitit.submit(runs, sweep.folder(runs), asked, system="local")
        assert job.result() is None
        assert fake.ran()["words"] == ["fit", f"{TOY}/config.yaml", "model.lr=0.1"]

    def test_a_failure_is_one(self, fake, asked, runs):
        from lightning_losses.launch import through_submitit

        fake.program.write_text("#!/bin/bash\nexit 3\n")
        (job,) = through_submitit.submit(runs, sweep.folder(runs), asked, system="debug")
        assert "exit code 3 of" in str(job.exception())

    def test_what_is_queued_again_after_a_preemption_is_the_same(self, asked):
        from lightning_losses.launch.task import Fit

        again = Fit().checkpoint(["echo", "hi"])
        assert (type(again.function), again.args) == (Fit, (["echo", "hi"],))

    def test_it_needs_a_time_limit(self, asked, runs):
        from lightning_losses.launch import through_submitit

        with pytest.raises(ConfigError, match="--time must be given with --submitit"):
            through_submitit.submit(runs, Path("x"), slurm.Request(asked.placement, SlurmOptions(), 0))
