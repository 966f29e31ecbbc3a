"""Which kernel a guest runs, and whose modules it gets."""

from __future__ import annotations

import os

import pytest

from imgwriter.errors import SourceError
from imgwriter.guest.kernel import find_kernel
from imgwriter.guest.modules import select
from tests.unit.guest.elves import AARCH64, RISCV, X86_64, arm64_image, bzimage, elf, module
from tests.unit.guest.kernels import sized, zboot_kernel
from tests.unit.tree.graph import at, tree

V9, V10 = "6.9.1-amd64", "6.10.1-amd64"


def modules(version):
    return {"kernel": {"a.ko": module("depends=", f"vermagic={version} SMP ")}}


def loads(kernel) -> bool:
    """Whether its modules are its own: another's are refused by their version."""
    return bool(select(kernel.modules, ["a"], version=kernel.version))


def head(kernel) -> bytes:
    return b"".join(bytes(piece) for piece in kernel.data.chunks(0, len(kernel.data)))


def test_debian():
    root = tree(
        {
            "boot": {f"vmlinuz-{V9}": bzimage(V9), f"vmlinuz-{V10}": bzimage(V10), "grub": {}},
            "lib": "usr/lib",
            "usr": {"lib": {"modules": {V9: modules(V9), V10: modules(V10)}}},
            "vmlinuz": f"boot/vmlinuz-{V9}",
        }
    )
    kernel = find_kernel(root)
    assert (kernel.version, kernel.architecture) == (V10, "x86_64")  # 6.10 is after 6.9
    assert kernel.data is at(root, f"boot/vmlinuz-{V10}").data
    assert loads(kernel)


def test_one_with_modules_goes_before_a_higher_version():
    shape = {"boot": {f"vmlinuz-{v}": bzimage(v) for v in (V9, V10)}, "lib": {"modules": {V9: modules(V9)}}}
    kernel = find_kernel(tree(shape))
    assert kernel.version == V9 and loads(kernel)


def test_a_kernel_says_its_version_whatever_its_name():
    """Arch has boot/vmlinuz-linux, and the name after an update may be of the next one."""
    shape = {"boot": {"vmlinuz-linux": bzimage(V9)}, "usr": {"lib": {"modules": {V9: modules(V9)}}}}
    assert loads(find_kernel(tree(shape)))


def test_a_kernel_that_says_none_is_known_by_its_name():
    shape = {"boot": {f"vmlinuz-{V9}": bzimage("")}, "lib": {"modules": {V9: modules(V9)}}}
    assert loads(find_kernel(tree(shape)))
    shape = {"usr": {"lib": {"modules": {V9: modules(V9) | {"vmlinuz": arm64_image()}}}}}
    kernel = find_kernel(tree(shape))
    assert loads(kernel) and kernel.architecture == "aarch64"


NIXOS = {
    "nix": {
        "store": {
            "toplevel": {"kernel": "/nix/store/linux/bzImage", "kernel-modules": "/nix/store/km"},
            "linux": {"bzImage": bzimage("6.6.1")},
            "km": {"lib": {"modules": {"6.6.1": modules("6.6.1")}}},
        }
    }
}


@pytest.mark.parametrize("toplevel", [b"/nix/store/toplevel", b"nix/store/toplevel/"])
def test_nixos(toplevel):
    kernel = find_kernel(tree(NIXOS), toplevel=toplevel)
    assert kernel.version == "6.6.1" and loads(kernel)


def test_nixos_on_arm_whose_kernel_says_no_version():
    root = tree(NIXOS)
    at(root, "nix/store/linux").entries[b"bzImage"] = tree(arm64_image())
    kernel = find_kernel(root, toplevel=b"/nix/store/toplevel")
    assert kernel.architecture == "aarch64" and select(kernel.modules, ["a"])


def test_a_system_without_a_kernel():
    """A container's toplevel has none; then the rest of the tree is looked at."""
    with pytest.raises(SourceError, match="--vm-kernel"):
        find_kernel(tree({"nix": {"store": {"toplevel": {}}}}), toplevel=b"/nix/store/toplevel")


@pytest.mark.parametrize(
    "root", [None, tree({}), tree({"boot": {"initrd.img": b""}, "lib": {"modules": {}}})]
)
def test_no_kernel(root):
    with pytest.raises(SourceError, match=r"has no kernel .* --vm-kernel .* --vm-modules"):
        find_kernel(root)


@pytest.fixture
def host(tmp_path):
    (tmp_path / "vmlinuz").write_bytes(bzimage(V9))
    place = tmp_path / "root" / "lib" / "modules" / V9 / "kernel"
    place.mkdir(parents=True)
    (place / "a.ko").write_bytes(modules(V9)["kernel"]["a.ko"])
    return tmp_path


@pytest.mark.parametrize("below", ["", "lib/modules", f"lib/modules/{V9}"])
def test_given_by_the_host(host, below):
    found = find_kernel(
        None, kernel=os.fsencode(host / "vmlinuz"), modules=os.fsencode(host / "root" / below)
    )
    assert found.version == V9 and loads(found) and head(found) == bzimage(V9)


def test_a_kernel_that_is_given_goes_before_the_trees(host):
    root = tree({"boot": {f"vmlinuz-{V10}": bzimage(V10)}, "lib": {"modules": {V10: modules(V10)}}})
    found = find_kernel(root, kernel=os.fsencode(host / "vmlinuz"))
    assert found.version == V9 and found.modules is None
    root = tree({"lib": {"modules": {V9: modules(V9)}}})
    assert loads(find_kernel(root, kernel=os.fsencode(host / "vmlinuz")))


def test_modules_that_are_given_for_the_trees_kernel(host):
    root = tree({"boot": {f"vmlinuz-{V9}": bzimage(V9)}})
    assert loads(find_kernel(root, modules=os.fsencode(host / "root")))
    root = tree({"boot": {f"vmlinuz-{V10}": bzimage(V10)}})
    with pytest.raises(SourceError, match=rf"holds no modules of kernel {V10}; give --vm-modules"):
        find_kernel(root, modules=os.fsencode(host / "root"))


def test_paths_of_the_host_that_lead_to_nothing(host):
    for wrong in (host / "none", host):
        with pytest.raises(SourceError, match="is no file") as caught:
            find_kernel(None, kernel=os.fsencode(wrong))
        assert caught.value.path == os.fsencode(wrong)
    with pytest.raises(SourceError, match="holds no modules of kernel"):
        find_kernel(None, kernel=os.fsencode(host / "vmlinuz"), modules=os.fsencode(host / "none"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#!/bin/sh\n",
        bzimage()[:0x238],
        bzimage(flags=0),  # 32 bits
        bzimage(protocol=0x20B),  # before xloadflags
        elf(RISCV),
        b"\x7fELF",
        bytes(65536),
        zboot_kernel(b"payload", machine=0x8664),
        zboot_kernel(b"payload", machine=0x5064),  # RISC-V
    ],
)
def test_what_is_no_kernel_for_a_guest(host, content):
    (host / "it").write_bytes(content)
    with pytest.raises(SourceError, match="is no kernel for x86-64 or 64-bit Arm"):
        find_kernel(None, kernel=os.fsencode(host / "it"))


@pytest.mark.parametrize(
    ("content", "architecture"),
    [
        (bzimage(), "x86_64"),
        (bzimage(protocol=0x20C), "x86_64"),
        (elf(X86_64), "x86_64"),
        (elf(AARCH64, programs=(1,)), "aarch64"),
        (arm64_image(), "aarch64"),
        (b"\x1f\x8b\x08" + bytes(100), "aarch64"),
        (zboot_kernel(b"payload"), "aarch64"),
        (zboot_kernel(sized(b"payload", 7), b"zstd22"), "aarch64"),
    ],
)
def test_architecture(host, content, architecture):
    (host / "it").write_bytes(content)
    assert find_kernel(None, kernel=os.fsencode(host / "it")).architecture == architecture


@pytest.mark.parametrize("compression", [b"lz4", b"lzo", b"", b"\x1b[1m"])
def test_a_zboot_that_nothing_here_unpacks(host, compression):
    (host / "it").write_bytes(zboot_kernel(sized(b"payload", 7), compression))
    with pytest.raises(
        SourceError, match=r"is compressed by .*, which is not read here; .* --vm-kernel"
    ) as caught:
        find_kernel(None, kernel=os.fsencode(host / "it"))
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("version", ["x" * 65, "", "²"])
def test_a_version_that_is_none(host, version):
    (host / "it").write_bytes(bzimage().replace(b"6.1.0-9-amd64", version.encode()))
    (host / "it-2").write_bytes(bzimage())
    found = find_kernel(None, kernel=os.fsencode(host / "it"))
    assert found.architecture == "x86_64" and not (found.version or "")[:1].isdigit()
