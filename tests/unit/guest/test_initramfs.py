"""What is in the initramfs; and that the same input makes the same bytes."""

from __future__ import annotations

import stat

from imgwriter.guest.initramfs import init_script, initramfs, optional_modules, required_modules
from imgwriter.guest.job import Job, Mount, shell
from imgwriter.guest.kernel import find_kernel
from imgwriter.guest.modules import Module
from imgwriter.guest.request import Drive
from imgwriter.guest.session import prepare
from tests.unit.guest.elves import bzimage, module
from tests.unit.tree.graph import tree

JOB = Job(Mount(2, "ext4"), (shell("true"),), (Mount(1, "vfat", b"/boot"),), clock=1577836800)


def members(archive):
    """Read an archive back: {name: (mode, content)}."""
    found, at = {}, 0
    while True:
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, mtime, size, length = fields[1], fields[5], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        start = -(-(at + 110 + length) // 4) * 4
        if name == "TRAILER!!!":
            return found
        assert mtime == 1577836800
        found[name] = (mode, archive[start : start + size])
        at = -(-(start + size) // 4) * 4


def test_members():
    found = members(initramfs(b"busybox", [Module("b", b"B"), Module("a_c", b"A")], JOB))
    assert sorted(found) == [
        "bin", "bin/busybox", "dev", "dev/console", "init", "job", "modules", "modules/a_c.ko",
        "modules/b.ko", "modules/order",
    ]  # fmt: skip
    assert found["modules/order"][1] == b"b.ko\na_c.ko\n" and found["modules/b.ko"][1] == b"B"
    assert found["init"] == (stat.S_IFREG | 0o755, init_script())
    assert found["bin/busybox"] == (stat.S_IFREG | 0o755, b"busybox")
    assert found["job"][1] == JOB.script() and stat.S_ISCHR(found["dev/console"][0])
    assert init_script().startswith(b"#!/bin/busybox sh\n")


def test_the_same_input_makes_the_same_bytes():
    assert initramfs(b"x", [], JOB) == initramfs(b"x", [], JOB)


def test_modules_that_a_job_needs():
    assert required_modules(JOB) == ("virtio_pci", "virtio_blk", "ext4", "vfat")
    assert {"virtio_console", "pvpanic_pci", "nls_cp437", "nls_ascii"} <= set(optional_modules(JOB))
    # There is no second serial port on Arm, on which it could speak without.
    assert set(required_modules(JOB, "aarch64")) - set(required_modules(JOB)) == {"virtio_console"}
    plain = Job(Mount(0, "ext2"), ())
    assert required_modules(plain) == ("virtio_pci", "virtio_blk", "ext4")  # which mounts ext2 and ext3
    assert not any(name.startswith("nls") for name in optional_modules(plain))


def test_prepare():
    names = (
        "virtio_pci",
        "virtio_blk",
        "ext4",
        "vfat",
        "pvpanic_pci",
        "nls_ascii",
        "virtio_console",
        "unused",
    )
    found = {f"{name}.ko": module("depends=") for name in names}
    root = tree({"boot": {"vmlinuz-6.1": bzimage("6.1")}, "lib": {"modules": {"6.1": {"kernel": found}}}})
    request = prepare(JOB, Drive(b"/disk", "qcow2"), find_kernel(root), b"busybox", timeout=30.0)
    assert request.clock == JOB.clock and request.timeout == 30.0 and request.drives[0].format == "qcow2"
    order = members(request.initramfs)["modules/order"][1].decode().split()
    assert {name.removesuffix(".ko") for name in order} == set(names) - {"unused"}
