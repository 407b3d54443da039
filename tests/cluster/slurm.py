"""A SLURM cluster of two nodes on one machine: real daemons, all they write in one folder, all stopped in the end.

`python tests/cluster/slurm.py COMMAND ...` runs a command in one; `bash`, for example, to try sbatch, srun and scancel.
Debian and Ubuntu have SLURM: ``apt-get install --no-install-recommends slurm-wlm munge``.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "sinfo")
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
NODES = ("n1", "n2")
PATIENCE = 10  # seconds after which SLURM takes a node that does not answer for dead
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL")

# Jobs of `urgent` take the nodes away from those of `work`, which have 20 seconds to leave. Credentials expire after 5
# seconds, not 120: for so long a job that is queued again has to wait.
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=10
SlurmdTimeout={patience}
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] CPUs=2 RealMemory=1000
PartitionName=work Nodes=n[1-2] Default=YES PriorityTier=1 GraceTime=20 OverSubscribe=EXCLUSIVE
PartitionName=urgent Nodes=n[1-2] PriorityTier=2 PreemptMode=OFF OverSubscribe=EXCLUSIVE
"""


def why_not() -> str | None:
    """Why no cluster can be started here; None if one can."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
    return f"no {missing[0]} here: apt-get install slurm-wlm munge" if missing else None


class Cluster:
    """The cluster runs inside a with statement.

    Args:
        folder: for all that its daemons write; made if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        for part in ("state", "munge"):
            (self.folder / part).mkdir(parents=True, mode=0o755)
        host = socket.gethostname().partition(".")[0]
        text = CONFIGURATION.format(
            host=host, ports=_free_ports(3), user=getpass.getuser(), folder=self.folder, patience=PATIENCE
        )
        (self.folder / "slurm.conf").write_text(text)
        try:
            self._start_munge()
            self._start("slurmctld", "slurmctld", "-D")
            for node in NODES:
                self.start_node(node)
            for node in NODES:
                self.wait_for_node(node, "idle")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        self._start(node, "slurmd", "-D", "-N", node)

    def kill_node(self, node: str) -> None:
        """What a power failure does: its daemon and all processes of its jobs are gone, without a word."""
        self._daemons[node].kill()
        self._daemons.pop(node).wait()
        jobs = [process for process in self._processes() if f"SLURMD_NODENAME={node}" in _environment(process)]
        keepers = {_parent(process) for process in jobs} & set(self._processes())  # who would report the others' death
        for process in [*keepers, *jobs]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def wait_for_node(self, node: str, state: str, seconds: float = 120) -> None:
        """Until SLURM calls a node "idle", say, or "down"."""
        deadline, found = time.monotonic() + seconds, ""
        while not found.startswith(state):
            if time.monotonic() > deadline:
                raise RuntimeError(f"Node {node} is not {state} after {seconds} s: {found}")
            time.sleep(0.1)
            try:
                found = self.call("sinfo", "--noheader", f"--nodes={node}", "--partition=work", "--format=%T")
            except RuntimeError as error:
                found = str(error)

    def submit(self, script: Path, *options: str) -> str:
        """Queue a batch script; the id of its job."""
        return self.call("sbatch", "--parsable", *options, str(script))

    def preempt(self) -> None:
        """Queue a short job that needs both nodes and goes before."""
        script = self.folder / "urgent.sh"
        script.write_text("#!/bin/bash\nsleep 1\n")
        self.submit(script, "--partition=urgent", "--nodes=2", "--output=/dev/null")

    def job(self, job: str) -> dict[str, str]:
        """What SLURM knows of a job."""
        return dict(word.partition("=")[::2] for word in self.call("scontrol", "show", "job", "-o", job).split())

    def wait(self, job: str, seconds: float = 600) -> dict[str, str]:
        """What SLURM knows of a job at its end."""
        deadline = time.monotonic() + seconds
        while (known := self.job(job))["JobState"] not in ENDED:
            if time.monotonic() > deadline:
                raise RuntimeError(f"Job {job} is {known['JobState']} after {seconds} s")
            time.sleep(0.2)
        return known

    def call(self, *words: str) -> str:
        """What a command of SLURM prints."""
        done = subprocess.run(words, env=self.environment, check=False, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def stop(self) -> None:
        """Stop the daemons, and whatever of the jobs still runs."""
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(5)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        for process in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _start(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._daemons[name] = subprocess.Popen(words, env=self.environment, stdout=log, stderr=log)

    def _start_munge(self) -> None:
        home = self.folder / "munge"
        key = home / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed", "key-file": "key"}
        options = [f"--{option}={home / file}" for option, file in files.items()]
        self._start("munged", "munged", "--foreground", "--force", *options)

    def _processes(self) -> list[int]:
        """All processes of this cluster but the caller: daemons and jobs have its configuration in their environment."""
        others = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        mark = f"SLURM_CONF={self.environment['SLURM_CONF']}"
        return [process for process in others if process != os.getpid() and mark in _environment(process)]


def _environment(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/environ").read_text(errors="replace").split("\0")
    except OSError:  # it has ended, or is not ours
        return []


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def _free_ports(count: int) -> list[int]:
    """Neighbours, since SLURM takes a range."""
    for first in range(17000, 30000, count):
        sockets = []
        try:
            for port in range(first, first + count):
                sockets.append(socket.create_server(("127.0.0.1", port)))
            return list(range(first, first + count))
        except OSError:
            continue
        finally:
            for opened in sockets:
                opened.close()
    raise RuntimeError("There are no free ports.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home, Cluster(Path(home, "cluster")) as cluster:
        sys.exit(subprocess.call(sys.argv[1:] or ["bash"], env=cluster.environment))
