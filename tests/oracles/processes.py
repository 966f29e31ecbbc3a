"""What runs on this machine, from /proc: whether a process is there, and whose child it is.

Spec: proc(5), /proc/[pid]/stat and status.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """One process: its number, its name (15 bytes of it), its state ("R", "Z"), its parent."""

    pid: int
    name: str
    state: str
    parent: int


def process(pid: int) -> Process | None:
    """Return a process, or None where there is none of that number."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold some itself.
    start, end = text.index("("), text.rindex(")")
    state, parent = text[end + 1 :].split()[:2]
    return Process(pid, text[start + 1 : end], state, int(parent))


def is_running(pid: int) -> bool:
    """Tell whether a process is there and has not ended."""
    found = process(pid)
    return found is not None and found.state not in ("Z", "X")


def children(parent: int | None = None) -> list[Process]:
    """Return the children of a process, this one's when None."""
    wanted = os.getpid() if parent is None else parent
    found = (process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [each for each in found if each is not None and each.parent == wanted]


def status(pid: int, field: str) -> str:
    """Return a field of /proc/PID/status: "Seccomp", "NoNewPrivs"."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    raise AssertionError(f"/proc/{pid}/status has no {field}")
