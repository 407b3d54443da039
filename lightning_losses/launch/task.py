"""What submitit calls in every task; it is unpickled there, so that this file imports little."""

import subprocess
from collections.abc import Sequence

from submitit.helpers import DelayedSubmission

# submitit itself answers these signals; the default answer of the training would be to end.
WITHOUT_SIGNALS = ["bash", "-c", 'trap "" USR2 TERM; exec "$@"', "fit"]


class Fit:
    """Trains. After a preemption submitit queues it again, and it goes on from the run's own checkpoint."""

    def __call__(self, words: Sequence[str]) -> None:
        """Run a command in a process of its own, since Lightning starts more of them by repeating the command line.

        Raises:
            RuntimeError: it failed.
        """
        code = subprocess.call([*WITHOUT_SIGNALS, *words])
        if code != 0:
            raise RuntimeError(f"exit code {code} of {' '.join(words)}")

    def checkpoint(self, words: Sequence[str]) -> DelayedSubmission:
        """What submitit queues after a preemption: the same."""
        return DelayedSubmission(self, words)
