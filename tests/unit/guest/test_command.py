"""QEMU's arguments: what the guest has, and what it has not."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from imgwriter.errors import SpecError
from imgwriter.extent import Bytes
from imgwriter.guest.command import CHANNELS, command, rtc_base
from imgwriter.guest.request import MAX_MEMORY, MIN_MEMORY, Drive, GuestRequest
from imgwriter.spec import ImageSpec
from imgwriter.units import MiB

REQUEST = GuestRequest(
    Bytes(b"kernel"), b"initramfs", (Drive(b"/a,b.img", "raw"), Drive(b"c.qcow2", "qcow2"))
)
NUMBERS = {name: 10 + number for number, name in enumerate(CHANNELS)}


def words(accelerator="tcg", probe=False, **changes):
    request = replace(REQUEST, **changes)
    made = command(request, "/usr/bin/qemu", accelerator, 5, 6, NUMBERS, probe)
    return [os.fsdecode(word) for word in made]


def after(words, option):
    return [words[i + 1] for i, word in enumerate(words) if word == option]


def test_the_guest_has_its_disks_and_its_channels():
    made = words(clock=1577836800)
    assert made[0] == "/usr/bin/qemu"
    assert {"-nodefaults", "-no-user-config", "-no-reboot", "-S"} <= set(made)
    assert after(made, "-rtc") == ["base=2020-01-01T00:00:00"]
    assert (
        after(made, "-smp") == ["1"] and after(made, "-m") == ["1024M"] and after(made, "-accel") == ["tcg"]
    )
    assert after(made, "-kernel") == ["/proc/self/fd/5"] and after(made, "-initrd") == ["/proc/self/fd/6"]
    assert after(made, "-chardev") == [f"socket,id={name},fd={NUMBERS[name]}" for name in CHANNELS]
    assert [device.partition(",")[0] for device in after(made, "-device")] == [
        "pvpanic-pci", "virtio-serial-pci", *["virtserialport"] * 2, *["virtio-blk-pci"] * 2,
    ]  # fmt: skip
    assert not {"-netdev", "-nic", "-net", "-fsdev", "-virtfs"} & set(made)


def test_drives():
    first, second = after(words(), "-drive")
    assert first.endswith(",file=/a,,b.img") and ",format=raw," in first
    assert second.endswith(f",file={os.getcwd()}/c.qcow2") and ",format=qcow2," in second
    assert "werror=stop" in first  # an error of the host's is an event, not an EIO for the guest
    assert after(words(drives=()), "-drive") == []


def test_a_path_that_looks_like_a_protocol_is_a_path():
    (drive,) = after(words(drives=(Drive(b"nbd:localhost:10809", "raw"),)), "-drive")
    assert f"file={os.getcwd()}/nbd:" in drive


def test_sandbox():
    (sandbox,) = after(words(), "-sandbox")
    assert sandbox.split(",")[0] == "on" and "spawn=deny" in sandbox
    assert after(words(sandbox=False), "-sandbox") == []


def test_accelerators():
    assert after(words("kvm"), "-accel") == ["kvm"] and after(words("kvm"), "-cpu") == ["host"]
    assert after(words("tcg"), "-cpu") == ["max"]


def test_probe():
    assert "imgwriter.probe" in after(words(probe=True), "-append")[0].split()
    assert "imgwriter.probe" not in after(words(), "-append")[0]


def test_arm():
    made = words(architecture="aarch64")
    assert after(made, "-machine") == ["virt"] and "console=ttyAMA0" in after(made, "-append")[0]
    assert after(made, "-serial") == ["chardev:console"]


@pytest.mark.parametrize(
    ("clock", "base"),
    [
        (-1, "1970-01-01T00:00:00"),
        (0, "1970-01-01T00:00:00"),
        (1, "1970-01-01T00:00:01"),
        (951782400, "2000-02-29T00:00:00"),
        (1 << 62, "9999-12-31T23:59:59"),
    ],
)
def test_rtc(clock, base):
    assert rtc_base(clock) == base


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "riscv64"},
        {"accelerator": "hvf"},
        {"memory": MIN_MEMORY - 1},
        {"memory": MAX_MEMORY + 1},
        {"timeout": 0.0},
        {"timeout": float("inf")},
        {"timeout": float("nan")},
    ],
)
def test_requests_that_cannot_be(changes):
    with pytest.raises(SpecError):
        replace(REQUEST, **changes)


@pytest.mark.parametrize("memory", [MIN_MEMORY, MIN_MEMORY + 1, MAX_MEMORY])
def test_memory_is_whole_mib(memory):
    assert after(words(memory=memory), "-m") == [f"{memory >> 20}M"]


def test_a_guest_has_what_a_spec_may_ask_for():
    """What neither says otherwise is the same, and the least memory of the one is that of the other."""
    asked, guest = ImageSpec(trees=["t"], boot_command="x"), GuestRequest(Bytes(b""), b"")
    assert (asked.mem_size * MiB, asked.vm_timeout) == (guest.memory, guest.timeout)
    least = ImageSpec(trees=["t"], boot_command="x", mem_size=MIN_MEMORY // MiB)
    assert replace(REQUEST, memory=least.mem_size * MiB).memory == MIN_MEMORY
    with pytest.raises(SpecError):
        ImageSpec(trees=["t"], boot_command="x", mem_size=MIN_MEMORY // MiB - 1)


def test_scsi_drives_are_as_many_as_are_asked_for_and_cannot_be_written_to():
    drives = [Drive(b"/a,b.img", "raw"), *[Drive(b"/c", "raw", sector_size=4096)] * 256]
    made = words(drives=(), scsi_drives=tuple(drives))
    first = after(made, "-drive")[0]
    assert first.endswith(",file=/a,,b.img") and ",readonly=on," in first
    disks = [device for device in after(made, "-device") if device.startswith("scsi-hd,")]
    assert len(disks) == 257 and "virtio-scsi-pci,id=scsi" in after(made, "-device")
    # Targets are 0 to 255 (virtio 1.2, 5.6.6.1: the second byte of a LUN's address).
    assert [disk.split(",")[3:5] for disk in (disks[0], disks[255], disks[256])] == [
        ["scsi-id=0", "lun=0"], ["scsi-id=255", "lun=0"], ["scsi-id=0", "lun=1"],
    ]  # fmt: skip
    assert disks[0].endswith(",logical_block_size=512,physical_block_size=512")
    assert disks[1].endswith(",logical_block_size=4096,physical_block_size=4096")


def test_without_scsi_drives_there_is_no_adapter():
    assert not [device for device in after(words(), "-device") if "scsi" in device]


def test_kernel_arguments():
    (before,), (after_all,) = after(words(), "-append"), after(words(kernel_arguments=("gpt",)), "-append")
    assert after_all.split() == [*before.split(), "gpt"]
