"""Stand-ins for SLURM's programs that note what they are given, and run a batch script as SLURM would."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

NODES = "main*|n1|idle|8|(null)|1:00:00|none\nmain*|n2|idle|8|(null)|1:00:00|none\n"

SBATCH = r"""#!/bin/bash
for last; do :; done
case " $* " in
*" --test-only "*) cat > "$FAKE/tested"; [ ! -f "$FAKE/refusal" ] || { cat "$FAKE/refusal" >&2; exit 1; } ;;
*) printf '%s\0' "$@" > "$FAKE/arguments"; env -0 > "$FAKE/environment"; cp "$last" "$FAKE/submitted"; echo 41 ;;
esac
"""
SCONTROL = r"""#!/bin/bash
case "$1 $2" in
"show hostnames") tr , '\n' <<< "$3" ;;
"show node") [ -f "$FAKE/no_addresses" ] || echo "NodeName=$3 NodeAddr=127.0.0.1 Port=1" ;;
esac
"""
SRUN = r"""#!/bin/bash
while [[ $1 == --* ]]; do echo "$1" >> "$FAKE/srun"; shift; done
exec "$@"
"""
PRINT = '#!/bin/bash\ncat "$FAKE/{name}.txt"\n'
PROGRAM = """#!{python}
import json, os, sys
from pathlib import Path
keys = ("MASTER_ADDR", "MASTER_PORT", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "SRUN_CPUS_PER_TASK", "MINE")
said = dict(words=sys.argv[1:], cwd=os.getcwd(), env={{key: os.environ.get(key) for key in keys}})
Path(os.environ["FAKE"], "program").write_text(json.dumps(said))
"""


class FakeSlurm:
    """A folder with the programs, and another one with what they note."""

    def __init__(self, folder: Path):
        self.bin, self.notes = folder / "bin", folder / "notes"
        self.program = self.bin / "lightning-losses"
        self.bin.mkdir(parents=True)
        self.notes.mkdir()
        texts = {"sbatch": SBATCH, "scontrol": SCONTROL, "srun": SRUN, "lightning-losses": PROGRAM}
        texts |= {name: PRINT.format(name=name) for name in ("sinfo", "squeue")}
        for name, text in texts.items():
            (self.bin / name).write_text(text.format(python=sys.executable) if name == self.program.name else text)
            (self.bin / name).chmod(0o755)
        self.sinfo(NODES)
        self.squeue("")

    @property
    def environment(self) -> dict[str, str]:
        return {"FAKE": str(self.notes), "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"}

    def replace(self, name: str, body: str) -> None:
        """Another program in the place of one of them."""
        (self.bin / name).write_text(f"#!/bin/bash\n{body}\n")

    def sinfo(self, text: str) -> None:
        (self.notes / "sinfo.txt").write_text(text)

    def squeue(self, text: str) -> None:
        (self.notes / "squeue.txt").write_text(text)

    def note(self, name: str) -> str | None:
        file = self.notes / name
        return file.read_text() if file.exists() else None

    def arguments(self) -> list[str]:
        """What sbatch was given."""
        return (self.note("arguments") or "").split("\0")[:-1]

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """What SLURM does with a script on the first node of an allocation."""
        (self.notes / "program").unlink(missing_ok=True)
        job = {"SLURM_JOB_ID": "31234", "SLURM_JOB_NODELIST": "n1,n2", "SLURM_CPUS_PER_TASK": "3"}
        environment = {**os.environ, **self.environment, **job, **variables}
        text = script.encode("utf-8", "surrogateescape")
        file = self.notes / "script"
        file.write_bytes(text)
        return subprocess.run(["bash", file], env=environment, capture_output=True, text=True, errors="replace")

    def ran(self) -> dict[str, object]:
        """What the training program was given, in which environment."""
        return json.loads(self.note("program") or "{}")


def directives(script: str) -> dict[str, str | None]:
    """The options in a batch script, read with the quoting rules that SLURM shares with the shell."""
    options = {}
    for line in script.splitlines():
        if line.startswith("#SBATCH "):
            (word,) = shlex.split(line.removeprefix("#SBATCH "))
            key, equals, value = word.removeprefix("--").partition("=")
            options[key] = value if equals else None
    return options
