"""What a run leaves in its directory, written so that a reader never sees half a file."""

import json
import traceback
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lightning_losses.cli.assembly import Run
from lightning_losses.config import ConfigError, leaves
from lightning_losses.replacing import replacing

CONFIG, RESULT = "config.yaml", "result.json"
LAST = Path("checkpoints", "last.ckpt")
TRAINING = ("recipe.model", "recipe.data", "seed_everything", "model.", "data.")


def check_same(run: Run, prefixes: tuple[str, ...] = TRAINING) -> None:
    """The run directory must be new, or hold a run with the same values of the keys that start with `prefixes`.

    Raises:
        ConfigError: the message names the keys that differ and both values.
    """
    file = run.directory / CONFIG
    if not file.exists():
        return
    there: Any = OmegaConf.to_container(OmegaConf.load(file))
    old, new = ({k: v for k, v in leaves(values) if k.startswith(prefixes)} for values in (there, run.config))
    differing = [key for key in old | new if old.get(key) != new.get(key)]
    if differing:
        pairs = ", ".join(f"{key} (there {old.get(key)!r}, now {new.get(key)!r})" for key in differing)
        raise ConfigError(f"The run in {run.directory} has another configuration: {pairs}. Choose another run_dir.")


def write_config(run: Run) -> None:
    """Keep the resolved configuration, without secrets."""
    _write(run.directory / CONFIG, OmegaConf.to_yaml(OmegaConf.create(run.config)))


def write_result(run: Run, result: dict[str, Any]) -> None:
    """Keep the result, which also says that the run is finished."""
    _write(run.directory / RESULT, json.dumps(result, indent=2) + "\n")


def read_result(run: Run) -> dict[str, Any] | None:
    """The result of an earlier command, None if there is none."""
    file = run.directory / RESULT
    result: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    return result


def write_traceback(run: Run, error: BaseException) -> Path:
    """Keep where the error came from, since only one line of it is shown; a file for each process that fails."""
    file = run.directory / f"traceback-{run.trainer.global_rank}.txt"
    _write(file, "".join(traceback.format_exception(error)))
    return file


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
