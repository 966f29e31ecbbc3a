"""A program that runs one guest, for tests of what becomes of it when it is stopped: a process of its own.

Usage: python -m tests.guest.vm_script KERNEL MODULES DISK FORMAT raise|default COMMAND

It prints each stage when it begins, "qemu PID" with the first of the guest's own, and "done" at the end, or
the error.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from imgwriter.errors import ImgwriterError
from imgwriter.guest.busybox import find_busybox
from imgwriter.guest.job import Job, Mount, shell
from imgwriter.guest.kernel import find_kernel
from imgwriter.guest.request import Drive
from imgwriter.guest.session import prepare
from imgwriter.vm import run_guest
from tests.oracles.processes import children


class Stopped(BaseException):
    """As imgwriter's command line raises it."""


def stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


def tell(stage: str) -> None:
    if stage == "devices":
        print("qemu", *(each.pid for each in children() if each.name.startswith("qemu")), flush=True)
    print(stage, flush=True)


def main() -> int:
    kernel, modules, disk, container, handling, command = sys.argv[1:]
    if handling == "raise":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, stop)
    found = find_kernel(None, kernel=os.fsencode(kernel), modules=os.fsencode(modules))
    job = Job(Mount(0, "ext4"), (shell(command),))
    busybox = find_busybox(None, found.architecture).content
    request = prepare(job, Drive(os.fsencode(disk), container), found, busybox, timeout=120.0)
    try:
        run_guest(request, tell)
    except Stopped as stopped:
        print("stopped", stopped.args[0])
        return 3
    except ImgwriterError as error:
        print("error", error)
        return 1
    print("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
