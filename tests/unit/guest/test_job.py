"""What a guest does, as the shell that init.sh reads; and that a word stays one word."""

from __future__ import annotations

import shlex

import pytest

from imgwriter.errors import SpecError
from imgwriter.guest.job import Command, Job, Mount, shell

ROOT = Mount(2, "ext4")


def words(job: Job) -> list[list[str]]:
    return [shlex.split(line) for line in job.script().decode("utf-8", "surrogateescape").splitlines()]


def test_script():
    esp = Mount(1, "vfat", b"/boot/efi", uuid="AB-CD", label="ESP", partuuid="1234")
    job = Job(
        Mount(2, "ext4", uuid="9e13"),
        (
            shell("update-grub && x"),
            Command(("/sbin/sync",), "flush", {"A": "b c"}, required=False),
        ),
        (esp, Mount(3, "vfat", b"boot/")),
        (b"/etc/machine-id", b"var/lib/random-seed"),
        1577836800,
    )
    fixed = [
        "HOME=/root", "LC_ALL=C", "NIXOS_INSTALL_BOOTLOADER=1",
        "PATH=/nix/var/nix/profiles/system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TERM=dumb", "TZ=UTC",
    ]  # fmt: skip
    clean = ["env", "-i"]
    plain = [variable for variable in fixed if "NIXOS" not in variable]
    chroot = ["/bin/busybox", "chroot", "/mnt"]
    assert words(job) == [
        ["clock", "1577836800"],
        ["name_disk", "/dev/vda2", "by-uuid", "9e13"],
        ["name_disk", "/dev/vda1", "by-uuid", "AB-CD"],
        ["name_disk", "/dev/vda1", "by-label", "ESP"],
        ["name_disk", "/dev/vda1", "by-partuuid", "1234"],
        ["mount_root", "/dev/vda2", "ext4"],
        ["mount_at", "/boot", "/dev/vda3", "vfat"],  # before what is mounted on it
        ["mount_at", "/boot/efi", "/dev/vda1", "vfat"],
        ["run", "install", "required", *clean, *fixed, *chroot, "/bin/sh", "-c", "update-grub && x"],
        ["run", "flush", "optional", *clean, "A=b c", *plain, *chroot, "/sbin/sync"],
        ["clear_away", "etc/machine-id"],
        ["clear_away", "var/lib/random-seed"],
    ]  # fmt: skip


def test_efi_variables_are_mounted_before_what_is_on_the_root():
    esp = Mount(1, "vfat", b"/boot")
    names = [line[0] for line in words(Job(ROOT, (), (esp,), (), efi_variables=True))]
    assert names == ["clock", "mount_root", "mount_efi_variables", "mount_at"]


@pytest.mark.parametrize("clock", [-1, 0, 1, 86_399, 86_400])
def test_the_kernel_takes_no_time_before_its_own_start(clock):
    assert words(Job(ROOT, (), clock=clock))[0] == ["clock", "86400"]
    assert words(Job(ROOT, (), clock=86_401))[0] == ["clock", "86401"]


def test_a_disk_without_a_table():
    assert Mount(0, "ext4").device == "/dev/vda"


@pytest.mark.parametrize(
    "text", ["", "it's; rm -rf / #", "$(reboot) `reboot`", "two\nlines", "\\", "ü", "-n"]
)
def test_a_word_stays_a_word(text):
    job = Job(
        Mount(2, "ext4", label=text.replace("/", "")),
        (shell(text),),
        (Mount(1, "vfat", b"/b" + text.encode()),),
    )
    said = shlex.split(job.script().decode())
    assert text in said and "/b" + "/".join(n for n in text.split("/") if n) in said


def test_bytes_that_are_no_text():
    job = Job(
        ROOT,
        (
            Command(
                (b"/bin/\xff", b"\xfe"),
            ),
        ),
        (Mount(1, "vfat", b"/b\xfd"),),
        (b"\xfc",),
    )
    script = job.script()
    assert all(each in script for each in (b"/bin/\xff", b"\xfe", b"/b\xfd", b"\xfc"))


def test_a_name_with_a_slash_is_no_name_below_dev_disk():
    assert list(Mount(1, "ext4", label="a/b").names) == []


def test_types_of_file_systems():
    job = Job(ROOT, (), (Mount(1, "vfat", b"/boot"), Mount(3, "vfat", b"/efi")))
    assert job.file_systems == ("ext4", "vfat")


@pytest.mark.parametrize(
    "command",
    [
        Command(()),
        Command(("sh", "-c", "true")),  # busybox's own would be run
        Command(("./sh",)),
        Command(("/bin/sh",), "two words"),
        Command(("/bin/sh",), ""),
        Command(("/bin/sh", "a\0b")),
        Command(("/bin/sh",), "s", {"A B": "c"}),
        Command(("/bin/sh",), "s", {"A": "\0"}),
    ],
)
def test_commands_that_cannot_be(command):
    with pytest.raises(SpecError):
        Job(ROOT, (command,))


@pytest.mark.parametrize("path", [b"", b"/", b".", b"/..", b"a/../../b", b"a\0b"])
def test_paths_that_lead_out(path):
    with pytest.raises(SpecError, match="below the image's root"):
        Job(ROOT, (), (Mount(1, "vfat", path),))
    with pytest.raises(SpecError, match="below the image's root"):
        Job(ROOT, (), (), (path,))
