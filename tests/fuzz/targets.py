"""imgwriter's readers as fuzz targets: bytes in; an ImgwriterError is an answer, any other exception a crash.

Nothing is written to a disk: volumes are made of the bytes, and containers are files in memory.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from uuid import UUID

from imgwriter import ext4, fat, gpt, vdi
from imgwriter.errors import ImgwriterError
from imgwriter.ext4 import reader as ext4_reader
from imgwriter.extent import Bytes, Volume, extent
from imgwriter.fat import reader as fat_reader
from imgwriter.filedata import SharedFile
from imgwriter.fuzz.catalogue import cases
from imgwriter.fuzz.containers import VhdFile, fixed_vhd_file, vhd_file
from imgwriter.fuzz.file_systems import SUPERBLOCK
from imgwriter.fuzz.mutator import mend
from imgwriter.fuzz.tables import Row as TableRow
from imgwriter.fuzz.tables import gpt_disk, mbr_disk
from imgwriter.readers import READERS
from imgwriter.readers.hostfile import HostFile
from imgwriter.tables_reader import read_table
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.units import KiB, MiB

FAT_SIZE = 40 * MiB
"""Bytes of the volume that an input is the start of: enough for a FAT32."""

EXT4_SIZE = 4 * MiB

JOURNAL_SEED = 64 * KiB
"""Bytes of the seed with a journal: beyond them are the rest of it, which is zeros, and the files' data."""

MOST_FILES = 64
MOST_BYTES = 256 * KiB


def volume_of(data: bytes, size: int | None = None) -> Volume:
    """Return a volume that begins with ``data`` and goes on with zeros to ``size``, if that is more."""
    extents = [extent(0, Bytes(data), "input")] if data else []
    return Volume(max(len(data), size or 0), extents)


def tables(data: bytes) -> None:
    """Read a partition table, with a sector size that follows from the input, or without one."""
    sector_size = (None, None, 512, 1024, 4096)[zlib.crc32(data[:1024]) % 5]
    table = read_table(volume_of(data), sector_size)
    for remark in islice(table.findings + table.notes, MOST_FILES):
        str(remark)


def ext4_tree(data: bytes) -> None:
    """List an ext4, and read its files."""
    for verify in (True, False):
        read = False
        try:
            root = ext4_reader.read_file_system(volume_of(data, EXT4_SIZE), verify=verify).tree()
            read = True
        except ImgwriterError:
            if not verify:
                raise
        if read:
            _read_files(root)
            return


def fat_tree(data: bytes) -> None:
    """List a FAT, and read its files."""
    _read_files(fat_reader.read_file_system(volume_of(data, FAT_SIZE)).tree())


def _container(image_format: str) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        fd = os.memfd_create("input", os.MFD_CLOEXEC)
        file = HostFile(SharedFile(fd, b"input", None), len(data))
        os.write(fd, data)
        volume, _ = READERS[image_format](file)
        left = MOST_BYTES
        for e in islice(volume.extents, MOST_FILES):
            length = min(e.length, left)
            for piece in e.data.chunks(e.data_start, e.data_start + length):
                left -= len(piece)
            if left <= 0:
                break

    return target


def _read_files(root: Inode) -> None:
    left = MOST_BYTES
    for inode in islice(_inodes(root), MOST_FILES):
        if stat.S_ISREG(inode.mode) and inode.data is not None and left > 0:
            for piece in inode.data.chunks(0, min(inode.size, left)):
                left -= len(piece)


def _inodes(root: Inode) -> Iterator[Inode]:
    pending = [root]
    while pending:
        inode = pending.pop()
        yield inode
        pending.extend((inode.entries or {}).values())


TARGETS: dict[str, Callable[[bytes], None]] = {
    "raw": _container("raw"),
    "qcow2": _container("qcow2"),
    "vhd": _container("vpc"),
    "vdi": _container("vdi"),
    "tables": tables,
    "ext4": ext4_tree,
    "fat": fat_tree,
}


@cache
def seeds(target: str) -> tuple[bytes, ...]:
    """Return inputs to begin with: small images that are right, and what the catalogue has of small ones."""
    return _SEEDS[target]()


def _disks() -> tuple[bytes, ...]:
    entries = {
        n: gpt.Entry(gpt.TYPE_LINUX_DATA, UUID(int=n), 34 + 4 * n, 37 + 4 * n, f"partition {n}")
        for n in (1, 2, 4)
    }
    disk = gpt_disk(entries, 96 * 512)
    hybrid = disk.with_row("mbr", 2, TableRow(0x83, 42, 4)).with_row("mbr", 3, TableRow(0x05, 46, 8))
    chain = mbr_disk([TableRow(0x05, 8, 40), TableRow(0x0C, 50, 10, 0x80)], 64 * 512)
    for number in range(4):
        link = [TableRow(0x05, 10 * (number + 1), 10)] if number < 3 else []
        chain = chain.with_sector(f"ebr{number + 1}", 8 + 10 * number, [TableRow(0x83, 1, 9), *link])
    large = gpt_disk({1: gpt.Entry(gpt.TYPE_ESP, UUID(int=1), 6, 8, "large")}, 16 * 4096, 4096)
    return tuple(image.content() for image in (disk, hybrid, chain, large))


def _vhds() -> tuple[bytes, ...]:
    """Return VHDs with blocks of 4 KiB, so that they are small, and fixed ones."""
    file = vhd_file().with_record("header", block_size=4 * KiB, max_table_entries=4)
    for name in ("copy", "footer"):
        file = file.with_record(name, current_size=16 * KiB)
    end = file["bat"]["entry0"] * 512 + 512 + 4 * KiB
    file = file.moved("footer", end).with_size(end + 512).sealed()
    small = VhdFile(file.size, 512, file.records, Volume(file.size, []))
    bitmap = small.with_bytes(end - 512 - 4 * KiB, b"\xa5" * 512)
    return small.content(), bitmap.content(), fixed_vhd_file().content()


def _vdis() -> tuple[bytes, ...]:
    """Return VDIs of two blocks of four, of one of four, and of one of one; a hole at the end is left out."""
    data = [extent(at, Bytes(b"data"), "data") for at in (0, MiB)]
    disks = {
        "dynamic": [Volume(4 * MiB, data), Volume(4 * MiB, data[1:])],
        "static": [Volume(MiB, data[:1])],
    }
    parameters = {kind: vdi.Parameters(kind, UUID(int=1), UUID(int=2)) for kind in disks}
    return tuple(_start(vdi.encode(disk, parameters[kind])) for kind in disks for disk in disks[kind])


def _ext4s() -> tuple[bytes, ...]:
    plain = [_file_system(features) for features in ("^has_journal", "^has_journal,^metadata_csum,^64bit")]
    journal = bytearray(_file_system("has_journal"))
    journal[1024 + SUPERBLOCK["s_feature_incompat"].offset] |= 4  # RECOVER: the journal is read
    del journal[JOURNAL_SEED:]
    return (*plain, bytes(mend(journal)))


def _fats() -> tuple[bytes, ...]:
    small = [c.image.volume() for c in cases("fat") if c.image.size <= MiB]
    return tuple(_fat(bits) for bits in (12, 16, 32)) + tuple(_start(volume) for volume in small[::4])


_SEEDS: dict[str, Callable[[], tuple[bytes, ...]]] = {
    "raw": lambda: (b"", b"raw", bytes(4096)),
    "qcow2": lambda: tuple(c.image.content() for c in cases("qcow2")[::4]),
    "vhd": _vhds,
    "vdi": _vdis,
    "tables": _disks,
    "ext4": _ext4s,
    "fat": _fats,
}


def _start(volume: Volume) -> bytes:
    """Return a volume up to its last byte that is not zero."""
    end = max((e.end for e in volume.extents), default=0)
    return volume.read(0, end)


def _tree() -> Inventory:
    root = Inode(stat.S_IFDIR | 0o755)
    directory = Inode(stat.S_IFDIR | 0o755)
    file = Inode(stat.S_IFREG | 0o644, size=5000, data=Bytes(b"x" * 5000))
    directory.entries = {b"a long name that FAT needs entries for": file}
    small = Inode(stat.S_IFREG | 0o644, size=3, data=Bytes(b"abc"))
    root.entries = {b"directory": directory, b"small": small}
    return Inventory(root)


def _file_system(features: str) -> bytes:
    parameters = ext4.Parameters(
        uuid=bytes(range(16)),
        hash_seed=bytes(16),
        features=f"^resize_inode,{features}",
        block_size=1024,
        inodes=16,
    )
    tree = _tree()
    return _start(ext4.plan(tree, parameters, ext4.minimum_size(tree, parameters)).volume())


def _fat(bits: int) -> bytes:
    parameters = fat.Parameters(fat_type=bits)
    tree = _tree()
    return _start(fat.plan(tree, parameters, fat.minimum_size(tree, parameters), "the volume").volume())
