"""A disk in each container as the drive of a guest: read whole, written, and missed where it is damaged.

Each drive is attached with its own format, and the kernel sees the disk that QEMU makes of it: a table of
partitions that has to end where the disk ends, and a root whose every entry is compared with the source.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.building import build, varied_tree
from tests.oracles import e2fsck, guest, parted, qemu_img, sgdisk
from tests.oracles.guest import Drive
from tests.oracles.snapshot import Snapshot, difference, of_source

pytestmark = [pytest.mark.guest, pytest.mark.slow]

# 401 MiB are no whole number of a VHD's cylinders, so that the one without a forced size is longer.
LAYOUT = ("--partition-table", "efi", "--disk-size", "401M")
CONTAINERS: dict[str, tuple[str, ...]] = {
    "qcow2": ("--format", "qcow2"),
    "qcow2-0.10": ("--format", "qcow2", "--qcow2-compat", "0.10"),
    "qcow2-4k": ("--format", "qcow2", "--cluster-size", "4KiB"),
    "zlib": ("--format", "qcow2-compressed"),
    "zlib-0.10-4k": ("--format", "qcow2-compressed", "--qcow2-compat", "0.10", "--cluster-size", "4KiB"),
    "zstd": ("--format", "qcow2-compressed", "--compression", "zstd"),
    "vhd": ("--format", "vpc"),
    "vhd-force-size": ("--format", "vpc", "--force-size"),
    "vhd-fixed": ("--format", "vpc", "--vhd-subformat", "fixed"),
    "vhd-fixed-force-size": ("--format", "vpc", "--vhd-subformat", "fixed", "--force-size"),
    "vdi": ("--format", "vdi"),
    "vdi-static": ("--format", "vdi", "--vdi-subformat", "static"),
}
# One boot for each group: booting takes longer than reading a drive.
GROUPS = (
    ("qcow2", "qcow2-0.10", "qcow2-4k"),
    ("zlib", "zlib-0.10-4k", "zstd"),
    ("vhd", "vhd-force-size", "vhd-fixed", "vhd-fixed-force-size"),
    ("vdi", "vdi-static"),
)

NEW = b"written in place\n" * 100_000
# In place, over clusters that are there; into holes; by new files, past what the container had allocated;
# and a large directory away. Names to the same blocks, xattrs and devices have to survive it.
WRITE = f"""
mount $DEVICE /mnt
yes 'written in place' | head -c {len(NEW)} | dd of=/mnt/data/3000001 bs=4096 conv=notrunc 2>/dev/null
printf hole | dd of=/mnt/data/empty-but-long bs=1 seek=4000000 conv=notrunc 2>/dev/null
mkdir /mnt/copy
cp -r /mnt/data /mnt/copy
rm -r /mnt/many
umount /mnt
mount -o ro $DEVICE /mnt
snapshot /mnt
umount /mnt
"""
READ = "mount -o ro $DEVICE /mnt\nsnapshot /mnt\numount /mnt\n"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with every kind of entry."""
    return varied_tree(tmp_path_factory.mktemp("guest") / "tree")


def _drive(name: str, tree: Path, output: Path) -> Drive:
    """Build the disk in a container."""
    words = CONTAINERS[name]
    image = build(tree, output / name, *LAYOUT, *words)
    return Drive(image, "qcow2" if words[1] == "qcow2-compressed" else words[1])


def _on_each(drives: Iterable[object], job: str) -> str:
    """Return a job on the roots of several drives, one after the other: /dev/vda2, /dev/vdb2, ..."""
    return "".join(f"DEVICE=/dev/vd{letter}2\n{job}" for letter, _ in zip("abcdef", drives, strict=False))


@pytest.mark.parametrize("names", GROUPS, ids="+".join)
def test_a_guest_boots_and_reads_each(names: tuple[str, ...], tree: Path, tmp_path: Path) -> None:
    drives = [_drive(name, tree, tmp_path) for name in names]
    answer = guest.check(drives, _on_each(drives, READ))
    for name, found in zip(names, answer.snapshots, strict=True):
        assert (name, difference(of_source(tree, found), found)) == (name, [])


@pytest.mark.parametrize("names", GROUPS, ids="+".join)
def test_a_guest_writes_each(names: tuple[str, ...], tree: Path, tmp_path: Path) -> None:
    drives = [_drive(name, tree, tmp_path) for name in names]
    answer = guest.check(drives, _on_each(drives, WRITE))
    for name, drive, found in zip(names, drives, answer.snapshots, strict=True):
        assert (name, difference(_written(tree, found), found)) == (name, [])
        if drive.format != "vpc":  # qemu-img has no check of it
            qemu_img.check(drive.image, drive.format)
        seen = qemu_img.convert(drive.image, drive.format, tmp_path / "seen.img", "raw")
        sgdisk.verify(seen)
        root = max(parted.table(seen).partitions, key=lambda partition: partition.first_lba)
        e2fsck.check(seen, root.first_lba * 512)
        seen.unlink()


def _written(tree: Path, found: Snapshot) -> Snapshot:
    """Return what the root has to hold after ``WRITE``; times of what it wrote are taken as found."""
    expected = of_source(tree, found)
    expected = {path: entry for path, entry in expected.items() if path.split(b"/")[0] != b"many"}
    sums = {
        b"data/3000001": NEW + (tree / "data" / "3000001").read_bytes()[len(NEW) :],
        b"data/empty-but-long": bytes(4_000_000) + b"hole" + bytes(999_996),
    }
    for path, content in sums.items():
        new_sum = hashlib.sha256(content).hexdigest()
        expected[path] = expected[path]._replace(sha256=new_sum, mtime_ns=found[path].mtime_ns)
    expected[b""] = expected[b""]._replace(mtime_ns=found[b""].mtime_ns)
    data = [path for path in expected if path.split(b"/")[0] == b"data"]
    for path in data:
        # Contents alone: busybox's cp keeps neither hard links nor times.
        expected[b"copy/" + path] = found[b"copy/" + path]._replace(sha256=expected[path].sha256)
    expected[b"copy"] = found[b"copy"]
    return expected


@pytest.fixture(scope="module")
def inside(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Where on the disk some bytes from the middle of data/3000001 are, which no other file has."""
    raw = build(tree, tmp_path_factory.mktemp("raw"), *LAYOUT).read_bytes()
    assert raw.count(b"0200000\n") == 1
    return raw.index(b"0200000\n")


def _number(image: Path, layout: str, offset: int) -> int:
    with image.open("rb") as file:
        file.seek(offset)
        (number,) = struct.unpack(layout, file.read(struct.calcsize(layout)))
    assert isinstance(number, int)
    return number


def _overwrite(image: Path, offset: int, content: bytes) -> None:
    with image.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def _l2_entry(image: Path, guest_offset: int) -> int:
    """Return where the L2 entry of a guest's byte is: docs/interop/qcow2.txt, "Cluster mapping"."""
    cluster_bits, l1_table_offset = _number(image, ">I", 20), _number(image, ">Q", 40)
    l2_bits = cluster_bits - 3
    l1_entry = _number(image, ">Q", l1_table_offset + 8 * (guest_offset >> l2_bits + cluster_bits))
    l2_index = (guest_offset >> cluster_bits) % (1 << l2_bits)
    return (l1_entry & 0x00FF_FFFF_FFFF_FE00) + 8 * l2_index


def _damage_compressed_data(image: Path, guest_offset: int) -> None:
    """Overwrite bytes of a compressed cluster: docs/interop/qcow2.txt, "Compressed Clusters Descriptor"."""
    entry = _number(image, ">Q", _l2_entry(image, guest_offset))
    assert entry >> 62 == 1, "compressed"
    offset_bits = 62 - (_number(image, ">I", 20) - 8)
    _overwrite(image, entry % (1 << offset_bits) + 500, b"\xff" * 64)


def _exchange(image: Path, one: int, other: int, layout: str) -> None:
    """Exchange two entries of a table."""
    first, second = _number(image, layout, one), _number(image, layout, other)
    assert first != second
    _overwrite(image, one, struct.pack(layout, second))
    _overwrite(image, other, struct.pack(layout, first))


def _exchange_clusters(image: Path, guest_offset: int) -> None:
    """Exchange two clusters of 64 KiB of the file."""
    _exchange(image, _l2_entry(image, guest_offset), _l2_entry(image, guest_offset + 65536), ">Q")


def _exchange_vhd_blocks(image: Path, guest_offset: int) -> None:
    """Exchange neighbours: VHD specification, "Dynamic Disk Header Format", "Block Allocation Table"."""
    header = _number(image, ">Q", 16)
    table, block_size = _number(image, ">Q", header + 16), _number(image, ">I", header + 32)
    entry = table + 4 * (guest_offset // block_size)
    _exchange(image, entry, entry + 4, ">I")


def _exchange_vdi_blocks(image: Path, guest_offset: int) -> None:
    """Exchange neighbours: QEMU's block/vdi.c, VdiHeader's offset_bmap and block_size."""
    table, block_size = _number(image, "<I", 0x154), _number(image, "<I", 0x178)
    entry = table + 4 * (guest_offset // block_size)
    _exchange(image, entry, entry + 4, "<I")


DAMAGES: dict[str, Callable[[Path, int], None]] = {
    "qcow2": _exchange_clusters,
    "zlib": _damage_compressed_data,
    "zstd": _damage_compressed_data,
    "vhd": _exchange_vhd_blocks,
    "vdi": _exchange_vdi_blocks,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_the_guest_objects_to_a_damaged_one(name: str, inside: int, tree: Path, tmp_path: Path) -> None:
    drive = _drive(name, tree, tmp_path)
    DAMAGES[name](drive.image, inside)
    answer = guest.boot([drive], _on_each([drive], READ))
    objections = [line for found in answer.snapshots for line in difference(of_source(tree, found), found)]
    # Where the data cannot be decompressed, the disk answers with an error, and the job has no sum to send.
    objections += answer.log.splitlines()
    assert any("data/3000001" in line for line in objections)
