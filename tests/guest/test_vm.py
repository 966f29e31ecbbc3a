"""Guests that are run for a build: what they do, and every way in which they fail, provoked for real.

The kernel and its modules are Debian's cloud kernel, whose ext4 is built in: 6.1 of Debian 12, or 6.12, whose
modules are compressed, and which has more built in. The root file system holds a static busybox and nothing
else.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from imgwriter.errors import GuestError
from imgwriter.extent import Bytes
from imgwriter.guest.busybox import find_busybox
from imgwriter.guest.initramfs import initramfs, optional_modules, required_modules
from imgwriter.guest.job import Command, Job, Mount, shell
from imgwriter.guest.kernel import Kernel, find_kernel
from imgwriter.guest.modules import select
from imgwriter.guest.request import Drive, GuestRequest, GuestResult
from imgwriter.guest.session import prepare
from imgwriter.tree import directory
from imgwriter.tree.rules import SourceRules
from imgwriter.vm import run_guest
from tests.building import build
from tests.oracles import debugfs, e2fsck, mtools, processes, sgdisk
from tests.oracles.tools import CACHE, ROOT, require, require_file, run

pytestmark = [pytest.mark.guest, pytest.mark.slow]

ROOT_FS = Mount(2, "ext4", uuid="11111111-2222-3333-4444-555555555555", label="nixos")
ESP = Mount(1, "vfat", b"/boot")
CLOCK = 1577836800
MiB = 1 << 20


@pytest.fixture(scope="module")
def source() -> Path:
    """Debian's kernel: boot/vmlinuz-*, lib/modules/*."""
    if platform.machine() != "x86_64":
        pytest.skip("the guest needs an x86-64 host, whose own busybox runs in it")
    require("qemu-system-x86_64")
    return require_file(CACHE / "guest" / ".ready").parent


@pytest.fixture(scope="module")
def kernel(source: Path) -> Kernel:
    (image,) = source.glob("boot/vmlinuz-*")
    return find_kernel(None, kernel=os.fsencode(image), modules=os.fsencode(source))


@pytest.fixture(scope="module")
def busybox() -> bytes:
    require("busybox")
    return find_busybox(None, "x86_64").content


def _tree(top: Path, busybox: bytes) -> Path:
    for name in ("bin", "boot", "dev", "etc", "proc", "run", "sys", "tmp", "root"):
        (top / name).mkdir(parents=True)
    (top / "bin" / "busybox").write_bytes(busybox)
    (top / "bin" / "busybox").chmod(0o755)
    for name in ("sh", "sleep", "cat", "dd", "ls", "mount", "poweroff", "reboot", "sync", "kill"):
        (top / "bin" / name).symlink_to("busybox")
    return top


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, busybox: bytes) -> Path:
    """A disk with an ESP and a root of which 24 MiB are free."""
    folder = tmp_path_factory.mktemp("vm")
    tree = _tree(folder / "tree", busybox)
    layout = ("--partition-table", "efi", "--additional-space", "24M")
    return build(tree, folder / "efi", *layout)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, busybox: bytes) -> Path:
    """A root without a partition table, of which 48 MiB are free."""
    folder = tmp_path_factory.mktemp("plain")
    tree = _tree(folder / "tree", busybox)
    return build(tree, folder / "none", "--partition-table", "none", "--additional-space", "48M")


@pytest.fixture
def overlay(base: Path, tmp_path: Path) -> Drive:
    return _overlay(base, tmp_path / "a, b.qcow2")


def _overlay(base: Path, path: Path) -> Drive:
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, path)
    return Drive(os.fsencode(path), "qcow2")


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test does, no QEMU, no temporary file and no descriptor is left of it."""
    temporary = tmp_path / "TMPDIR"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = set(os.listdir("/proc/self/fd"))
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    yield
    assert [each for each in processes.children() if each.name.startswith("qemu-system")] == []
    assert list(temporary.iterdir()) == []
    assert set(os.listdir("/proc/self/fd")) == before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers


@pytest.fixture
def request_for(kernel: Kernel, busybox: bytes, overlay: Drive) -> Callable[..., GuestRequest]:
    """Return what makes a request that runs a text in the image's shell; keywords change the request."""

    def make(text: str = "true", mounts: Sequence[Mount] = (), **changes: object) -> GuestRequest:
        job = Job(ROOT_FS, (shell(text),), tuple(mounts), clock=CLOCK)
        made = prepare(job, overlay, kernel, busybox, timeout=120.0)
        return replace(made, **changes)  # type: ignore[arg-type]  # a test's own keywords

    return make


def fails(request: GuestRequest, progress: Callable[[str], None] | None = None) -> GuestError:
    with pytest.raises(GuestError) as caught:
        run_guest(request, progress)
    return caught.value


def qemu() -> int:
    """The number of the QEMU that runs now."""
    (found,) = (each for each in processes.children() if each.name.startswith("qemu-system"))
    return found.pid


# --- What a guest does ---


def test_a_job_is_done(request_for, overlay, tmp_path):
    text = """
    busybox date +%s; umask; busybox env
    mount
    ls /sys/class/net; cat /sys/bus/virtio/devices/*/device
    ls -l /dev/xvda /dev/xvda2 /dev/sda /dev/sda1 /dev/disk/by-uuid/* /dev/disk/by-label/* /dev/block/254:2
    echo made >/etc/made; echo esp >/boot/esp; echo id >/etc/machine-id
    echo away >/tmp/away; echo away >/run/away
    cat
    echo error >&2
    """
    stages: list[str] = []
    done = run_guest(request_for(text, [ESP]), stages.append)
    assert isinstance(done, GuestResult) and done.accelerator == "tcg"
    assert stages == ["start", "boot", "devices", "mount", "install", "unmount"] == list(done.stages)
    assert sum(done.stages.values()) == pytest.approx(done.seconds, rel=0.2)

    log = list(done.log)
    assert CLOCK <= int(log[0]) < CLOCK + 100 and log[1] == "0022" and log[-1] == "error"
    environment = dict(
        line.split("=", 1) for line in log[2 : log.index("/dev/vda2 on / type ext4 (rw,noatime)")]
    )
    assert environment.keys() - {"SHLVL", "PWD"} == {
        "HOME", "LC_ALL", "NIXOS_INSTALL_BOOTLOADER", "PATH", "TERM", "TZ",
    }  # fmt: skip
    text = "\n".join(log)
    assert "/dev/vda1 on /boot type vfat (rw,noatime" in text
    for place in ("/dev type devtmpfs", "/proc type proc", "/sys type sysfs", "/dev/pts type devpts"):
        assert f"on {place}" in text
    # No network but the loopback device, no directory of the host: of virtio's devices those that are
    # block devices and consoles alone. Spec: virtio 1.2, 5.
    assert "\nlo\n" in text and "eth" not in text and not re.search("9p|virtiofs", text)
    assert {line for line in log if re.fullmatch("0x[0-9a-f]{4}", line)} == {"0x0002", "0x0003"}
    for alias in ("xvda -> vda", "xvda2 -> vda2", "sda -> vda", "sda1 -> vda1", "nixos -> ../../vda2"):
        assert f"/{alias}" in text
    assert "11111111-2222-3333-4444-555555555555 -> ../../vda2" in text and "254:2 -> ../vda2" in text

    disk = tmp_path / "disk.img"
    run("qemu-img", "convert", "-O", "raw", os.fsdecode(overlay.path), disk)
    first, second = (sgdisk.partition(disk, number).first_lba * 512 for number in (1, 2))
    e2fsck.check(disk, second)
    assert debugfs.request(disk, "cat /etc/made", second) == "made\n"
    for gone in ("/etc/machine-id", "/tmp/away", "/run/away"):
        assert "not found" in debugfs.raw(disk, f"stat {gone}", second).err
    assert mtools.read(disk, "esp", first) == b"esp\n"


def test_a_disk_without_a_table_and_commands_that_may_fail(kernel, busybox, plain, tmp_path):
    commands = (
        Command(("/bin/sh", "-c", "echo activate; exit 5"), "activate", required=False),
        Command(
            ("/bin/sh", "-c", 'echo "$1" "$TEST"; busybox date +%Y', "sh", "two  words"),
            "check",
            {"TEST": "it's"},
        ),
    )
    job = Job(Mount(0, "ext4"), commands, remove=())
    drive = _overlay(plain, tmp_path / "o.qcow2")
    done = run_guest(prepare(job, drive, kernel, busybox, timeout=120.0))
    assert done.log == ("activate", "two  words it's", "1970")
    assert [*done.stages] == ["start", "boot", "devices", "mount", "activate", "check", "unmount"]


def test_programs_that_go_on_in_the_background_do_not_keep_the_disk(request_for):
    done = run_guest(request_for("cd /root; (sleep 1000; echo never) >/root/log 2>&1 & echo started"))
    assert done.log == ("started",)


def test_a_required_command_that_fails_is_the_last(kernel, busybox, overlay):
    commands = (shell("echo one; exit 3", "first"), shell("echo two", "second"))
    error = fails(prepare(Job(ROOT_FS, commands), overlay, kernel, busybox, timeout=120.0))
    assert (error.stage, error.status, error.log) == ("first", 3, ("one",))


def test_a_kernel_and_modules_of_the_tree_itself(source, busybox, overlay):
    """As they stand in a tree: the kernel says its version, and no modules.dep is there."""
    root = directory.read(os.fsencode(source), SourceRules())
    found = find_kernel(root)
    assert run_guest(prepare(Job(ROOT_FS, (shell("echo here"),)), overlay, found, busybox, timeout=120.0)).log


@pytest.mark.parametrize("suffix", [".ko", ".ko.xz", ".ko.zst"])
def test_modules_are_loaded_however_they_are_compressed(source, kernel, busybox, overlay, tmp_path, suffix):
    compress = {".ko": bytes, ".ko.xz": lzma.compress, ".ko.zst": zstandard.compress}[suffix]
    job = Job(ROOT_FS, (shell("cat /proc/modules"),), (ESP,))
    wanted = select(kernel.modules, required_modules(job), optional_modules(job))
    folder = tmp_path / "lib" / "modules" / (kernel.version or "")
    folder.mkdir(parents=True)
    for module in wanted:
        (folder / f"{module.name}{suffix}").write_bytes(compress(module.content))
    (built_in,) = source.rglob("modules.builtin")
    shutil.copy(built_in, folder)
    (image,) = source.glob("boot/vmlinuz-*")
    found = find_kernel(None, kernel=os.fsencode(image), modules=os.fsencode(tmp_path))
    done = run_guest(prepare(job, overlay, found, busybox, timeout=120.0))
    assert {line.split()[0] for line in done.log} == {module.name for module in wanted}


def test_without_ports_the_second_serial_port_speaks(kernel, busybox, overlay, request_for):
    """A kernel without virtio_console. What the terminal would do to the bytes is off.

    Where the kernel has it built in, it is told not to start it.
    """
    text = r"[ ! -e /sys/class/virtio-ports ] || exit 1; printf 'a\tb\n\303\274\n'; printf 'no end'; exit 9"
    job = Job(ROOT_FS, (shell(text),))
    modules = [
        each
        for each in select(kernel.modules, required_modules(job), optional_modules(job))
        if each.name != "virtio_console"
    ]
    stages: list[str] = []
    without = request_for(
        initramfs=initramfs(busybox, modules, job),
        kernel_arguments=("initcall_blacklist=virtio_console_init",),
    )
    error = fails(without, stages.append)
    assert error.status == 9 and error.log == (r"a\tb", "ü", "no end")
    assert stages == ["start", "boot", "devices", "mount", "install", "unmount"]


def test_it_runs_in_a_thread(request_for):
    """Where there are no signals to hold back, and no process may be bound to a thread."""
    results: list[GuestResult] = []
    thread = threading.Thread(target=lambda: results.append(run_guest(request_for("echo here"))))
    thread.start()
    thread.join()
    assert results[0].log == ("here",)


def test_auto_finds_what_boots(request_for):
    """KVM where a guest boots with it; where /dev/kvm is not there, or is there and does not work, TCG."""
    done = run_guest(request_for("echo here", accelerator="auto"))
    assert done.log == ("here",) and done.accelerator in ("tcg", "kvm")


def test_qemu_gives_up_system_calls(request_for):
    """Spec: proc(5), Seccomp: 0 is none, 2 is a filter."""
    seen: dict[bool, str] = {}
    for sandbox in (True, False):
        run_guest(
            request_for(sandbox=sandbox),
            lambda stage, key=sandbox: (
                seen.update({key: processes.status(qemu(), "Seccomp")}) if stage == "install" else None
            ),
        )
    assert seen == {True: "2", False: "0"}


# --- The ways in which it fails ---


def test_a_command_fails(request_for):
    error = fails(request_for("echo first; echo 'grub-install: error' >&2; exit 7"))
    assert (error.status, error.log) == (7, ("first", "grub-install: error"))
    assert "stage install, exit status 7" in str(error)
    assert error.stage == "install"


@pytest.mark.parametrize("pvpanic", [True, False])
def test_the_kernel_panics(kernel, busybox, overlay, request_for, pvpanic):
    job = Job(ROOT_FS, (shell("echo before; echo c >/proc/sysrq-trigger; sleep 100"),))
    modules = [
        each
        for each in select(kernel.modules, required_modules(job), optional_modules(job))
        if pvpanic or not each.name.startswith("pvpanic")
    ]
    error = fails(request_for(initramfs=initramfs(busybox, modules, job)))
    assert "kernel panicked in stage install (sysrq triggered crash)" in str(error)
    assert error.log[0] == "before" and any("Kernel Offset" in line for line in error.log)  # its last line


def test_init_is_killed(request_for, busybox):
    """The kernel panics where its first process is gone: here one that is no program."""
    broken = initramfs(b"#!/nothing", [], Job(ROOT_FS, ()))
    error = fails(request_for(initramfs=broken))
    assert "kernel panicked in stage boot" in str(error) and error.stage == "boot"


def test_it_hangs(request_for):
    error = fails(request_for("echo waiting; sleep 1000", timeout=15.0))
    assert "did not end in 15 seconds, in stage install" in str(error)
    assert error.log[0] == "waiting"


def test_it_hangs_before_it_runs(request_for, tmp_path):
    """A QEMU that never says a word."""
    silent = tmp_path / "qemu"
    silent.write_text("#!/bin/sh\nsleep 1000\n")  # a child of the script: killed with it
    silent.chmod(0o755)
    error = fails(request_for(timeout=1.0, qemu=os.fsencode(silent)))
    assert "did not end in 1 seconds, in stage start" in str(error)
    assert not [each for each in processes.children(1) if each.name == "sleep" and each.state != "Z"]


def test_it_restarts_itself(request_for):
    assert "restarted itself in stage install" in str(fails(request_for("reboot -f")))


def test_it_goes_without_a_last_word(request_for):
    assert "without a last word" in str(fails(request_for("poweroff -f")))


@pytest.mark.parametrize("how", ["missing", "directory", "other format", "locked"])
def test_the_disk_cannot_be_had(request_for, overlay, tmp_path, how):
    path = tmp_path / "disk"
    drive = Drive(os.fsencode(path), "qcow2")
    if how == "directory":
        path.mkdir()
    elif how == "other format":
        path.write_bytes(bytes(MiB))
    if how != "locked":
        error = fails(request_for(drives=(drive,)))
        assert error.stage == "start" and "QEMU did not start" in str(error) and str(path) in str(error)
        return
    holder = [require("qemu-io"), "-f", "qcow2", "-c", "sleep 60000", os.fsdecode(overlay.path)]
    with subprocess.Popen(holder, stdout=subprocess.DEVNULL) as other:
        while not Path(f"/proc/{other.pid}/fd").exists() or not _holds(other.pid, overlay.path):
            assert other.poll() is None
        assert "the disk to itself" in str(fails(request_for()))
        other.kill()


def _holds(pid: int, path: bytes) -> bool:
    """Tell whether a process has a lock on a file: proc(5), /proc/[pid]/fdinfo, "lock:"."""
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if os.readlink(f"/proc/{pid}/fd/{number}") == os.path.realpath(os.fsdecode(path)):
                return "lock:" in Path(f"/proc/{pid}/fdinfo/{number}").read_text()
    return False


def test_qemu_cannot_be_had(request_for, tmp_path):
    assert "install QEMU" in str(fails(request_for(qemu=b"qemu-system-nowhere")))
    assert "is no program" in str(fails(request_for(qemu=os.fsencode(tmp_path))))
    broken = tmp_path / "qemu"
    broken.write_bytes(b"\x7fELF broken")
    broken.chmod(0o755)
    assert "QEMU cannot be started" in str(fails(request_for(qemu=os.fsencode(broken))))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("-no-such-option", "invalid option"),
        ("-m 100000000G", "memory|-m"),
        ("-cpu none", "unable to find CPU model"),
    ],
)
def test_qemu_does_not_like_an_option(request_for, tmp_path, words, says):
    error = fails(request_for(qemu=_wrapped(tmp_path, f'"$@" {words}')))
    assert "QEMU did not start (" in str(error) and re.search(says, "\n".join(error.log))


def _wrapped(folder: Path, arguments: str) -> bytes:
    """Return QEMU with other arguments."""
    script = folder / "wrapped-qemu"
    script.write_text(f"#!/bin/sh\nexec {require('qemu-system-x86_64')} {arguments}\n")
    script.chmod(0o755)
    return os.fsencode(script)


def test_a_kernel_that_is_none(request_for):
    for content in (b"", b"no kernel at all" * 1000):
        error = fails(request_for(kernel=Bytes(content), timeout=15.0))
        assert error.stage in ("start", "boot")


def test_seccomp_is_not_to_be_had(request_for, tmp_path):
    """QEMU itself emulated: its emulator has no seccomp."""
    emulator, program = require("qemu-x86_64-static"), require("qemu-system-x86_64")
    script = tmp_path / "emulated-qemu"
    script.write_text(f'#!/bin/sh\nexec {emulator} {program} "$@"\n')
    script.chmod(0o755)
    error = fails(request_for(qemu=os.fsencode(script)))
    assert error.stage == "start" and "--qemu-sandbox off" in str(error)


@pytest.mark.parametrize(("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV")])
def test_qemu_is_killed(request_for, number, name):
    def kill(stage: str) -> None:
        if stage == "install":
            os.kill(qemu(), number)

    error = fails(request_for("echo here; sleep 1000"), kill)
    assert f"QEMU was killed by {name} in stage install" in str(error)


def test_qemu_is_asked_to_end(request_for):
    def end(stage: str) -> None:
        if stage == "install":
            os.kill(qemu(), signal.SIGTERM)

    assert "before the guest did (host-signal)" in str(fails(request_for("sleep 1000"), end))


def test_the_guest_s_disk_is_full(request_for):
    error = fails(request_for("dd if=/dev/zero of=/big bs=1M count=1000"))
    assert error.status == 1 and "No space left on device" in "\n".join(error.log)


def test_the_disk_fails_on_the_host(request_for, overlay, tmp_path):
    """QEMU's own driver of failures: every write is one."""
    rules, raw, wrapper = tmp_path / "rules", tmp_path / "raw.img", tmp_path / "failing-qemu"
    rules.write_text('[inject-error]\nevent = "write_aio"\nerrno = "5"\n')
    run("qemu-img", "convert", "-O", "raw", os.fsdecode(overlay.path), raw)
    change = f"s#file={raw}#file=blkdebug:{rules}:{raw}#"
    script = f'for word; do shift; set -- "$@" "$(printf %s "$word" | sed "{change}")"; done'
    wrapper.write_text(f'#!/bin/sh\n{script}\nexec {require("qemu-system-x86_64")} "$@"\n')
    wrapper.chmod(0o755)
    request = request_for("echo x >/x; sync; sleep 100", drives=(Drive(os.fsencode(raw), "raw"),))
    error = fails(replace(request, qemu=os.fsencode(wrapper)))
    assert "the guest's disk failed on the host in stage" in str(error) and "Input/output error" in str(error)


def test_qemu_stops_the_guest(request_for, tmp_path):
    """A STOP that nobody here asked for, by a second monitor. KVM's "internal-error" comes the same way."""
    monitor = tmp_path / "m"
    qemu_ = _wrapped(tmp_path, f'"$@" -monitor unix:{monitor},server=on,wait=off')
    error = fails(request_for("sleep 1000", qemu=qemu_), lambda stage: _say(stage, monitor))
    assert "QEMU stopped the guest in stage install (paused)" in str(error)


def _say(stage: str, monitor: Path) -> None:
    if stage == "install":
        with socket.socket(socket.AF_UNIX) as speaker:
            speaker.connect(str(monitor))
            speaker.sendall(b"stop\n")
            # The prompt stands after its greeting, and again when the command was obeyed: one that leaves
            # before is not heard.
            said = b""
            while said.count(b"(qemu) ") < 2 and (piece := speaker.recv(4096)):
                said += piece


@pytest.mark.parametrize(
    ("mounts", "text", "says"),
    [
        ([Mount(7, "vfat", b"/boot")], "", "the disk has no /dev/vda7"),
        ([Mount(1, "ext4", b"/boot")], "", "/dev/vda1 cannot be mounted as ext4"),
        ([Mount(1, "vfat", b"/bin/sh")], "", "/bin/sh is a symlink in the image"),
        ([Mount(1, "vfat", b"/etc/new/deep")], "ls /etc/new/deep", None),
        ([], "mount -t tmpfs none /root && cd /root", None),
    ],
)
def test_what_init_cannot_do(request_for, mounts, text, says):
    request = request_for(text or "true", mounts)
    if says is None:
        run_guest(request)
        return
    error = fails(request)
    assert says in str(error) and error.status is None


# --- Nothing is left, whatever ends it ---


def test_what_progress_raises_ends_the_guest(request_for):
    class Enough(Exception):
        pass

    def raise_it(stage: str) -> None:
        if stage == "mount":
            raise Enough

    with pytest.raises(Enough):
        run_guest(request_for("sleep 1000"), raise_it)


def _script(source: Path, drive: Drive, handling: str, text: str) -> list[str]:
    (image,) = source.glob("boot/vmlinuz-*")
    words = [str(image), str(source), os.fsdecode(drive.path), drive.format, handling, text]
    return [sys.executable, "-W", "error", "-m", "tests.guest.vm_script", *words]


@pytest.mark.parametrize("handling", ["raise", "default"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("when", ["boot", "install"])
def test_signals(source, plain, tmp_path, handling, number, when):
    """The program is stopped as it would be without a guest, and QEMU is gone before it is."""
    if number == signal.SIGKILL and handling == "raise":
        return  # nobody handles it
    command = _script(source, _overlay(plain, tmp_path / "o.qcow2"), handling, "sleep 1000")
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as script:
        assert script.stdout is not None and script.stderr is not None
        pid = 0
        for line in script.stdout:
            if line.strip() == "boot":
                (pid,) = (each.pid for each in processes.children(script.pid) if "qemu" in each.name)
            if line.strip() == when:
                break
        os.kill(script.pid, number)
        words, complaints = script.stdout.read(), script.stderr.read()
        status = script.wait()
    if number == signal.SIGKILL:
        while processes.is_running(pid):  # the kernel sees to it, in its own time
            pass
    assert pid and not processes.is_running(pid)
    if handling == "raise":
        assert (status, words.split()[-2:], complaints) == (3, ["stopped", str(int(number))], "")
    elif number == signal.SIGINT:
        assert status == -signal.SIGINT and "KeyboardInterrupt" in complaints
    else:
        assert status == -number and complaints == ""


def test_a_signal_that_is_ignored_stays_so(request_for):
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        done = run_guest(
            request_for("echo here"),
            lambda stage: os.kill(os.getpid(), signal.SIGHUP) if stage == "install" else None,
        )
        assert done.log == ("here",)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_host_s_disk_is_full(source, plain, tmp_path):
    """A scratch disk on a file system of 8 MiB, in a mount namespace of its own."""
    flags = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    if subprocess.run([require("unshare"), *flags, "true"], capture_output=True).returncode:
        pytest.skip("needs a mount namespace: root, or user namespaces")
    small = tmp_path / "small"
    small.mkdir()
    drive = Drive(os.fsencode(small / "o.qcow2"), "qcow2")
    script = _script(
        source, drive, "default", "dd if=/dev/urandom of=/big bs=1M count=30; sync; echo went on"
    )
    create = [
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        str(plain),
        os.fsdecode(drive.path),
    ]
    steps = (
        'mount -t tmpfs -o size=8m tmpfs "$1" && count=$2 && shift 2 && "${@:1:count}" && exec "${@:count+1}"'
    )
    words = ["unshare", *flags, "bash", "-c", steps, "bash", str(small), str(len(create)), *create, *script]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "the host's disk is full" in done.stdout, done.stdout + done.stderr
