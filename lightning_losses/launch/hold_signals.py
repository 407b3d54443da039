"""Starts a command to which signals come only when it says that it is ready: `python hold_signals.py COMMAND ...`.

A job may be preempted while Python still imports, and a signal ends a process that has not yet said what to do with it:
the job would have failed. Here signals wait until `PreemptionCheckpoint` catches them. This file is run by its path and
imports next to nothing, so that hardly any time is left in which they do not.
"""

import os
import signal
import sys

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1, signal.SIGTERM))
    os.execvp(sys.argv[1], sys.argv[1:])
