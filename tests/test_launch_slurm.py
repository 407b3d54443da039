"""`launch --backend slurm`: everything is checked before anything is queued, and what is queued can be followed."""

import re
from pathlib import Path

import pytest
from fake_slurm import NODES, FakeSlurm, directives

from lightning_losses.cli import main
from lightning_losses.config import ConfigError
from lightning_losses.launch import cluster, program
from lightning_losses.launch.options import SlurmOptions
from lightning_losses.launch.placement import Placement

TOY = str(Path(__file__).parent / "recipes" / "toy")
GPUS = "main*|n1|idle|8|(null)|1:00:00|none\ngpu|g1|mixed|64|gpu:a100:4(S:0-1)|2-00:00:00|none\n"


UNCHECKED = (
    "Whether the partition exists, has such nodes and devices, and allows the time, is not checked. "
    "Without --gpus-per-node, GPUs are asked for only if trainer.accelerator is gpu."
)


@pytest.fixture
def fake(tmp_path_factory, tmp_path, monkeypatch):
    fake = FakeSlurm(tmp_path_factory.mktemp("slurm"))
    for key, value in fake.environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(program, "program", lambda: str(fake.program))
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.fixture
def launch(fake, capsys):
    """Run the verb; its exit code and what it printed."""

    def _launch(*words):
        code = main(["launch", TOY, "--backend", "slurm", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return _launch


@pytest.fixture
def refuse(launch, tmp_path):
    """Run the verb; the one line that it refuses with, having written and queued nothing."""

    def _refuse(*words):
        before = sorted(tmp_path.rglob("*"))
        code, out, err = launch(*words)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before
        return err.removeprefix("lightning-losses: ").rstrip("\n")

    return _refuse


CONNECT = "slurm_load_partitions: Unable to contact slurm controller (connect failure)"
SILENT = pytest.mark.parametrize(
    ("sinfo", "reason"),
    [
        (f"echo '{CONNECT}' >&2; exit 1", f"sinfo fails: {CONNECT}."),
        ("for i in {1..10}; do echo attempt $i >&2; done; exit 1", "sinfo fails: attempt 8 attempt 9 attempt 10."),
        ("exec sleep 600", "sinfo gave no answer within 0.5 seconds."),
    ],
    ids=["refused", "unresolved", "silent"],
)


class TestSubmit:
    def test_the_job_trains_what_was_checked_where_it_was_checked(self, fake, launch, tmp_path):
        odd = 'reference.source=it\'s "odd" [1, 2]'
        code, _, _ = launch("--size", "smoke", "--nodes", "2", "--devices", "4", "--time", "30", "model.lr=0.1", odd)
        assert code == 0
        directory = next((tmp_path / "runs" / "toy").iterdir())
        file = directory / "job.sbatch"
        assert fake.arguments() == ["--parsable", str(file.relative_to(tmp_path))]
        assert fake.note("tested") == fake.note("submitted") == file.read_text()
        placed = ["trainer.num_nodes=2", "trainer.devices=4", "trainer.strategy=ddp"]
        fake.run(file.read_text())
        words = ["fit", f"{TOY}/config.yaml", "--size", "smoke", "model.lr=0.1", odd, *placed]
        assert fake.ran()["words"] == words
        assert fake.ran()["cwd"] == str(tmp_path)
        asked = directives(file.read_text())
        assert (asked["nodes"], asked["ntasks-per-node"], asked["time"]) == ("2", "4", "30")
        assert Path(asked["output"]).parent == directory
        assert main(["validate-config", *words[1:]]) == 0

    def test_it_says_how_to_follow_the_job(self, launch, tmp_path):
        _, out, _ = launch("--nodes", "1", "--devices", "1", "run_dir=my run")
        rows = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in out.splitlines()[1:])
        assert out.startswith("submitted as job 41\n")
        assert rows == {
            "state": "squeue --job 41",
            "output": "tail -F 'my run'/slurm-41.log",
            "cancel": "scancel 41",
            "script": "'my run'/job.sbatch",
        }
        assert Path("my run/job.sbatch").is_file()

    def test_one_device_is_the_same_run_as_plain_fit(self, fake, launch):
        launch("--nodes", "1", "--devices", "1", "model.lr=0.1")
        fake.run(fake.note("submitted"))
        assert fake.ran()["words"] == ["fit", f"{TOY}/config.yaml", "model.lr=0.1"]

    def test_a_dry_run_prints_what_would_be_submitted_and_does_nothing(self, fake, launch, tmp_path):
        code, printed, _ = launch("--nodes", "2", "--devices", "1", "--dry-run")
        assert code == 0
        assert not list(tmp_path.iterdir())
        assert fake.note("submitted") is None
        launch("--nodes", "2", "--devices", "1")
        assert printed == fake.note("submitted")

    def test_a_dry_run_needs_no_slurm(self, launch, monkeypatch):
        code, script, said = launch("--nodes", "2", "--devices", "1", "--dry-run")
        assert said == ""
        monkeypatch.setenv("PATH", "/nowhere")
        warning = f"lightning-losses: warning: There is no SLURM on this machine. {UNCHECKED}\n"
        assert launch("--nodes", "2", "--devices", "1", "--dry-run") == (code, script, warning)

    @SILENT
    def test_a_dry_run_needs_no_controller(self, fake, launch, monkeypatch, tmp_path, sinfo, reason):
        words = ("--nodes", "2", "--devices", "1", "--partition", "gpu", "trainer.accelerator=gpu", "--dry-run")
        fake.sinfo(GPUS.replace("main*|n1", "gpu|g2").replace("(null)", "gpu:1"))
        _, script, _ = launch(*words)
        assert "--gpus-per-node=1" in script
        fake.replace("sinfo", sinfo)
        monkeypatch.setattr(cluster, "PATIENCE", 0.5 if "sleep" in sinfo else 60)
        warning = f"lightning-losses: warning: SLURM's controller does not answer: {reason} {UNCHECKED}\n"
        assert launch(*words) == (0, script, warning)
        assert not list(tmp_path.iterdir())

    def test_sbatch_does_not_see_the_job_that_it_is_called_from(self, fake, launch, monkeypatch):
        monkeypatch.setenv("SLURM_MEM_PER_NODE", "1")
        monkeypatch.setenv("SLURM_CONF", "/etc/mine.conf")
        launch("--devices", "1")
        names = [entry.partition("=")[0] for entry in fake.note("environment").split("\0")]
        assert [name for name in names if name.startswith("SLURM_")] == ["SLURM_CONF"]

    def test_sbatchs_own_variables_are_defaults_and_no_more(self, fake, launch, monkeypatch):
        fake.sinfo(GPUS)
        monkeypatch.setenv("SBATCH_PARTITION", "gpu")
        monkeypatch.setenv("SBATCH_SIGNAL", "TERM@1")
        monkeypatch.setenv("SBATCH_QOS", "high")
        for words, partition in ([], "gpu"), (["--partition", "main"], "main"):
            launch("--devices", "1", *words)
            assert directives(fake.note("submitted"))["partition"] == partition
            names = [entry.partition("=")[0] for entry in fake.note("environment").split("\0")]
            assert [name for name in names if name.startswith("SBATCH_")] == ["SBATCH_QOS"]

    def test_a_script_that_a_person_edited_is_kept(self, launch):
        launch("--devices", "1", "run_dir=run")
        edited = Path("run/job.sbatch").read_text() + "# mine\n"
        Path("run/job.sbatch").write_text(edited)
        assert launch("--devices", "1", "run_dir=run")[0] == 0
        assert Path("run/job.previous.sbatch").read_text() == edited
        launch("--devices", "1", "run_dir=run")
        assert Path("run/job.previous.sbatch").read_text() == edited

    def test_a_finished_run_is_not_queued(self, fake, launch, capsys):
        assert main(["fit", TOY, "run_dir=run", "trainer.enable_progress_bar=false"]) == 0
        capsys.readouterr()
        code, out, _ = launch("--devices", "1", "run_dir=run", "trainer.enable_progress_bar=false")
        assert code == 0
        assert out == "This run is already finished; another run_dir or seed_everything would start a new one.\n"
        assert fake.note("submitted") is None
        launch("--devices", "1", "run_dir=run", "trainer.max_epochs=9", "trainer.enable_progress_bar=false")
        assert fake.note("submitted") is not None


class TestBeforeQueueing:
    def test_a_wrong_configuration(self, refuse):
        assert refuse("--devices", "1", "model.lrr=1") == "`model.lrr` does not exist. Did you mean 'lr'?"
        assert "`model.lr` must be" in refuse("--devices", "1", "model.lr=fast")

    def test_a_machine_without_slurm(self, refuse, monkeypatch):
        monkeypatch.setenv("PATH", "/nowhere")
        said = refuse("--devices", "1")
        assert said.startswith("There is no sbatch on this machine: run it on a cluster's login node")
        assert said.endswith("or take --backend local or torchrun.")

    @SILENT
    def test_a_controller_that_does_not_answer(self, fake, refuse, monkeypatch, sinfo, reason):
        fake.replace("sinfo", sinfo)
        monkeypatch.setattr(cluster, "PATIENCE", 0.5 if "sleep" in sinfo else 60)
        for words in ([], ["--sweep", "model.lr=0.1,0.2"]):
            assert refuse("--devices", "1", *words) == f"SLURM's controller does not answer: {reason}"
        assert fake.note("submitted") is fake.note("tested") is None

    def test_a_partition_that_does_not_exist(self, fake, refuse):
        fake.sinfo(GPUS)
        expected = "There is no partition 'gpus'. Did you mean 'gpu'? The cluster has gpu, main."
        assert refuse("--devices", "1", "--partition", "gpus") == expected

    def test_more_devices_than_a_node_has(self, fake, refuse):
        expected = "--devices must be at most what a node of main has, 8 processes, found 9."
        assert refuse("--devices", "9") == expected
        expected = "--devices must be at most what a node of main has, 2 processes of 3 CPUs, found 3."
        assert refuse("--devices", "3", "--cpus-per-task", "3") == expected
        fake.sinfo(GPUS)
        words = ["--partition", "gpu", "trainer.accelerator=gpu"]
        assert refuse("--devices", "5", *words) == "--devices must be at most what a node of gpu has, 4 GPUs, found 5."
        expected = "--devices must be at most --gpus-per-node, which is 2, found 4."
        assert refuse("--devices", "4", "--gpus-per-node", "2", *words) == expected
        expected = "--devices must be at most what a node of main has, 0 GPUs, found 1."
        assert refuse("--devices", "1", "trainer.accelerator=gpu") == expected

    @pytest.mark.parametrize("state", ["down", "down*", "idle*", "drained", "draining", "fail", "unknown"])
    def test_too_few_nodes_in_service(self, fake, refuse, state):
        fake.sinfo(NODES.replace("n2|idle|8|(null)|1:00:00|none", f"n2|{state}|8|(null)|1:00:00|Not | responding"))
        expected = f"what main has of fitting nodes in service, 1, found 2: n2 is {state} (Not | responding)."
        assert refuse("--nodes", "2", "--devices", "1") == f"--nodes must be at most {expected}"

    def test_more_nodes_than_there_are(self, refuse):
        expected = "--nodes must be at most what main has of fitting nodes in service, 2, found 3."
        assert refuse("--nodes", "3", "--devices", "1") == expected

    def test_nodes_that_are_busy_are_waited_for(self, fake, launch):
        fake.sinfo(NODES.replace("idle", "allocated"))
        assert launch("--nodes", "2", "--devices", "1")[0] == 0

    def test_a_node_asked_for_by_name_that_is_down(self, fake, refuse, launch):
        fake.sinfo(NODES.replace("n2|idle", "n2|down"))
        assert "found 1: n2 is down." in refuse("--devices", "1", "--slurm", "nodelist=n2")
        assert launch("--devices", "1", "--slurm", "nodelist=n1")[0] == 0

    def test_more_time_than_the_partition_gives(self, refuse, launch):
        assert (
            refuse("--devices", "1", "--time", "61") == "--time must be at most 1:00:00, the limit of main, found 61."
        )
        assert launch("--devices", "1", "--time", "60")[0] == 0

    def test_what_slurm_refuses(self, fake, refuse):
        (fake.notes / "refusal").write_text("allocation failure: Invalid account\n  or partition\n")
        assert refuse("--devices", "1") == "sbatch fails: allocation failure: Invalid account or partition"

    def test_a_directory_in_which_a_job_trains(self, fake, launch, refuse):
        launch("--devices", "1", "run_dir=run")
        fake.squeue("40|RUNNING\n41|PENDING\n")
        expected = "Job 41, which is pending, trains in run already: wait for it, or scancel 41"
        assert refuse("--devices", "1", "run_dir=run") == expected
        fake.squeue("40|RUNNING\n")
        assert launch("--devices", "1", "run_dir=run")[0] == 0

    def test_a_directory_with_another_configuration(self, refuse, capsys):
        main(["fit", TOY, "run_dir=run", "trainer.enable_progress_bar=false", "trainer.max_epochs=1"])
        capsys.readouterr()
        said = refuse("--devices", "1", "run_dir=run", "model.lr=0.1")
        assert said.startswith("The run in run has another configuration: model.lr (there 0.2, now 0.1).")

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--devices", "0"], "`--devices` must be at least 1, found 0."),
            (["trainer.devices=auto"], "--devices must be given, as trainer.devices is 'auto', which depends on"),
            (["--devices", "2", "trainer.devices=4"], "--devices 2 and trainer.devices=4 contradict each other"),
            (
                ["--devices", "1", "--time", "soon"],
                "--time must be MINUTES, HOURS:MINUTES:SECONDS or DAYS-HOURS, found",
            ),
            (["--devices", "1", "--collect"], "--collect needs --sweep KEY=VALUE,VALUE"),
            (["--devices", "1", "--submitit"], "--submitit needs --sweep KEY=VALUE,VALUE"),
        ],
    )
    def test_words_that_contradict_or_lack_something(self, refuse, words, message):
        assert refuse(*words).startswith(message)


class TestGpus:
    """How many are asked for."""

    @pytest.mark.parametrize(
        ("partition", "accelerator", "given", "expected"),
        [
            ("gpu", "auto", None, 2),
            ("main", "auto", None, 0),
            ("gpu", "cpu", None, 0),
            ("gpu", "gpu", None, 2),
            ("gpu", "auto", 4, 4),
            ("gpu", "auto", 0, 0),
        ],
    )
    def test_as_many_as_devices_where_there_are_some(self, fake, partition, accelerator, given, expected):
        fake.sinfo(GPUS)
        options = SlurmOptions(partition=partition, gpus_per_node=given)
        nodes = cluster.candidates(options)
        assert cluster.gpus_per_node(nodes, Placement(1, 2, accelerator), options) == expected

    def test_the_login_node_needs_none(self, fake, launch):
        fake.sinfo(GPUS)
        words = ["--nodes", "1", "--devices", "4", "--partition", "gpu", "trainer.accelerator=gpu"]
        for strategy in ("ddp", "fsdp"):
            code, _, err = launch(*words, f"trainer.strategy={strategy}")
            assert code == 0, err
            assert directives(fake.note("submitted"))["gpus-per-node"] == "4"
            fake.run(fake.note("submitted"))
            assert "trainer.accelerator=gpu" in fake.ran()["words"]


@pytest.mark.parametrize(
    ("time", "minutes"),
    [("90", 90), ("90:30", 90.5), ("1:30:00", 90), ("2-0", 2880), ("1-12:30", 2190), ("1-0:0:30", 1440.5)],
)
def test_times_are_read_as_slurm_reads_them(time, minutes):
    assert cluster.minutes(time) == minutes


@pytest.mark.parametrize("time", ["", "1h", "-5", "1:2:3:4"])
def test_what_is_no_time_is_refused(time):
    with pytest.raises(ConfigError, match="--time must be"):
        cluster.minutes(time)
