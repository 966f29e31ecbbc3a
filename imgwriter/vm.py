"""Run a guest under QEMU, driven over QMP: the one place where another program is started.

::

    run_guest(request)
      │  signals are held back ............................ until all of this is gone again
      │  kernel, initramfs: into memory;  five socketpairs;  QEMU, paused (-S)
      │
      ├─ connect ── listen ── cont ── SHUTDOWN | GUEST_PANICKED | BLOCK_IO_ERROR | STOP ─┐
      ├─ status, log, console: heard as they come                                        ├─> Facts ── verdict
      └─ QEMU ends | the time is over | a signal ────────────────────────────────────────┘

QEMU and the guest leave nothing behind: their files are in memory, their sockets have no names, and QEMU is
killed before anything else is done, whatever ended the conversation. The kernel kills it when this program is
killed, even by SIGKILL, where that can be arranged (safely only in a program without other threads).

Import this module only where a guest is run: asyncio and qemu.qmp take longer to import than the rest.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from types import FrameType, TracebackType
from typing import Any

from qemu.qmp import QMPClient, QMPError

from imgwriter.errors import GuestError, show
from imgwriter.extent import Buffer, Bytes, Data
from imgwriter.guest.command import CHANNELS, command
from imgwriter.guest.hearing import Progress, Shared, Status, Tail
from imgwriter.guest.kvm import makes_a_machine
from imgwriter.guest.qemu import find_qemu
from imgwriter.guest.request import GuestRequest, GuestResult
from imgwriter.guest.verdict import Facts, verdict
from imgwriter.guest.vmlinux import loadable
from imgwriter.worker import may_fork

PROBE_TIMEOUT = 5.0
"""Seconds in which a guest has to answer under KVM for it to be used. One that works takes 1 or 2, on a busy
host twice that; software, which is taken otherwise, is as good and takes 3."""

GRACE = 10.0
"""Seconds for QEMU to end after the guest did, and for its last words to come."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_EVENTS = {"SHUTDOWN", "GUEST_PANICKED", "BLOCK_IO_ERROR", "STOP"}
_READ = 1 << 16
_PR_SET_PDEATHSIG = 1

# What becomes of a connection is told by exceptions; without a handler, logging would print them as well.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())


def run_guest(request: GuestRequest, progress: Progress | None = None) -> GuestResult:
    """Run a guest to its end.

    Not to be called where an asyncio event loop is running.

    Args:
        request: What it boots, what it has, how long it may take.
        progress: Called with the name of each stage when it begins: "start", "boot" and the guest's own.

    Raises:
        GuestError: It could not be started, did not end in time, or did not do its job.
        SourceError: The kernel's file cannot be read.
        FormatError: It is a zboot for 64-bit Arm, and damaged.
    """
    if request.accelerator == "auto":
        accelerator = "kvm" if _boots_with_kvm(request) else "tcg"
    else:
        accelerator = request.accelerator
    return _run(request, accelerator, progress)


def _boots_with_kvm(request: GuestRequest) -> bool:
    """Tell whether a guest boots with KVM: that /dev/kvm is there and makes a machine says too little."""
    if os.uname().machine != request.architecture or not makes_a_machine():
        return False
    with suppress(GuestError):
        _run(replace(request, drives=(), timeout=PROBE_TIMEOUT), "kvm", None, probe=True)
        return True
    return False


def _run(
    request: GuestRequest, accelerator: str, progress: Progress | None, probe: bool = False
) -> GuestResult:
    started = time.monotonic()
    facts = Facts(request.timeout, accelerator)
    log, console, words = Tail(), Tail(), Tail()
    status = Status(facts, progress)
    hear = {
        "status": status.feed, "log": log.feed, "console": console.feed, "serial": Shared(log, status).feed,
        "stderr": words.feed,
    }  # fmt: skip
    with _HeldSignals() as signals:
        status.begin("start")
        with _machine(request, accelerator, probe) as machine:
            asyncio.run(_attend(machine, facts, status, hear, signals))
            facts.returncode = machine.end()
        facts.log, facts.console, facts.words = log.lines(), console.lines(), "\n".join(words.lines())
        failed = verdict(facts)
        if failed is not None:
            raise failed
    status.settle()
    return GuestResult(facts.log, status.stages, accelerator, time.monotonic() - started)


# --- QEMU as a process ---


@dataclass(slots=True)
class _Machine:
    """QEMU, and the host's ends of its sockets."""

    process: subprocess.Popen[bytes]
    sockets: Mapping[str, socket.socket]
    killed: bool = False

    def kill(self) -> None:
        """Kill QEMU, and a script that it may have been started by. Once: a number is soon another's."""
        if not self.killed and self.process.returncode is None:
            self.killed = True
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def has_ended(self) -> bool:
        """Tell whether QEMU has ended by itself, without forgetting how."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, flags) is not None

    def end(self) -> int | None:
        """Make sure that QEMU is gone; return its exit status, or None where it had to be killed."""
        if self.process.returncode is None:
            ended = not self.killed and self.has_ended()
            self.kill()
            self.process.wait()
            return self.process.returncode if ended else None
        return None


@contextmanager
def _machine(request: GuestRequest, accelerator: str, probe: bool) -> Iterator[_Machine]:
    """Give QEMU, started and paused; after the block there is nothing of it any more."""
    program = find_qemu(request.architecture, request.qemu)
    with ExitStack() as stack:
        try:
            kernel = _in_memory(stack, "kernel", loadable(request, accelerator))
            initramfs = _in_memory(stack, "initramfs", Bytes(request.initramfs))
            ours, theirs = {}, {}
            for name in (*CHANNELS, "stderr"):
                ours[name], theirs[name] = map(stack.enter_context, socket.socketpair())
                ours[name].setblocking(False)
            numbers = {name: end.fileno() for name, end in theirs.items()}
            words = command(request, program, accelerator, kernel, initramfs, numbers, probe)
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=numbers["stderr"],
                stderr=numbers["stderr"],
                pass_fds=(kernel, initramfs, *numbers.values()),
                start_new_session=True,
                preexec_fn=_dies_with_us() if may_fork() else None,
            )
        except OSError as error:
            raise GuestError(
                f"QEMU cannot be started ({show(os.fsencode(str(error)))}); correct --vm-qemu or free memory",
                "start",
            ) from error
        machine = _Machine(process, ours)
        stack.callback(machine.end)
        # Else the ends of these sockets would not be seen when QEMU's are gone.
        for end in theirs.values():
            end.close()
        yield machine


def _in_memory(stack: ExitStack, name: str, data: Data) -> int:
    """Return a descriptor of a file without a name that holds ``data``."""
    descriptor = os.memfd_create(name)
    stack.callback(os.close, descriptor)
    for piece in data.chunks(0, len(data)):
        view: Buffer = memoryview(piece)
        while view:
            view = view[os.write(descriptor, view) :]
    return descriptor


def _dies_with_us() -> Callable[[], None]:
    """Return what the forked process calls so that the kernel kills it when this one is gone."""
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it went in between
            os._exit(1)

    return bind


class _HeldSignals:
    """Keeps back the signals that end a program; the first is raised again after the block.

    What a handler raises comes at any point: between the start of QEMU and the note that it was started, or
    inside asyncio, which takes it for an error of a task and goes on. Only the main thread has signals.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[signal.Signals, object] = {}
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)

    def __enter__(self) -> _HeldSignals:
        if threading.current_thread() is threading.main_thread():
            for each in _SIGNALS:
                # None: a handler that is not Python's. One that is ignored stays so (nohup).
                if signal.getsignal(each) not in (None, signal.SIG_IGN):
                    self._before[each] = signal.signal(each, self._note)
        return self

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.number = self.number or number
        with suppress(BlockingIOError):
            self._waker.send(b"\0")

    async def come(self) -> None:
        """Wait for a signal."""
        await asyncio.get_running_loop().sock_recv(self._wake, 1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)  # type: ignore[arg-type]  # as getsignal gave it
        self._wake.close()
        self._waker.close()
        if self.number is not None:
            signal.raise_signal(self.number)


# --- The conversation ---


async def _attend(
    machine: _Machine,
    facts: Facts,
    status: Status,
    hear: Mapping[str, Callable[[bytes], None]],
    signals: _HeldSignals,
) -> None:
    """Stay with the guest until it is over, one way or another; note down what is seen."""
    listeners = {name: asyncio.create_task(_listen(machine.sockets[name], hear[name])) for name in hear}
    monitor = asyncio.create_task(_monitor(machine.sockets["qmp"], facts, status))
    stop = asyncio.create_task(signals.come())
    # QEMU holds its standard error until it ends.
    ended = listeners["stderr"]
    try:
        done = await _first({monitor, stop, ended}, {listeners["status"], listeners["serial"]}, facts.timeout)
        facts.interrupted = signals.number
        facts.late = not done
        if monitor in done and monitor.result() and facts.interrupted is None:
            await asyncio.wait({stop, ended}, timeout=GRACE, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            await _until(machine.has_ended, GRACE)
            await asyncio.wait({monitor}, timeout=GRACE)
    finally:
        if not (ended.done() and machine.has_ended()):
            machine.kill()
        await asyncio.wait(listeners.values(), timeout=GRACE)
        await _cancel(monitor, stop, *listeners.values())
    for task in (monitor, *listeners.values()):
        if not task.cancelled():
            task.result()


async def _first(
    ways: set[asyncio.Task[Any]], raising: set[asyncio.Task[None]], timeout: float
) -> set[asyncio.Task[Any]]:
    """Wait until one of ``ways`` is done, or one of ``raising`` raises; return what is done.

    Nothing is done when it is late. What progress raises comes out of the latter, and ends the guest like
    anything else. That they end says nothing: QEMU closes its sockets one by one, and the reason of its end
    may be on its way in another.
    """
    deadline = time.monotonic() + timeout
    pending = ways | raising
    while True:
        left = max(deadline - time.monotonic(), 0.0)
        done, _ = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        silent = {task for task in done & raising if task.exception() is None}
        if not done or done - silent:
            return done
        pending -= silent


async def _listen(end: socket.socket, feed: Callable[[bytes], None]) -> None:
    """Hear all that comes out of a socket."""
    loop = asyncio.get_running_loop()
    with suppress(ConnectionResetError):
        while piece := await loop.sock_recv(end, _READ):
            feed(piece)


async def _monitor(end: socket.socket, facts: Facts, status: Status) -> bool:
    """Let the guest run; return, when it has ended or cannot go on, whether QEMU will end by itself."""
    client = QMPClient("imgwriter")
    client.events.names = _EVENTS
    try:
        # A connection that breaks says only that QEMU is gone; why, its process says.
        with suppress(QMPError, EOFError, OSError):
            await client.connect(end)
            await client.execute("cont")
            facts.started = True
            status.begin("boot")
            return await _events(client, facts)
        return True
    finally:
        with suppress(QMPError, EOFError, OSError, asyncio.IncompleteReadError):
            await client.disconnect()


async def _events(client: QMPClient, facts: Facts) -> bool:
    """Note down the event after which nothing more comes; return whether QEMU ends by itself after it."""
    broken = asyncio.create_task(client.runstate_changed())
    try:
        while not broken.done():
            coming = asyncio.create_task(client.events.get())
            try:
                await asyncio.wait({broken, coming}, return_when=asyncio.FIRST_COMPLETED)
                heard = [coming.result()] if coming.done() else []
            finally:
                await _cancel(coming)
            # What was heard before the connection broke is still to be had.
            for event in [*heard, *(client.events.clear() if broken.done() else ())]:
                match str(event["event"]):
                    case "SHUTDOWN":
                        facts.shutdown = str(event["data"].get("reason"))
                        return True
                    case "GUEST_PANICKED":
                        facts.panicked = True
                        return True
                    case "BLOCK_IO_ERROR":
                        facts.io_error = str(event["data"].get("reason"))
                        facts.no_space = bool(event["data"].get("nospace"))
                        return False
                    case _:
                        facts.stopped = "stopped"
                        answer = await client.execute("query-status")
                        facts.stopped = str(answer.get("status")) if isinstance(answer, dict) else "stopped"
                        return False
        return True
    finally:
        await _cancel(broken)


async def _until(true: Callable[[], bool], seconds: float) -> None:
    """Wait until something is true, but not for ever: the process is gone a moment after its sockets."""
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        await asyncio.sleep(0.002)


async def _cancel(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
