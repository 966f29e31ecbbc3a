"""Kernel modules: found, decompressed, ordered; what is missing is said."""

from __future__ import annotations

import gzip
import lzma
import os
from pathlib import Path

import pytest
import zstandard

from imgwriter.errors import FormatError, SourceError
from imgwriter.guest import files as files_module
from imgwriter.guest.files import HostFiles, TreeFiles, walk
from imgwriter.guest.modules import ModuleDirectory, select
from tests.unit.guest.elves import module
from tests.unit.tree.graph import tree

VERSION = "6.1.0-9-amd64"
MAGIC = f"vermagic={VERSION} SMP preempt mod_unload modversions "
VIRTIO = {
    "virtio.ko": module("depends=virtio_ring", MAGIC),
    "virtio_ring.ko": module("depends=", MAGIC),
    "virtio_blk.ko": module("depends=virtio,virtio_ring", MAGIC),
    "virtio-pci.ko": module("depends=virtio_pci_modern_dev,virtio", MAGIC),
    "virtio_pci_modern_dev.ko": module("depends=", MAGIC),
}


def directory(shape) -> ModuleDirectory:
    return ModuleDirectory(TreeFiles(tree({"lib": {"modules": {"v": shape}}})), b"lib/modules/v")


def names(selected) -> list[str]:
    return [each.name for each in selected]


def test_each_comes_after_what_it_depends_on():
    selected = select(
        directory({"kernel": {"drivers": VIRTIO}}), ["virtio_pci", "virtio_blk"], version=VERSION
    )
    assert names(selected) == ["virtio_pci_modern_dev", "virtio_ring", "virtio", "virtio_pci", "virtio_blk"]
    assert {each.name: each.content for each in selected}["virtio_pci"] == VIRTIO["virtio-pci.ko"]


def test_a_directory_of_the_host_is_the_same(tmp_path):
    place = tmp_path / "lib" / "modules" / "v" / "kernel" / "drivers"
    place.mkdir(parents=True)
    for name, content in VIRTIO.items():
        (place / name).write_bytes(content)
    shape = {"kernel": {"drivers": VIRTIO}}
    host = ModuleDirectory(HostFiles(os.fsencode(tmp_path)), b"lib/modules/v")
    assert select(host, ["virtio_pci"]) == select(directory(shape), ["virtio_pci"])


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".ko.xz", lzma.compress), (".ko.zst", zstandard.compress), (".ko.gz", gzip.compress)],
)
def test_compressed_modules(suffix, compress):
    plain = module("depends=", MAGIC)
    selected = select(directory({"kernel": {f"a{suffix}": compress(plain)}}), ["a"])
    assert [(each.name, each.content) for each in selected] == [("a", plain)]


@pytest.mark.parametrize("suffix", [".ko.xz", ".ko.zst", ".ko.gz", ".ko"])
@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_a_module_that_is_cut_off(suffix, cut):
    compress = {".xz": lzma.compress, ".zst": zstandard.compress, ".gz": gzip.compress}.get(suffix[3:], bytes)
    whole = compress(module(*(f"alias={number}" for number in range(999))))
    with pytest.raises(FormatError, match=r"a\.ko|module a"):
        select(directory({f"a{suffix}": whole[:cut]}), ["a"])


def test_a_compressed_module_has_a_limit(monkeypatch):
    monkeypatch.setattr("imgwriter.guest.modules.MAX_MODULE", 1000)
    with pytest.raises(SourceError, match="larger than 1000 bytes"):
        select(directory({"a.ko.xz": lzma.compress(bytes(1001))}), ["a"])
    with pytest.raises(SourceError, match="1001 bytes"):
        select(directory({"a.ko": bytes(1001)}), ["a"])
    with pytest.raises(FormatError):  # read, and found to be no module
        select(directory({"a.ko.xz": lzma.compress(bytes(1000))}), ["a"])


def test_soft_dependencies_come_before_and_may_be_missing():
    shape = {
        # As in Debian 12: an alias of crc32c_generic, in the words of ext4 and of libcrc32c.
        "ext4.ko": module("depends=jbd2", "softdep=pre: crypto-crc32c nothing-there post: late"),
        "jbd2.ko": module("depends=", "softdep=pre: crypto-crc32c"),
        "libcrc32c.ko": module("depends=", "softdep=pre: crc32c"),
        "crc32c_generic.ko": module("depends="),
        "late.ko": module("depends="),
    }
    assert names(select(directory(shape), ["ext4"])) == ["crc32c_generic", "jbd2", "ext4"]
    assert names(select(directory(shape), ["libcrc32c"])) == ["crc32c_generic", "libcrc32c"]


def test_a_soft_dependency_on_each_other_is_no_circle():
    shape = {"a.ko": module("softdep=pre: b"), "b.ko": module("softdep=pre: a")}
    assert names(select(directory(shape), ["a"])) == ["b", "a"]


def test_a_circle():
    shape = {"a.ko": module("depends=b"), "b.ko": module("depends=c"), "c.ko": module("depends=b")}
    with pytest.raises(SourceError, match="circle: b -> c -> b"):
        select(directory(shape), ["a"])


@pytest.mark.parametrize("length", [99, 100, 101, 3000])
def test_a_chain_has_a_limit(length):
    shape = {f"m{n}.ko": module(f"depends=m{n + 1}") for n in range(length - 1)}
    shape[f"m{length - 1}.ko"] = module("depends=")
    if length <= 100:
        assert len(select(directory(shape), ["m0"])) == length
    else:
        with pytest.raises(SourceError, match="in a chain, from m0 to m100"):
            select(directory(shape), ["m0"])


def test_optional_modules():
    shape = {"a.ko": module("depends="), "b-c.ko": module("depends=")}
    assert names(select(directory(shape), [], ["b_c", "b-c", "none"])) == ["b_c"]


def test_what_is_built_in_is_not_missed():
    listed = {"modules.builtin": b"kernel/fs/ext4/ext4.ko\nkernel/crypto/crc32c-intel.ko\n", "a.ko": module()}
    assert select(directory(listed), ["ext4", "crc32c_intel"]) == ()
    with pytest.raises(SourceError, match=r"module xfs which is neither there nor in modules\.builtin"):
        select(directory(listed), ["xfs"], built_in=["xfs"])
    with pytest.raises(SourceError, match="neither there nor"):
        select(directory({"modules.builtin": b""}), ["ext4"])


def test_without_a_list_the_caller_says_what_is_built_in():
    shape = {"a.ko": module("depends=b-c")}
    with pytest.raises(
        SourceError, match=r"module b_c, which module a depends on, .* no modules.builtin;.*--vm-"
    ):
        select(directory(shape), ["a"])
    assert names(select(directory(shape), ["a"], built_in=["b-c"])) == ["a"]


def test_a_kernel_without_modules_has_all_built_in():
    assert select(None, ["ext4"]) == ()


def test_a_module_for_another_kernel():
    shape = {"a.ko": module("depends=", "vermagic=5.10.0 SMP mod_unload ")}
    with pytest.raises(SourceError, match=r"module a is for kernel 5.10.0, not for 6.1.0-9-amd64"):
        select(directory(shape), ["a"], version=VERSION)
    assert names(select(directory(shape), ["a"])) == ["a"]  # a version that is not known is not compared


def test_updates_go_before_the_rest():
    new, old = module("name=new"), module("name=old")
    for place in ("a", "kernel", "z"):
        selected = select(directory({"updates": {"dkms": {"m.ko": new}}, place: {"m.ko": old}}), ["m"])
        assert selected[0].content == new


def test_sources_of_the_kernel_are_not_walked():
    shape = {"build": {"a.ko": module()}, "source": "build", "kernel": {"b.ko": module()}}
    assert "a" not in directory(shape) and "b" in directory(shape)


def test_symlinks_are_followed():
    """NixOS's kernel-modules are symlinks into the store, of files and of directories."""
    shape = {
        "top": {"v": {"kernel": "/store/k", "misc": {"a.ko": "../../../store/a"}}},
        "store": {"k": {"fs": {"b.ko": module()}}, "a": module()},
    }
    found = ModuleDirectory(TreeFiles(tree(shape)), b"top/v")
    assert names(select(found, ["a", "b"])) == ["a", "b"]


def test_symlinks_in_a_circle_end(monkeypatch):
    shape = tree({"v": {"a": {"up": ".."}, "m.ko": module()}})
    assert sum(1 for _ in walk(TreeFiles(shape), b"v")) < 100
    monkeypatch.setattr(files_module, "MAX_NAMES", 20)
    with pytest.raises(SourceError, match="more than 20 names"):
        list(walk(TreeFiles(tree({"v": {str(n): b"" for n in range(9)} | {"up": "."}})), b"v"))


def test_a_symlink_to_nothing():
    with pytest.raises(SourceError, match="is no file"):
        select(directory({"a.ko": "nowhere"}), ["a"])


def test_no_directory_at_all(tmp_path):
    assert "a" not in ModuleDirectory(HostFiles(os.fsencode(tmp_path)), b"none")
    assert HostFiles(os.fsencode(tmp_path)).data(b".") is None
    Path(tmp_path, "fifo").parent.joinpath("x").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    assert HostFiles(os.fsencode(tmp_path)).data(b"fifo") is None
