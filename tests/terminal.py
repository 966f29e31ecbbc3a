"""A command whose standard error is a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Sequence


def run_on_terminal(command: Sequence[str]) -> tuple[int, bytes]:
    """Run a command to its end, and return its exit status and all that it showed on standard error."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with os.fdopen(leader, "rb", buffering=0) as terminal:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=follower, env=environment)
        os.close(follower)
        seen = b""
        try:
            # A read gives what is there by then, which is seldom all.
            while piece := terminal.read(1 << 16):
                seen += piece
        except OSError:  # EIO: the other side is closed
            pass
    return process.wait(), seen
