"""`lightning-losses` on the command line."""

import os
import shlex
import signal
import sys
import traceback
from argparse import Namespace
from collections.abc import Sequence

from lightning_losses.cli import advising, arguments, browsing, catalogue, dashboard, launching
from lightning_losses.cli.errors import RunError, describe
from lightning_losses.config import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: the words after the program's name; by default those of this process.

    Returns:
        0 for success; 1 if training failed or, with --check, missed its reference; 2 if the command, the configuration
        or a file is wrong; 128 + n after signal n.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(arguments.parse(words), shlex.join(["lightning-losses", *words]))
        sys.stdout.flush()  # here, so that a closed pipe is noticed below
        return code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader, `head` for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        if "--debug" in words:
            traceback.print_exc()
        return _fail(error)


def _dispatch(given: Namespace, command: str) -> int:
    if given.verb == "list":
        return browsing.show_list()
    if given.verb == "advise":
        return advising.show(given)
    if given.verb == "dashboard":
        return dashboard.show(given)
    recipe = catalogue.find(given.recipe)
    if given.verb == "copy":
        return browsing.copy(recipe, given.path)
    if given.verb == "show":
        return browsing.show(recipe, given.size, given.overrides)
    # only what trains waits for Lightning to be imported
    from lightning_losses.cli import running
    from lightning_losses.cli.assembly import Job
    from lightning_losses.cli.quiet import quiet

    job = Job(recipe, given.size, given.overrides, command)
    with quiet():
        if given.verb == "launch":
            return launching.launch(recipe, given, command)
        if given.verb == "validate-config":
            return running.validate(job)
        return (running.fit if given.verb == "fit" else running.test)(job, given.check)


def _fail(error: Exception) -> int:
    is_run = isinstance(error, RunError)
    local_rank = os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or "0"
    if is_run or local_rank == "0":  # every process of a node finds the same mistake in a configuration
        text = str(error) if isinstance(error, (ConfigError, RunError)) else describe(error)
        print(f"lightning-losses: {text}", file=sys.stderr)
    return error.code if isinstance(error, RunError) else 2
