"""The batch script: what reaches the program is what was asked for, and nothing can hang."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm, directives

from lightning_losses.config import ConfigError
from lightning_losses.launch import script, shell
from lightning_losses.launch.options import SlurmOptions, parse_extra
from lightning_losses.launch.placement import Placement

ODD = [
    'a=[1, "b c"]',
    "a='it''s'",
    "a=$HOME `id` $(id) \\ ! * ? ~ # ; & | < > ( ) { }",
    'model.x={class_path: a.B, init_args: {s: "${data.x}"}}',
    "two\nlines\tand\ttabs\r",
    "",
    "-flag",
    "%j %A %%",
    "größe=ß … 🎲",
    "a\u2028b\x85c\x1b[0m",
    "bytes=\udcff\udc80",
    "history=!!",
    "ends=\\",
    "''\"\"",
]
ALPHABET = "ab =\"'\\$`!#*?[]{}()<>|&;~,:%\n\t\r\x01\x7fé☃🎲\u2028\udcfe"


@pytest.fixture
def fake(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    return FakeSlurm(tmp_path / "fake")


def render(fake, words=(), options=None, placement=None, gpus=0):
    return script.render(
        "toy",
        Path("runs/toy"),
        [str(fake.program), "fit", *words],
        placement or Placement(2, 4, "cpu"),
        options or SlurmOptions(),
        gpus,
    )


def random_words(seed, count):
    draw = random.Random(seed)
    return ["".join(draw.choices(ALPHABET, k=draw.randrange(12))) for _ in range(count)]


class TestWords:
    @pytest.mark.parametrize("words", [ODD, *(random_words(seed, 100) for seed in range(5))])
    def test_bash_reads_back_what_was_written(self, words):
        command = f"printf '%s\\0' {shell.line(words)}"
        assert "\n" not in command
        out = subprocess.run(["bash", "-c", os.fsencode(command)], capture_output=True, check=True).stdout
        assert [os.fsdecode(part) for part in out.split(b"\0")[:-1]] == words

    @pytest.mark.parametrize("words", [ODD, *(random_words(seed, 100) for seed in range(5, 8))])
    def test_they_reach_the_program_through_the_script(self, fake, words):
        done = fake.run(render(fake, words))
        assert done.returncode == 0, done.stderr
        assert fake.ran()["words"] == ["fit", *words]

    def test_they_reach_the_program_through_the_table_of_a_sweep(self, fake, tmp_path):
        table = tmp_path / "it's a folder" / "table.txt"
        table.parent.mkdir()
        rows = [ODD, [], random_words(9, 50), ["last"]]
        table.write_bytes(os.fsencode("".join(f"{shell.line(row)}\n" for row in rows)))
        text = script.render_array(
            "toy", table, len(rows), [str(fake.program), "fit"], Placement(1, 1, "cpu"), SlurmOptions(), 0
        )
        assert directives(text)["array"] == "0-3"
        for index, row in enumerate(rows):
            done = fake.run(text, SLURM_ARRAY_TASK_ID=str(index))
            assert done.returncode == 0, done.stderr
            assert fake.ran()["words"] == ["fit", *row]

    def test_long_lines_are_continued(self, fake):
        words = [f"model.key{index}=value" for index in range(50)]
        text = render(fake, words)
        assert max(map(len, text.splitlines())) <= 120
        fake.run(text)
        assert fake.ran()["words"] == ["fit", *words]


class TestMeeting:
    def test_the_processes_know_address_port_and_network(self, fake):
        fake.run(render(fake))
        env = fake.ran()["env"]
        assert (env["MASTER_ADDR"], env["MASTER_PORT"]) == ("127.0.0.1", str(15000 + 1234))
        assert env["GLOO_SOCKET_IFNAME"] == env["NCCL_SOCKET_IFNAME"] == "lo"

    def test_a_network_that_the_user_or_the_site_has_chosen_stays(self, fake):
        fake.run(render(fake), NCCL_SOCKET_IFNAME="ib0")
        env = fake.ran()["env"]
        assert (env["GLOO_SOCKET_IFNAME"], env["NCCL_SOCKET_IFNAME"]) == ("lo", "ib0")
        fake.run(render(fake, options=SlurmOptions(interface="eth1")), NCCL_SOCKET_IFNAME="ib0")
        env = fake.ran()["env"]
        assert (env["GLOO_SOCKET_IFNAME"], env["NCCL_SOCKET_IFNAME"]) == ("eth1", "eth1")

    def test_an_address_of_the_submitting_shell_is_not_taken(self, fake):
        fake.run(render(fake), MASTER_ADDR="login.example", MASTER_PORT="1")
        env = fake.ran()["env"]
        assert (env["MASTER_ADDR"], env["MASTER_PORT"]) == ("127.0.0.1", "16234")

    def test_without_an_address_nothing_starts(self, fake):
        (fake.notes / "no_addresses").touch()
        done = fake.run(render(fake))
        assert done.returncode != 0
        assert "scontrol does not know the first node's address" in done.stderr
        assert fake.ran() == {}

    def test_srun_starts_the_processes_with_this_environment_and_ends_all_when_one_fails(self, fake):
        fake.run(render(fake))
        assert fake.note("srun").split() == ["--export=ALL", "--kill-on-bad-exit=1"]

    def test_the_exit_code_is_that_of_the_training(self, fake):
        fake.program.write_text("#!/bin/bash\nexit 3\n")
        assert fake.run(render(fake)).returncode == 3

    def test_signals_wait_for_a_training_that_still_starts(self, fake):
        fake.program.write_text(
            f"#!{sys.executable}\nimport os, signal\nos.kill(os.getpid(), signal.SIGUSR1)\n"
            "os.kill(os.getpid(), signal.SIGTERM)\nprint(*sorted(signal.sigpending()))\n"
        )
        done = fake.run(render(fake))
        assert (done.returncode, done.stdout) == (0, f"{signal.SIGUSR1.value} {signal.SIGTERM.value}\n")


class TestDirectives:
    def test_what_every_job_asks_for(self, fake, tmp_path):
        assert directives(render(fake)) == {
            "job-name": "toy",
            "nodes": "2",
            "ntasks-per-node": "4",
            "signal": "USR1@90",
            "chdir": str(tmp_path),
            "output": f"{tmp_path}/runs/toy/slurm-%j.log",
            "open-mode": "append",
            "requeue": None,
        }

    def test_what_the_user_asks_for(self, fake):
        options = SlurmOptions(
            partition="gpu,long",
            account="me",
            time="2-0",
            cpus_per_task=3,
            mem="64G",
            setup=("module load cuda", "export MINE='a b'"),
            extra=parse_extra(["qos=high", "exclusive", 'comment=an "odd" one\\', "signal=USR1@300"]),
        )
        text = render(fake, options=options, gpus=4)
        asked = directives(text)
        wanted = {"partition": "gpu,long", "account": "me", "time": "2-0", "cpus-per-task": "3", "mem": "64G"}
        wanted |= {"gpus-per-node": "4", "qos": "high", "exclusive": None, "signal": "USR1@300"}
        assert asked.items() >= wanted.items()
        assert asked["comment"] == 'an "odd" one\\'
        assert text.count("--signal") == 1
        fake.run(text)
        env = fake.ran()["env"]
        assert (env["MINE"], env["SRUN_CPUS_PER_TASK"]) == ("a b", "3")

    def test_a_percent_sign_in_a_folder_is_none_of_slurms_patterns(self, fake, tmp_path):
        text = script.render("toy", Path("50%j done"), ["fit"], Placement(1, 1, "cpu"), SlurmOptions(), 0)
        assert directives(text)["output"] == f"{tmp_path}/50%%j done/slurm-%j.log"

    def test_it_depends_on_nothing_but_what_is_asked(self, fake):
        assert render(fake, ODD[:2]) == render(fake, ODD[:2])
        assert render(fake, ODD[:2]) != render(fake, ODD[:1])

    def test_bash_accepts_it(self, fake):
        text = render(fake, ODD[:5], SlurmOptions(cpus_per_task=2, setup=("true",)), gpus=1)
        assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"cpus_per_task": 0}, "--cpus-per-task must be at least 1, found 0."),
            ({"gpus_per_node": -1}, "--gpus-per-node must be at least 0, found -1."),
            ({"extra": {"nodes": "3"}}, "--slurm nodes must be given by --nodes, so that the training knows of it."),
            ({"extra": {"array": "1"}}, "--slurm array must be given by --sweep, so that the training knows of it."),
        ],
    )
    def test_options_that_would_contradict_the_training_are_refused(self, values, message):
        with pytest.raises(ConfigError) as error:
            SlurmOptions(**values)
        assert str(error.value) == message

    @pytest.mark.parametrize("text", ["=x", "qos=a\nb", "a b=c", ""])
    def test_what_is_no_option_is_refused(self, text):
        with pytest.raises(ConfigError, match="--slurm must be an option of sbatch, such as qos=high, found"):
            parse_extra([text])
