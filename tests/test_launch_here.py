"""`launch` on this machine: by Lightning's own launcher, or by torchrun."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_losses.cli import main
from lightning_losses.config import ConfigError
from lightning_losses.launch import local, placement, program, torchrun
from lightning_losses.launch.placement import Placement

TOY = str(Path(__file__).parent / "recipes" / "toy")
FIT = ["lightning-losses", "fit", "toy"]
SCRIPT = Path(sys.executable).with_name("lightning-losses")


@pytest.fixture
def launch(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "program", lambda: "/bin/lightning-losses")

    def _launch(*words):
        code = main(["launch", TOY, *words])
        out, err = capsys.readouterr()
        return code, out, err

    return _launch


class TestPlacement:
    @pytest.mark.parametrize(
        ("trainer", "nodes", "devices", "changes"),
        [
            ({"devices": 1}, None, None, []),
            ({}, 1, 1, ["trainer.devices=1"]),
            ({"devices": 4}, None, 4, ["trainer.strategy=ddp"]),
            ({"devices": 4, "num_nodes": 2, "strategy": "ddp"}, 2, 4, []),
            ({"devices": 1, "strategy": "fsdp"}, 2, 8, ["trainer.num_nodes=2", "trainer.devices=8"]),
            ({"devices": 8, "num_nodes": 4}, 1, 1, ["trainer.num_nodes=1", "trainer.devices=1"]),
            ({"devices": "auto"}, 2, None, ["trainer.num_nodes=2", "trainer.strategy=ddp"]),
        ],
    )
    def test_only_what_the_configuration_does_not_say_is_added(self, trainer, nodes, devices, changes):
        assert placement.overrides({"trainer": trainer}, nodes, devices) == changes

    @pytest.mark.parametrize(
        ("trainer", "expected"),
        [
            ({"devices": 2}, Placement(1, 2, "auto")),
            ({"devices": "2", "num_nodes": 3, "accelerator": "gpu"}, Placement(3, 2, "gpu")),
            ({"devices": [0, 3]}, Placement(1, 2, "auto")),
        ],
    )
    def test_devices_are_counted(self, trainer, expected):
        assert Placement.of({"trainer": trainer}) == expected

    @pytest.mark.parametrize("devices", ["auto", -1, "-1", 0, []])
    def test_devices_that_depend_on_the_machine_are_asked_for(self, devices):
        with pytest.raises(ConfigError, match="--devices must be given, as trainer.devices is"):
            Placement.of({"trainer": {"devices": devices}})


class TestTorchrun:
    def test_one_node(self):
        words = torchrun.command(FIT, Placement(1, 4, "gpu"), None, "x")
        assert words[3:] == ["--standalone", "--nproc-per-node=4", "--no-python", *FIT]

    @pytest.mark.parametrize(
        ("endpoint", "meeting"),
        [("127.0.0.1", "127.0.0.1:29400"), ("localhost:1234", "localhost:1234"), ("[::1]:5", "[::1]:5")],
    )
    def test_several_nodes_meet_at_the_first(self, endpoint, meeting):
        words = torchrun.command(FIT, Placement(2, 4, "gpu"), endpoint, "x")
        where = ["--nnodes=2", "--rdzv-backend=c10d", f"--rdzv-endpoint={meeting}", "--rdzv-id=x"]
        assert words[3:] == [*where, "--nproc-per-node=4", "--no-python", *FIT]

    @pytest.mark.parametrize("endpoint", ["no.such.host.invalid:1", "localhost:99999", "localhost:x", ":1"])
    def test_a_place_that_cannot_be_found_is_refused(self, endpoint):
        with pytest.raises(ConfigError, match="--rdzv-endpoint must be HOST:PORT of the first node, found"):
            torchrun.command(FIT, Placement(2, 1, "cpu"), endpoint, "x")

    def test_several_nodes_need_a_place(self, launch):
        message = "--rdzv-endpoint must be given with several nodes: HOST:PORT of the first of them."
        found = launch("--backend", "torchrun", "--nodes", "2", "--devices", "1")
        assert found == (2, "", f"lightning-losses: {message}\n")

    def test_it_starts_the_program_once_for_each_device_with_its_words(self, tmp_path):
        odd = ["a=[1, 'b c']", "--flag", ""]
        program = ["sh", "-c", 'printf "%s|" "$WORLD_SIZE" "$@" > "rank-$RANK"', "fit"]
        words = torchrun.command([*program, *odd], Placement(1, 2, "cpu"), None, "x")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(words, cwd=tmp_path, env=environment, check=True)
        found = {file.name: file.read_text() for file in tmp_path.iterdir()}
        assert found == dict.fromkeys(["rank-0", "rank-1"], "2|a=[1, 'b c']|--flag||")


class TestLocal:
    def test_it_is_the_command_that_trains(self, launch):
        code, out, _ = launch("--backend", "local", "--devices", "2", "--dry-run", 'reference.source="a b"')
        assert code == 0
        quoted = "'reference.source=\"a b\"'"
        assert out == f"/bin/lightning-losses fit {TOY}/config.yaml {quoted} trainer.devices=2 trainer.strategy=ddp\n"

    def test_this_process_becomes_that_command(self, launch, monkeypatch):
        class Replaced(BaseException):
            pass

        def execv(path, words):
            raise Replaced(path, words)

        monkeypatch.setattr(os, "execv", execv)
        with pytest.raises(Replaced) as replaced:
            launch("--backend", "local", "model.lr=0.1")
        words = ["/bin/lightning-losses", "fit", f"{TOY}/config.yaml", "model.lr=0.1"]
        assert replaced.value.args == (words[0], words)

    def test_more_nodes_than_this_are_refused(self, launch):
        message = "--nodes must be 1 with --backend local, found 2: take slurm or torchrun."
        assert launch("--backend", "local", "--nodes", "2") == (2, "", f"lightning-losses: {message}\n")

    def test_more_gpus_than_this_machine_has_are_refused(self, launch):
        code, _, err = launch("--backend", "local", "--devices", "64", "trainer.accelerator=gpu")
        assert (code, err.count("\n")) == (2, 1)

    def test_a_command_ends_with_the_launcher(self, tmp_path):
        file = tmp_path / "pid"
        launcher = multiprocessing.get_context("fork").Process(
            target=local.call, args=(["sh", "-c", f"echo $$ > {file}; exec sleep 60"],)
        )
        launcher.start()
        while not (file.exists() and file.read_text().strip()):
            assert launcher.is_alive()
            time.sleep(0.01)
        launcher.terminate()
        launcher.join(timeout=60)
        assert launcher.exitcode == 128 + signal.SIGTERM
        assert not Path("/proc", file.read_text().strip()).exists()

    @pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("kill -TERM $$", -15), ("true", 0)])
    def test_the_exit_code_is_the_commands(self, command, code):
        before = signal.getsignal(signal.SIGTERM)
        assert local.call(["sh", "-c", command]) == code
        assert signal.getsignal(signal.SIGTERM) is before


def test_the_program_is_the_one_beside_the_interpreter():
    assert Path(program.program()) == SCRIPT
