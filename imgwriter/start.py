"""The entry point: what a signal finds before there is anything that it could interrupt.

::

    start.run ── signals end the process ──> import of cli ──> cli.run ── signals raise, and all is cleaned up

Half of a short command's time is imports. Python would answer Ctrl-C there with a traceback.
"""

from __future__ import annotations

import os
import signal

from imgwriter import exit_status

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_USUAL = (signal.SIG_DFL, signal.default_int_handler)


def run() -> None:
    """Run the command line as a program, and end the process."""
    for each in _SIGNALS:
        if signal.getsignal(each) in _USUAL:  # nohup and background jobs ignore some: that stays
            signal.signal(each, _stop)
    from imgwriter.cli import run as run_command_line

    run_command_line()


def _stop(number: int, _frame: object) -> None:
    try:
        name = signal.Signals(number).name
        os.write(2, f"imgwriter: stopped by {name}; no unfinished file is left behind\n".encode())
    finally:
        os._exit(exit_status.SIGNALLED + number)
