"""Boot loaders installed by the image's own programs in a guest: they boot, and two builds are equal."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.building import SUFFIXES, build
from tests.oracles import boot, e2fsck, efi_variables, fsck_fat, sgdisk
from tests.oracles.boot import Firmware
from tests.oracles.processes import children
from tests.oracles.tools import CACHE, ROOT, attempt, require, require_file, run

pytestmark = [pytest.mark.guest, pytest.mark.slow]

MENU = r"""
version=$(cd /boot && echo vmlinuz-*)
{
    printf 'serial\nterminal_output serial\n'
    printf 'linux /boot/%s root=LABEL=nixos console=ttyS0,115200\n' "$version"
    printf 'initrd /boot/%s\nboot\n' "$(cd /boot && echo initrd.img-*)"
} >"$menu"
"""
BIOS = f"set -e; grub-install --target=i386-pc --no-floppy /dev/vda; menu=/boot/grub/grub.cfg; {MENU}"
EFI = (
    "set -e; grub-install --target=x86_64-efi --removable --no-nvram --efi-directory=/efi;"
    f" menu=/boot/grub/grub.cfg; {MENU}"
)
# What systemd's own installer would copy, and an entry.
SYSTEMD_BOOT = r"""
set -e
mkdir -p /efi/EFI/BOOT /efi/loader/entries
cp /usr/lib/systemd/boot/efi/systemd-bootx64.efi /efi/EFI/BOOT/BOOTX64.EFI
cp /boot/vmlinuz-* /efi/vmlinuz
cp /boot/initrd.img-* /efi/initrd
printf 'timeout 0\n' >/efi/loader/loader.conf
printf 'title T\nlinux /vmlinuz\ninitrd /initrd\noptions root=LABEL=nixos console=ttyS0,115200\n' \
    >/efi/loader/entries/t.conf
head -c 32 /dev/urandom >/efi/loader/random-seed
"""


class Case(NamedTuple):
    """An installer, and the table that it installs on."""

    name: str
    command: str
    table: str
    firmware: Firmware


CASES = (
    Case("grub-legacy", BIOS, "legacy", "bios"),
    Case("grub-efi", EFI, "efi", "efi"),
    Case("systemd-boot", SYSTEMD_BOOT, "efi", "efi"),
)
MORE = (
    Case("grub-bios-boot-partition", BIOS, "hybrid", "bios"),
    Case("grub-efixbootldr", EFI, "efixbootldr", "efi"),
)


@pytest.fixture(scope="module")
def tree() -> Path:
    return require_file(CACHE / "boot-tree" / ".ready").parent / "root"


def options(case: Case, *more: str) -> tuple[str, ...]:
    require("qemu-system-x86_64")
    words = ("--boot-command", case.command, "--partition-table", case.table)
    # A boot partition at /boot would hide the tree's own kernel.
    esp = ("--esp-mount", "/efi", "--boot-mount", "/xbootldr") if case.table != "legacy" else ()
    return (*words, *esp, "--owner", "0:0", "--additional-space", "32M", *more)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("image_format", ["raw", "qcow2", "qcow2-compressed", "vpc"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_two_builds_are_equal_and_boot(case: Case, image_format: str, tree: Path, tmp_path: Path) -> None:
    words = options(case, "--format", image_format)
    first, second = (build(tree, tmp_path / name, *words) for name in ("first", "second"))
    assert sha256(first) == sha256(second)
    text = boot.check(first, image_format.removesuffix("-compressed"), case.firmware)
    assert "Linux version" in text and "boot-test login:" in text


@pytest.mark.parametrize("case", MORE, ids=lambda case: case.name)
def test_other_tables_boot(case: Case, tree: Path, tmp_path: Path) -> None:
    image = build(tree, tmp_path, *options(case))
    sgdisk.verify(image)
    assert "boot-test login:" in boot.check(image, "raw", case.firmware)


# --- What is taken over, and what is not ---


def document(tree: Path, output: Path, *words: str) -> dict[str, Any]:
    """Build, and return what --json says."""
    command = [sys.executable, "-m", "imgwriter", "build", "--tree", str(tree), "--output", str(output)]
    done = subprocess.run([*command, "--json", *words], capture_output=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_an_installer_does_is_in_the_image_and_noise_is_not(tree: Path, tmp_path: Path) -> None:
    """Every kind of change, on both file systems, looked at by tools of their own."""
    command = r"""
set -e
echo new >/etc/new; chmod 640 /etc/new; busybox chown 3:4 /etc/new
echo again >/etc/passwd
rm /etc/group
ln /etc/new /etc/hard; ln -s new /etc/soft
mkdir /srv; busybox mknod /srv/null c 1 3; busybox mkfifo /srv/fifo; busybox touch -d @1000000000 /srv
echo seed >/var/lib/random-seed 2>/dev/null || { mkdir -p /var/lib; echo seed >/var/lib/random-seed; }
mkdir -p /var/log; echo log >/var/log/install.log
echo id >/etc/machine-id
echo esp >/efi/loader.txt
exit 0
"""
    case = Case("changes", command, "efi", "efi")
    said = document(tree, tmp_path, *options(case, "--time", "1700000000"))
    changes = {(change["kind"], change["path"]) for change in said["boot_loader"]["changes"]}
    expected = {
        ("made", "etc/new"), ("made", "etc/hard"), ("made", "etc/soft"), ("changed", "etc/passwd"),
        ("removed", "etc/group"), ("made", "srv"), ("made", "efi/loader.txt"),
        ("made", "efi"), ("made", "var"),
    }  # fmt: skip
    assert changes == expected
    image = tmp_path / "nixos.img"
    esp, root = tmp_path / "esp", tmp_path / "root"
    for partition, path in zip(said["partitions"], (esp, root), strict=True):
        with image.open("rb") as source, path.open("wb") as target:
            source.seek(partition["start"])
            target.write(source.read(partition["size"]))
    e2fsck.check(root)
    fsck_fat.check(esp)
    assert run("mtype", "-i", esp, "::/loader.txt") == "esp\n"
    stat = run("debugfs", "-R", "stat /etc/new", root)
    assert "Mode:  0640" in stat and "User:     3   Group:     4" in stat and "Links: 2" in stat
    assert "mtime: 0x6553f100" in stat  # 1700000000, not the guest's clock
    assert 'Fast link dest: "new"' in run("debugfs", "-R", "stat /etc/soft", root)
    assert "Device major/minor number: 01:03" in run("debugfs", "-R", "stat /srv/null", root)
    assert "Type: FIFO" in run("debugfs", "-R", "stat /srv/fifo", root)
    assert "mtime: 0x3b9aca00" in run("debugfs", "-R", "stat /srv", root)  # as the installer set it
    assert run("debugfs", "-R", "cat /etc/passwd", root) == "again\n"
    for gone in ("/etc/group", "/etc/machine-id", "/var/lib/random-seed", "/var/log/install.log"):
        assert "File not found" in attempt("debugfs", "-R", f"stat {gone}", root).text, gone


def test_the_guest_itself_changes_nothing(tree: Path, tmp_path: Path) -> None:
    """Of a tree whose /run and /tmp are links: nothing is mounted there, and what they lead to stays."""
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy, symlinks=True)
    (copy / "var" / "run").mkdir(parents=True)
    (copy / "var" / "run").chmod(0o1777)
    for name in ("run", "tmp"):
        (copy / name).rmdir()
        (copy / name).symlink_to("var/run")
    said = document(copy, tmp_path / "o", "--boot-command", "true", "--owner", "0:0")
    assert said["boot_loader"]["changes"] == []


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("exit 7", b"a command failed in the guest: stage install, exit status 7"),
        ("echo cannot >&2; exit 3", b"  cannot\n"),
        ("grub-install --target=i386-pc --force --no-floppy /dev/vda1", b"finds its core image in sector"),
        (
            "printf '\\013' | busybox dd of=/dev/vda bs=1 seek=450 conv=notrunc 2>/dev/null; sync",
            b"changed the partition table",
        ),
        (
            "busybox dd if=/dev/zero of=/dev/vda bs=512 seek=$(($(cat /sys/class/block/vda/size) - 3))"
            " count=1 2>/dev/null; printf x | busybox dd of=/dev/vda bs=512"
            " seek=$(($(cat /sys/class/block/vda/size) - 3)) conv=notrunc 2>/dev/null; sync",
            b"wrote behind the last partition",
        ),
        (
            r"busybox dd if=/dev/zero bs=1M count=8 2>/dev/null | busybox tr '\000' '\377'"
            " | busybox dd of=/dev/vda bs=1M seek=1 conv=notrunc 2>/dev/null; sync",
            b"the installer left a damaged file system (the inode table",
        ),
        (
            "busybox dd if=/dev/zero of=/swap bs=1M count=4 && busybox mkswap /swap && busybox swapon /swap;"
            " echo the last words",
            b"stay busy and cannot be unmounted; correct the tree or the job\nthe guest's last lines:\n"
            b"  4+0 records in",
        ),
    ],
    ids=["fails", "says why", "block lists", "table", "behind", "damaged", "busy"],
)
def test_what_cannot_be_taken_over_is_refused(command: str, says: bytes, tree: Path, tmp_path: Path) -> None:
    words = options(Case("refused", command, "legacy", "bios"))
    line = [sys.executable, "-m", "imgwriter", "build", "--tree", str(tree), "--output", str(tmp_path / "o")]
    done = subprocess.run([*line, *words], capture_output=True, check=False, cwd=ROOT)
    assert done.returncode == 1 and says in done.stderr, done.stderr.decode()
    assert not (tmp_path / "o").exists() or os.listdir(tmp_path / "o") == []
    assert [each for each in children() if each.name.startswith("qemu-system")] == []


def test_the_guests_own_image_is_kept_where_that_is_wanted(tree: Path, tmp_path: Path) -> None:
    """Block lists into the file system stay right, so that it boots."""
    command = BIOS.replace("/dev/vda;", "--force /dev/vda1;")
    case = Case("kept", command, "legacy", "bios")
    image = build(tree, tmp_path, *options(case, "--keep-guest-image", "--format", "qcow2"))
    assert image.name == f"nixos.{SUFFIXES['qcow2']}"
    raw = tmp_path / "raw"
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw)
    root = tmp_path / "root"
    with raw.open("rb") as source, root.open("wb") as target:
        source.seek(1 << 20)
        target.write(source.read((raw.stat().st_size >> 20) - 2 << 20))
    e2fsck.check(root)


def test_nothing_is_run_on_a_dry_run(tree: Path, tmp_path: Path) -> None:
    said = document(tree, tmp_path / "o", *options(CASES[0], "--dry-run"))
    guest = said["boot_loader"].pop("guest")
    assert said["boot_loader"] == {
        "name": "guest",
        "reason": "the boot command is run by the image's own shell",
        "installed": False,
    }
    (kernel,) = tree.glob("boot/vmlinuz-*")
    assert guest["kernel"] == f"the tree, boot/{kernel.name}"
    assert guest["version"] == kernel.name.removeprefix("vmlinuz-")
    assert "virtio_blk" in guest["modules"] and guest["qemu"] == shutil.which("qemu-system-x86_64")
    assert not (tmp_path / "o").exists()


def test_a_tree_without_a_kernel_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    line = [sys.executable, "-m", "imgwriter", "build", "--tree", str(tmp_path / "tree")]
    words = ["--output", str(tmp_path / "o"), "--boot-command", "true"]
    done = subprocess.run([*line, *words], capture_output=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert b"the tree has no kernel in boot" in done.stderr and b"--vm-kernel" in done.stderr
    assert not (tmp_path / "o").exists()


# --- EFI variables ---

# EFI_LOAD_OPTION: attributes, FilePathListLength, "A", an end-of-device-path node (UEFI 2.10, 3.1.3).
BOOT_ENTRY = r"\007\000\000\000" r"\001\000\000\000\004\000A\000\000\000\177\377\004\000"
SET_VARIABLES = (
    "set -e; cd /sys/firmware/efi/efivars;"
    f" printf '{BOOT_ENTRY}' >Boot0007-8be4df61-93ca-11d2-aa0d-00e098032b8c;"
    r" printf '\007\000\000\000\007\000' >BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c;"
    r" head -c 12 /dev/urandom >/tmp/token; printf '\007\000\000\000' >/tmp/head;"
    " cat /tmp/head /tmp/token >/tmp/both;"
    " cat /tmp/both >LoaderSystemToken-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
)


def test_efi_variables_are_kept_beside_the_image(tree: Path, tmp_path: Path) -> None:
    """As virt-firmware reads them; two runs are equal, though the firmware draws and counts."""
    require_file(Path("/usr/share/OVMF/OVMF_VARS_4M.fd"))
    case = Case("variables", SET_VARIABLES, "efi", "efi")
    for name in ("first", "second"):
        build(tree, tmp_path / name, *options(case, "--touch-efi-vars"))
    first, second = (tmp_path / name / "efi-vars.fd" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size == Path("/usr/share/OVMF/OVMF_VARS_4M.fd").stat().st_size
    found = efi_variables.read(first)
    assert found["Boot0007"].endswith("010000000400410000007fff0400")
    assert found["BootOrder"] == "0700"
    assert "LoaderSystemToken" not in found and "MTC" not in found
    assert efi_variables.read(Path("/usr/share/OVMF/OVMF_VARS_4M.fd")).keys() < found.keys()


# --- What ends it ---


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(number: signal.Signals, tree: Path, tmp_path: Path) -> None:
    """While the installer runs: no QEMU, no scratch disk, no output; the image that was there stays."""
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "nixos.img").write_text("before")
    words = options(Case("sleeps", "echo here; sleep 600", "legacy", "bios"))
    line = [sys.executable, "-m", "imgwriter", "build", "--tree", str(tree), "--output", str(tmp_path / "o")]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([*line, *words], stderr=subprocess.PIPE, cwd=ROOT, env=environment) as process:
        while not (guests := [each for each in children(process.pid) if each.name.startswith("qemu-system")]):
            assert process.poll() is None, process.stderr.read() if process.stderr else b""
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode == 128 + number
    assert b"stopped by SIG" in said
    assert not any(Path(f"/proc/{guest.pid}").exists() for guest in guests)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["nixos.img", "o"]
    assert (tmp_path / "o" / "nixos.img").read_text() == "before"
