"""From a recipe and what the user asks of it to a model, its data and a trainer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from omegaconf import DictConfig

from lightning_losses.callbacks.dashboard import WandbSummaries
from lightning_losses.callbacks.random_state import RandomState
from lightning_losses.checkpoint_io import AtomicCheckpointIO
from lightning_losses.cli import wandb_run
from lightning_losses.cli.catalogue import Recipe
from lightning_losses.cli.errors import describe
from lightning_losses.cli.reference import Reference
from lightning_losses.cli.schema import check
from lightning_losses.cli.stopwatch import Stopwatch
from lightning_losses.config import TRAINED, ConfigError, compose, resolve, without_secrets

NEEDED_BY = {"enable_progress_bar": "ProgressBar", "logger": "LearningRateMonitor"}
"""What of a Trainer may be switched off, and the callbacks that it then refuses."""


@dataclass(frozen=True)
class Job:
    """What the user asks for.

    Args:
        recipe: what to train.
        size: a size of it.
        overrides: `key=value` strings.
        command: the command line that asks for it.
    """

    recipe: Recipe
    size: str
    overrides: Sequence[str]
    command: str

    def compose(self) -> DictConfig:
        """The configuration, with its interpolations."""
        return compose(self.recipe.file, self.recipe.name, self.size, self.overrides)


@dataclass(frozen=True)
class Run:
    """A job whose model, data and trainer exist.

    Args:
        job: what was asked for.
        config: the resolved configuration, without secrets.
        directory: where the run keeps its files.
        reference: the result that the recipe promises, if any.
        seed: of every random number generator; False leaves them alone.
        model: the recipe's LightningModule.
        data: the recipe's LightningDataModule.
        trainer: what trains it.
        stopwatch: the time it takes.
    """

    job: Job
    config: dict[str, Any]
    directory: Path
    reference: Reference | None
    seed: int | bool
    model: LightningModule
    data: LightningDataModule
    trainer: Trainer
    stopwatch: Stopwatch

    @property
    def title(self) -> str:
        """The recipe and its size."""
        return f"{self.job.recipe.name} ({self.job.size})"


def assemble(job: Job) -> Run:
    """Compose, check and instantiate; nothing is written.

    Raises:
        ConfigError: the configuration is wrong, or a class refuses its arguments.
    """
    config = job.compose()
    values = resolve(config)
    reference = Reference.of(values.get("reference"))
    public = without_secrets(config)
    directory = Path(values["run_dir"])
    wandb_run.name(values, directory)
    stopwatch = Stopwatch()
    classes = _classes(job.recipe, values.get("recipe") or {})
    try:
        cli = _CLI(
            *classes,
            save_config_callback=None,
            trainer_defaults={"callbacks": [stopwatch, RandomState(), WandbSummaries(public)]},
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False},
            args=_arguments(values),
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # checkpoints then hold the model's plain arguments
        )
    except (ConfigError, ModuleNotFoundError):
        raise
    except Exception as error:
        raise ConfigError(describe(error)) from error
    if type(cli.trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # the configuration names no other
        cli.trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    seed = cli.config["seed_everything"]
    return Run(job, public, directory, reference, seed, cli.model, cli.datamodule, cli.trainer, stopwatch)


def _arguments(values: dict[str, Any]) -> dict[str, Any]:
    """Those of LightningCLI, without callbacks of the recipe that Lightning refuses beside what is switched off."""
    given = {key: values[key] for key in TRAINED if values.get(key) is not None}
    trainer = given.get("trainer")
    if isinstance(trainer, dict) and isinstance(trainer.get("callbacks"), list):
        off = tuple(callback for key, callback in NEEDED_BY.items() if trainer.get(key) is False)
        kept = [one for one in trainer["callbacks"] if not (isinstance(one, dict) and _name(one).endswith(off))]
        given["trainer"] = {**trainer, "callbacks": kept}
    return given


def _name(callback: dict[str, Any]) -> str:
    return str(callback.get("class_path"))


def _classes(recipe: Recipe, paths: dict[str, Any]) -> tuple[type[LightningModule], type[LightningDataModule]]:
    for key in ("model", "data"):
        if not isinstance(paths.get(key), str):
            raise ConfigError(f"`recipe.{key}` must be given: file.Class, for example {key}.MyClass")
    model = recipe.find("recipe.model", paths["model"], LightningModule)
    return model, recipe.find("recipe.data", paths["data"], LightningDataModule)


class _CLI(LightningCLI):
    """LightningCLI that takes its arguments from a mapping and checks them by our rules first."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        assert isinstance(args, dict)
        self.config = check(parser, args)
