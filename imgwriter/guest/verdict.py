"""How a guest ended: from what was seen of it, to None or the GuestError that says so.

Done means both: QEMU says that the guest powered itself off, and the guest says "exit 0". Anything else is a
failure, and this is the one place that tells which.

::

    seen                                          means
    deadline                                      it hangs
    BLOCK_IO_ERROR                                the host's disk is full, or failed
    STOP, with its status                         "internal-error": KVM could not go on
    GUEST_PANICKED                                its kernel panicked
    SHUTDOWN guest-reset                          the same, without pvpanic; or it restarted itself
    QEMU ended by itself, before or after start   a bad option, a locked image, a signal; stderr says it
    "fail WHY"                                    init could not do its part
    "exit N"                                      a command failed
    no last word                                  it powered off without one

Spec: QEMU, docs/interop/qemu-qmp-ref, run-state.json and block-core.json.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from imgwriter.errors import GuestError

LINES = 20
"""How many of the last lines an error carries, of each of log and console."""

_PROGRAM = re.compile(r"^\S+: ", re.MULTILINE)
"""What each of QEMU's messages begins with: its own name, which may be qemu-kvm."""

_KVM = re.compile(r"(?<![\w./-])kvm(?![./-])", re.IGNORECASE)
"""KVM and its calls (KVM_CREATE_VM, kvm_init_vcpu), but no part of a path."""


@dataclass(slots=True)
class Facts:
    """What was seen of a guest.

    Attributes:
        timeout: Seconds that it had.
        accelerator: How it was run.
        stage: The last stage that began.
        late: Whether it was still there when its time was over.
        interrupted: The signal by which the host's program was asked to end, or None.
        started: Whether it ran at all.
        shutdown: The reason of SHUTDOWN, or None.
        panicked: Whether GUEST_PANICKED was heard.
        io_error: The reason of BLOCK_IO_ERROR, or None.
        no_space: Whether that was for want of space.
        stopped: What query-status said after a STOP that nobody asked for, or None.
        failed: The stage whose command failed, or None.
        status: N of "exit N", or None.
        failure: WHY of "fail WHY", or None.
        returncode: QEMU's exit status, negative for a signal; None where it was killed here.
        words: What QEMU wrote on its standard error.
        log, console: What was heard of the guest, line by line.
    """

    timeout: float
    accelerator: str
    stage: str = "start"
    late: bool = False
    interrupted: int | None = None
    started: bool = False
    shutdown: str | None = None
    panicked: bool = False
    io_error: str | None = None
    no_space: bool = False
    stopped: str | None = None
    failed: str | None = None
    status: int | None = None
    failure: str | None = None
    returncode: int | None = None
    words: str = ""
    log: Sequence[str] = ()
    console: Sequence[str] = ()


def verdict(facts: Facts) -> GuestError | None:
    """Return the error that says how the guest failed; None where it did its job."""
    message = _host_side(facts) or _qemu_side(facts) or _guest_side(facts)
    if message is None:
        return None
    # A command that failed has said why; what else went wrong, the kernel may have seen.
    own = facts.shutdown == "guest-shutdown" and facts.log
    tail = [*facts.log[-LINES:], *(() if own else facts.console[-LINES:])]
    if not facts.started:
        tail += facts.words.splitlines()[-LINES:]
    return GuestError(message, facts.failed or facts.stage, tail, facts.status or None)


def _host_side(facts: Facts) -> str | None:
    where = f"in stage {facts.stage}"
    if facts.interrupted is not None:
        return f"the guest was ended {where}, by {signal.Signals(facts.interrupted).name}; build again"
    if facts.no_space:
        return f"the host's disk is full where the guest's scratch disk is; free space there (it was {where})"
    if facts.io_error is not None:
        return f"the guest's disk failed on the host {where} ({facts.io_error}); see the host's own log"
    return None


def _qemu_side(facts: Facts) -> str | None:
    where = f"in stage {facts.stage}"
    if facts.stopped is not None:
        by_kvm = facts.accelerator == "kvm" and facts.stopped == "internal-error"
        remedy = "use --accel tcg" if by_kvm else "please report it"
        return f"QEMU stopped the guest {where} ({facts.stopped}); {remedy}"
    reset = facts.shutdown in ("guest-reset", "guest-panic")
    if facts.panicked or (reset and _last_words(facts.console)):
        return f"the guest's kernel panicked {where}{_last_words(facts.console)}; see its last lines"
    if reset:
        return f"the guest restarted itself {where}; let the job do without"
    if facts.late:
        # A KVM that cannot go on may say nothing for minutes.
        silent = facts.accelerator == "kvm" and facts.stage == "boot"
        remedy = "give it more with --vm-timeout" + (", or use --accel tcg" if silent else "")
        return f"the guest did not end in {facts.timeout:g} seconds, {where}; {remedy}"
    if not facts.started:
        return _not_started(facts)
    if facts.returncode is not None and facts.returncode < 0:
        return f"QEMU was killed by {_signal(facts.returncode)} {where}; is the host short of memory?"
    if facts.returncode:
        return f"QEMU ended with status {facts.returncode} {where}{_reason(facts)}; see its message"
    if facts.shutdown != "guest-shutdown":
        return (
            f"QEMU ended {where} before the guest did ({facts.shutdown or 'without a reason'}); build again"
        )
    return None


def _guest_side(facts: Facts) -> str | None:
    if facts.failure is not None:
        return f"the guest gave up in stage {facts.stage}: {facts.failure}; correct the tree or the job"
    if facts.status is None:
        return f"the guest powered itself off in stage {facts.stage} without a last word; see its log"
    if facts.status:
        stage = facts.failed or facts.stage
        return f"a command failed in the guest: stage {stage}, exit status {facts.status}; see its log"
    return None


def _not_started(facts: Facts) -> str:
    if "seccomp" in facts.words or "-sandbox" in facts.words:
        return (
            f"QEMU cannot give up system calls here{_reason(facts)}; --qemu-sandbox off runs it without that"
            " protection"
        )
    if " lock" in facts.words:  # a "block device" is something else
        return f"QEMU cannot have the disk to itself{_reason(facts)}; end the program that uses it"
    if facts.accelerator == "kvm" and (not facts.words.strip() or _names_kvm(facts.words)):
        return f"QEMU did not start with KVM{_reason(facts)}; use --accel tcg"
    how = f"was killed by {_signal(facts.returncode)}" if (facts.returncode or 0) < 0 else "did not start"
    return f"QEMU {how}{_reason(facts)}; correct what it names"


def _names_kvm(words: str) -> bool:
    """Tell whether QEMU's messages are about KVM."""
    return _KVM.search(_PROGRAM.sub("", words)) is not None


def _signal(returncode: int | None) -> str:
    number = -(returncode or 0)
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _reason(facts: Facts) -> str:
    """Return QEMU's last line, as a part of a sentence."""
    lines = [line.strip() for line in facts.words.splitlines() if line.strip()]
    return f" ({lines[-1].rstrip('.')})" if lines else ""


def _last_words(console: Sequence[str]) -> str:
    """Return what the kernel said when it panicked, as a part of a sentence."""
    for line in reversed(console):
        _, found, why = line.partition("Kernel panic - not syncing: ")
        if found:
            return f" ({why.strip()})"
    return ""
