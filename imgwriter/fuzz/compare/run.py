"""Start another program and hear it out: the one place of the kit that does.

Comparing programs means running them. What a program is given is a copy; what it may take is limited: its
time, its output, its memory. It is killed with all that it started, and how it ended is a value.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

MAX_OUTPUT = 1 << 20
"""Bytes that are heard of each stream: 128 partitions take 40 KiB of the wordiest parser's."""

MAX_MEMORY = 1 << 30
"""Bytes of address space: a table that asks for 512 GiB of entries shall not take the machine along. What is
wanted of it for a healthy table is 10 MiB or, for Python, 50."""

_LIMITED = ("/bin/sh", "-c", f'ulimit -v {MAX_MEMORY >> 10}; ulimit -c 0; exec "$@"', "sh")
"""What sets the limits before the program begins: later would be too late for a quick one, and a function
between fork and exec is not safe in a process with threads. Where they cannot be set, lower ones hold."""

_READ = 1 << 16
_MOMENT = 0.002
"""Seconds: a program is gone a moment after its streams."""


class Ended(NamedTuple):
    """How a program ended.

    Attributes:
        status: Its exit status; negative is the signal that ended it; None where its time was over.
        out, err: The beginning of what it wrote, as text.
    """

    status: int | None
    out: str
    err: str


def run(
    words: Sequence[str | bytes],
    timeout: float,
    environ: Mapping[str, str] | None = None,
    max_output: int = MAX_OUTPUT,
) -> Ended:
    """Run a program to its end, without input, and return what it said.

    Args:
        words: The program and its arguments.
        timeout: Seconds until it is killed.
        environ: Its whole environment; this process's own when None.
        max_output: Bytes that are heard of each stream; the rest is cut off.

    Returns:
        How it ended; with status 126 or 127 where it cannot be started.

    Raises:
        OSError: There is no shell, or no room for another process.
    """
    deadline = time.monotonic() + timeout
    ends = [os.pipe(), os.pipe()]
    try:
        process = subprocess.Popen(
            [*_LIMITED, *words],
            stdin=subprocess.DEVNULL,
            stdout=ends[0][1],
            stderr=ends[1][1],
            env=environ,
            start_new_session=True,
        )
    except OSError:
        for reading, _ in ends:
            os.close(reading)
        raise
    finally:
        for _, writing in ends:
            os.close(writing)
    try:
        out, err = _hear([reading for reading, _ in ends], deadline, max_output)
        status = _end(process, deadline)
    except BaseException:  # a signal asked to stop
        _kill(process)
        raise
    finally:
        for reading, _ in ends:
            os.close(reading)
    return Ended(status, _text(out), _text(err))


def _hear(ends: Sequence[int], deadline: float, limit: int) -> tuple[bytes, bytes]:
    """Return the beginnings of both streams, heard until both have ended or the time is over."""
    heard = {end: bytearray() for end in ends}
    with selectors.DefaultSelector() as selector:
        for end in ends:
            selector.register(end, selectors.EVENT_READ)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                piece = os.read(key.fd, _READ)
                if not piece:
                    selector.unregister(key.fd)
                # What is over the limit is read, so that the program can go on, and forgotten.
                heard[key.fd] += piece[: limit - len(heard[key.fd])]
    out, err = (bytes(heard[end]) for end in ends)
    return out, err


def _end(process: subprocess.Popen[bytes], deadline: float) -> int | None:
    """Wait for a program, then kill what is left of it; return its status, or None where it was late.

    Its number stays its own until it is waited for: what is killed by it is what it started.
    """
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    ended = os.waitid(os.P_PID, process.pid, flags) is not None
    while not ended and time.monotonic() < deadline:
        time.sleep(_MOMENT)
        ended = os.waitid(os.P_PID, process.pid, flags) is not None
    _kill(process)
    return process.returncode if ended else None


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _text(heard: bytes) -> str:
    return heard.decode("utf-8", "backslashreplace")
