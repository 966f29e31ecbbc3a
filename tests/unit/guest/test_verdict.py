"""Every way in which a guest ends, and what is said of it."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from imgwriter.guest.verdict import LINES, Facts, verdict

DONE = Facts(
    600.0, "tcg", stage="unmount", started=True, shutdown="guest-shutdown", status=0, returncode=0,
    log=("installing", "installed"), console=("boot", "power down"),
)  # fmt: skip


def test_done():
    assert verdict(DONE) is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"status": 7}, "a command failed in the guest: stage unmount, exit status 7"),
        ({"status": 7, "failed": "install"}, "a command failed in the guest: stage install, exit status 7"),
        ({"status": None}, "without a last word"),
        (
            {"status": None, "failure": "the disk has no /dev/vda2"},
            "gave up in stage unmount: the disk has no",
        ),
        ({"shutdown": None}, "QEMU ended in stage unmount before the guest did (without a reason)"),
        ({"shutdown": "host-signal", "status": None}, "before the guest did (host-signal)"),
        ({"shutdown": "guest-reset"}, "restarted itself"),
        ({"shutdown": "guest-reset", "status": None}, "restarted itself"),
        ({"panicked": True, "returncode": None}, "kernel panicked"),
        (
            {"late": True, "returncode": None, "shutdown": None},
            "did not end in 600 seconds, in stage unmount",
        ),
        ({"returncode": -9, "shutdown": None}, "killed by SIGKILL in stage unmount"),
        ({"returncode": -99, "shutdown": None}, "killed by signal 99"),
        (
            {"returncode": 1, "shutdown": None, "words": "qemu: oops."},
            "status 1 in stage unmount (qemu: oops)",
        ),
        ({"io_error": "No space left on device", "no_space": True}, "the host's disk is full"),
        ({"io_error": "Input/output error"}, "failed on the host in stage unmount (Input/output error)"),
        ({"stopped": "internal-error"}, "QEMU stopped the guest in stage unmount (internal-error)"),
        ({"interrupted": signal.SIGTERM}, "by SIGTERM"),
    ],
)
def test_failures(changes, says):
    error = verdict(replace(DONE, **changes))
    assert error is not None and says in str(error)
    assert "; " in str(error)  # there is a remedy
    assert error.stage == changes.get("failed", "unmount")


@pytest.mark.parametrize(
    ("words", "accelerator", "says"),
    [
        ("", "tcg", "QEMU did not start; "),
        ("qemu: -m 1T: cannot set up guest memory", "tcg", "did not start (qemu: -m 1T: cannot set up"),
        (
            'qemu: Failed to get "write" lock\nIs another process using the image?',
            "tcg",
            "the disk to itself",
        ),
        (
            "qemu: system firmware block device pflash0 has invalid size 1536\nqemu: info: its size must be",
            "tcg",
            "QEMU did not start (qemu: info: its size must be)",
        ),
        ("qemu: -sandbox on: seccomp support is disabled", "tcg", "--qemu-sandbox off"),
        ("qemu: failed to install seccomp syscall filter in the kernel", "tcg", "--qemu-sandbox off"),
        ("Could not access KVM kernel module: Permission denied", "kvm", "use --accel tcg"),
        ("qemu-system-x86_64: ioctl(KVM_CREATE_VM) failed: 12 ENOMEM", "kvm", "use --accel tcg"),
        ("qemu-system-aarch64: -accel kvm: invalid accelerator kvm", "kvm", "use --accel tcg"),
        ("", "kvm", "use --accel tcg"),
        (
            "qemu-kvm: -drive if=none,file=/home/kvm/a: Could not open '/home/kvm/a': No such file",
            "kvm",
            "QEMU did not start (qemu-kvm: -drive if=none,file=/home/kvm/a: Could not open"
            " '/home/kvm/a': No such file); correct what it names",
        ),
        ("qemu-kvm: cannot set up guest memory 'pc.ram'", "kvm", "'pc.ram'); correct what it names"),
    ],
)
def test_qemu_does_not_start(words, accelerator, says):
    """As QEMU 7.2 says it."""
    facts = Facts(600.0, accelerator, words=words, returncode=1)
    error = verdict(facts)
    assert error is not None and says in str(error)
    assert error.stage == "start" and error.log == tuple(words.splitlines())


@pytest.mark.parametrize(
    ("changes", "helps"),
    [
        ({"stopped": "internal-error"}, True),
        ({"stopped": "watchdog"}, False),
        ({"late": True, "stage": "boot"}, True),
        ({"late": True, "stage": "install"}, False),  # it runs well, and long
    ],
)
def test_emulation_is_a_remedy_only_for_what_kvm_does(changes, helps):
    for accelerator in ("kvm", "tcg"):
        facts = replace(DONE, accelerator=accelerator, shutdown=None, returncode=None, **changes)
        assert ("--accel tcg" in str(verdict(facts))) is (helps and accelerator == "kvm")


def test_killed_before_it_started():
    assert "QEMU was killed by SIGSEGV" in str(verdict(Facts(600.0, "tcg", returncode=-11)))


def test_a_status_of_success_does_not_outweigh_anything():
    """Done means both: the guest says so, and powers itself off."""
    for changes in ({"panicked": True}, {"stopped": "io-error"}, {"late": True}, {"shutdown": None}):
        assert verdict(replace(DONE, status=0, **changes)) is not None


def test_the_last_lines():
    log = tuple(f"log {number}" for number in range(LINES + 5))
    failed = verdict(replace(DONE, status=1, log=log))
    assert failed is not None and failed.log == log[-LINES:] and failed.status == 1
    # What the kernel said matters where it went down, or where nothing else is known.
    panicked = verdict(replace(DONE, panicked=True, shutdown=None, status=None, log=log[:2]))
    assert (
        panicked is not None and panicked.log == (*log[:2], "boot", "power down") and panicked.status is None
    )
    silent = verdict(replace(DONE, status=None, log=()))
    assert silent is not None and silent.log == ("boot", "power down")


def test_why_the_kernel_panicked():
    console = ("x", "[    2.4] Kernel panic - not syncing: sysrq triggered crash", "[    2.5] CPU: 0")
    error = verdict(replace(DONE, shutdown="guest-reset", console=console))
    assert "panicked in stage unmount (sysrq triggered crash); " in str(error)
