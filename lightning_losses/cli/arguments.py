"""The verbs of the command line and what each takes."""

import argparse
from collections.abc import Sequence
from typing import Never

from lightning_losses.checks import nearest
from lightning_losses.cli import advising, dashboard, launching
from lightning_losses.config import ConfigError
from lightning_losses.version import __version__

VERBS = {
    "list": "list the installed recipes",
    "show": "print a recipe's configuration",
    "validate-config": "check a recipe's configuration without running it",
    "fit": "train a recipe, or resume it, and test the best checkpoint",
    "test": "test the checkpoint of a trained recipe",
    "launch": "train a recipe under SLURM, by torchrun or here, once or in a sweep",
    "copy": "copy a recipe's folder, to change its code",
    "dashboard": "lay out what runs have logged, on W&B or in an HTML file",
    "advise": "look at targets, and propose a loss with reasons",
}
EXAMPLES = """\
examples:
  lightning-losses fit segmentation --size smoke
  lightning-losses fit segmentation model.lr=0.01 trainer.devices=4
  lightning-losses launch segmentation --backend slurm --nodes 2 --devices 4 --time 4:00:00
  lightning-losses copy segmentation my_segmentation
  lightning-losses dashboard report runs/segmentation/*
  lightning-losses advise labels.csv --column grade --task classification
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The verb and its arguments; `key=value` overrides may stand before, between and after the flags.

    Raises:
        ConfigError: the verb or a flag is unknown, or an argument is missing.
    """
    for verb in [word for word in argv if not word.startswith("-")][:1]:
        if verb not in VERBS:
            raise ConfigError(f"There is no verb {verb!r}. {nearest(verb, VERBS)}")
    arguments, rest = _parser().parse_known_args(argv)
    unknown = [word for word in rest if word.startswith("-") or "overrides" not in arguments]
    if unknown:
        raise ConfigError(
            f"{arguments.verb} does not take {unknown[0]!r} (see lightning-losses {arguments.verb} --help)"
        )
    if "overrides" in arguments:
        arguments.overrides += rest
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lightning-losses",
        description="Train the recipes of lightning-losses, or your copies of them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"lightning-losses {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, purpose in VERBS.items():
        description = f"{purpose[0].upper()}{purpose[1:]}."
        _add_arguments(verbs.add_parser(verb, help=purpose, description=description, allow_abbrev=False), verb)
    return parser


def _add_arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if verb == "list":
        return
    if verb == "advise":
        advising.add_arguments(parser)
        return
    if verb == "dashboard":
        dashboard.add_arguments(parser)
        return
    recipe = "an installed recipe, a YAML file, or a folder with a config.yaml"
    parser.add_argument("recipe", metavar="RECIPE", help=recipe)
    if verb == "copy":
        parser.add_argument("path", metavar="PATH", help="the new folder")
        return
    parser.add_argument("--size", default="default", help="smoke, full or another of the recipe's sizes (see list)")
    if verb in ("fit", "test"):
        parser.add_argument("--check", action="store_true", help="exit with 1 if the recipe's reference is missed")
    if verb == "launch":
        launching.add_arguments(parser)
    override = "a change of the configuration, the value in YAML: model.lr=0.1 data.size=[64,64] run_dir=PATH"
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", default=[], help=override)
