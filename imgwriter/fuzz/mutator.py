"""A mutator that keeps checksums right: for AFL++ as a Python module, for libFuzzer by atheris.

::

    bytes ── places: which records are here? ── a field set to a number worth a try ── mend ──> bytes

A reader that tests checksums throws nearly all of a fuzzer's inputs away at its first test. Here what is
behind that test is reached: GPT headers and entries, ext4's superblock and descriptor, a VHD's footers and
header are sealed again after each change. One input in sixteen is left as it is, for the test itself.

AFL++ imports the module by name::

    AFL_PYTHON_MODULE=imgwriter.fuzz.mutator AFL_CUSTOM_MUTATOR_ONLY=1 \\
        afl-fuzz -i corpus -o findings -- ./parser @@

and calls ``init``, ``fuzz``, ``havoc_mutation`` and ``deinit``. There is no ``post_process``, which would
mend what AFL++'s own mutations make: 4.04c, Debian 12's, ends by a segmentation fault where a Python module
has any. Another one may be given a module with ``from imgwriter.fuzz.mutator import mend_most as
post_process`` beside the names above. With atheris::

    own = lambda data, size: atheris.Mutate(data, size)
    atheris.Setup(sys.argv, target, custom_mutator=custom_mutator(own))

Spec: AFL++, docs/custom_mutators.md; atheris, README, "Custom Mutators".
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple, TypeAlias

from imgwriter import gpt, mbr, qcow2, vhd
from imgwriter.ext4.checksum import crc32c, fs_seed
from imgwriter.ext4.format import EXT4_SUPER_MAGIC, GROUP_DESC_64, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE
from imgwriter.fuzz.containers import DYNAMIC_HEADER, FOOTER
from imgwriter.fuzz.containers import HEADER as QCOW2_HEADER
from imgwriter.fuzz.containers import HEADER_V3 as QCOW2_HEADER_V3
from imgwriter.fuzz.file_systems import BOOT_12, BOOT_32, FSINFO, GROUP, SUPERBLOCK
from imgwriter.fuzz.record import Field, Layout
from imgwriter.fuzz.tables import ENTRY, HEADER, MBR, MBR_RECORD, RECORD_SIZE, RECORDS_AT

SECTOR_SIZES = (512, 4096)
MOST_SEALED = 1 << 20
"""Bytes of a GPT's entries whose checksum is made right; more take too long for a fuzzer."""
_UNMENDED = 16
_ENTRIES = 4

Mutate: TypeAlias = Callable[[bytes, int], bytes]
"""A fuzzer's own mutation: (input, most bytes of the output)."""


class Shape(NamedTuple):
    """A record's fields, and the bytes up to the end of the last."""

    fields: tuple[Field, ...]
    length: int


class Place(NamedTuple):
    """A record that was found in an input: its first byte and its fields."""

    offset: int
    shape: Shape


def _shape(layout: Layout) -> Shape:
    fields = tuple(layout.values())
    return Shape(fields, max(field.end for field in fields))


_MBR, _MBR_RECORD, _HEADER, _ENTRY = map(_shape, (MBR, MBR_RECORD, HEADER, ENTRY))
_BOOT_12, _BOOT_32, _FSINFO = map(_shape, (BOOT_12, BOOT_32, FSINFO))
_SUPERBLOCK, _GROUP = map(_shape, (SUPERBLOCK, GROUP))
_QCOW2_HEADER, _QCOW2_HEADER_V3 = map(_shape, (QCOW2_HEADER, QCOW2_HEADER_V3))
_FOOTER, _DYNAMIC_HEADER = map(_shape, (FOOTER, DYNAMIC_HEADER))


def places(data: bytes | bytearray) -> list[Place]:
    """Return the records in an image, as far as their signatures tell."""
    return [place for place in _candidates(data) if place.offset + place.shape.length <= len(data)]


def _candidates(data: bytes | bytearray) -> Iterator[Place]:
    if data[:4] == qcow2.MAGIC:
        yield Place(0, _QCOW2_HEADER)
        yield Place(qcow2.HEADER_LENGTH_V2, _QCOW2_HEADER_V3)
        return
    for offset in _footers(data):
        yield Place(offset, _FOOTER)
        yield Place(vhd.FOOTER_SIZE, _DYNAMIC_HEADER)
    if _is_ext4(data):
        yield Place(SUPERBLOCK_OFFSET, _SUPERBLOCK)
        yield Place(_group_offset(data), _GROUP)
        return
    if data[:1] in (b"\xeb", b"\xe9"):
        yield Place(0, _BOOT_12 if _get(data, 0, BOOT_12["BPB_FATSz16"]) else _BOOT_32)
        yield Place(512, _FSINFO)
        return
    yield from _boot_records(data, 0)
    for offset, sector_size in gpt_headers(data):
        yield Place(offset, _HEADER)
        array = _get(data, offset, HEADER["partition_entry_lba"]) * sector_size
        for number in range(_ENTRIES):
            yield Place(array + number * gpt.ENTRY_SIZE, _ENTRY)


def _boot_records(data: bytes | bytearray, offset: int) -> Iterator[Place]:
    """Yield the records of an MBR, and of the EBRs that it leads to at once."""
    yield Place(offset, _MBR)
    for number in range(mbr.RECORDS):
        at = offset + RECORDS_AT + number * RECORD_SIZE
        yield Place(at, _MBR_RECORD)
        if offset == 0 and at + RECORD_SIZE <= len(data) and data[at + 4] in (0x05, 0x0F, 0x85):
            start = _get(data, at, MBR_RECORD["starting_lba"]) * 512
            if 0 < start < len(data):
                yield from _boot_records(data, start)


def gpt_headers(data: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Yield (offset, sector size) of the GPT headers where a disk has them."""
    for size in SECTOR_SIZES:
        for offset in (size, (len(data) // size - 1) * size):
            if offset > 0 and data[offset : offset + 8] == gpt.SIGNATURE:
                yield offset, size


def _footers(data: bytes | bytearray) -> Iterator[int]:
    for offset in {0, max(len(data) - vhd.FOOTER_SIZE, 0)}:
        if data[offset : offset + 8] == vhd.FOOTER_COOKIE:
            yield offset


def _is_ext4(data: bytes | bytearray) -> bool:
    end = SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE
    return len(data) >= end and _get(data, SUPERBLOCK_OFFSET, SUPERBLOCK["s_magic"]) == EXT4_SUPER_MAGIC


def _group_offset(data: bytes | bytearray) -> int:
    """Return where the first group descriptor is: in the block after the superblock's."""
    block = 1024 << min(_get(data, SUPERBLOCK_OFFSET, SUPERBLOCK["s_log_block_size"]), 16)
    return block if block > SUPERBLOCK_OFFSET else 2 * block


def _get(data: bytes | bytearray, offset: int, field: Field) -> int:
    return int.from_bytes(data[offset + field.offset : offset + field.end], field.order or "little")


def _put(data: bytearray, offset: int, field: Field, value: int) -> None:
    data[offset + field.offset : offset + field.end] = value.to_bytes(field.length, field.order or "little")


def mend(data: bytes | bytearray) -> bytearray:
    """Return an image of the same length whose checksums are right for what it says."""
    mended = bytearray(data)
    headers = list(gpt_headers(mended))
    for offset, sector_size in headers:
        _mend_entries(mended, offset, sector_size)
    for offset, sector_size in headers:
        _mend_header(mended, offset, sector_size)
    for offset in _footers(mended):
        if offset + vhd.FOOTER_SIZE <= len(mended):
            _mend_vhd(mended, offset, vhd.FOOTER_SIZE, FOOTER["checksum"])
            _mend_dynamic_header(mended)
    if _is_ext4(mended):
        _mend_ext4(mended)
    return mended


def _mend_entries(data: bytearray, offset: int, sector_size: int) -> None:
    start = _get(data, offset, HEADER["partition_entry_lba"]) * sector_size
    length = _get(data, offset, HEADER["number_of_partition_entries"])
    length *= _get(data, offset, HEADER["size_of_partition_entry"])
    if length <= MOST_SEALED and start + length <= len(data):
        crc = zlib.crc32(memoryview(data)[start : start + length])
        _put(data, offset, HEADER["partition_entry_array_crc32"], crc)


def _mend_header(data: bytearray, offset: int, sector_size: int) -> None:
    size = _get(data, offset, HEADER["header_size"])
    if gpt.HEADER_SIZE <= size <= sector_size and offset + size <= len(data):
        _put(data, offset, HEADER["header_crc32"], 0)
        _put(data, offset, HEADER["header_crc32"], zlib.crc32(memoryview(data)[offset : offset + size]))


def _mend_vhd(data: bytearray, offset: int, length: int, field: Field) -> None:
    record = bytes(data[offset : offset + length])
    _put(data, offset, field, vhd.checksum(record, slice(field.offset, field.end)))


def _mend_dynamic_header(data: bytearray) -> None:
    start, end = vhd.FOOTER_SIZE, vhd.FOOTER_SIZE + vhd.DYNAMIC_HEADER_SIZE
    if end <= len(data) and data[start : start + 8] == vhd.DYNAMIC_HEADER_COOKIE:
        _mend_vhd(data, start, vhd.DYNAMIC_HEADER_SIZE, DYNAMIC_HEADER["checksum"])


def _mend_ext4(data: bytearray) -> None:
    start = SUPERBLOCK_OFFSET
    content = bytes(data[start : start + SUPERBLOCK["s_checksum"].offset])
    _put(data, start, SUPERBLOCK["s_checksum"], crc32c(content))
    group = _group_offset(data)
    if group + GROUP_DESC_64.size <= len(data):
        _put(data, group, GROUP["bg_checksum"], 0)
        uuid = SUPERBLOCK["s_uuid"]
        seed = fs_seed(bytes(data[start + uuid.offset : start + uuid.end]))
        descriptor = bytes(data[group : group + GROUP_DESC_64.size])
        _put(data, group, GROUP["bg_checksum"], crc32c(bytes(4) + descriptor, seed) & 0xFFFF)


def mutate(data: bytes | bytearray, most: int, random: Random) -> bytearray:
    """Return an input with some fields of its records set, or bytes where there are none, and mended.

    Args:
        data: An input.
        most: Bytes of the result, at most.
        random: Where the choices come from.
    """
    changed = bytearray(data[:most] or b"\0")
    for _ in range(1 << random.randrange(4)):
        found = places(changed)
        if found and random.randrange(8):
            _set_field(changed, random.choice(found), random)
        else:
            _disturb(changed, random)
    return mend(changed) if random.randrange(_UNMENDED) else changed


def _set_field(data: bytearray, place: Place, random: Random) -> None:
    field = random.choice(place.shape.fields)
    bits = 8 * field.length
    value = _get(data, place.offset, field)
    number = random.choice(
        [
            0, 1, value + 1, value - 1, 2 * value, value >> 1, value ^ 1 << random.randrange(bits),
            1 << random.randrange(bits), (1 << random.randrange(bits)) - 1, (1 << bits) - 1, 1 << bits - 1,
            len(data), len(data) // 512, len(data) // 512 - 1, random.getrandbits(bits),
            random.randrange(256),
        ]
    )  # fmt: skip
    _put(data, place.offset, field, number & ((1 << bits) - 1))


def _disturb(data: bytearray, random: Random) -> None:
    """Do to bytes what every fuzzer does."""
    at = random.randrange(len(data))
    length = min(1 << random.randrange(10), len(data) - at)
    match random.randrange(5):
        case 0:
            data[at] ^= 1 << random.randrange(8)
        case 1:
            data[at] = random.randrange(256)
        case 2:
            data[at : at + length] = bytes(length)
        case 3:
            source = random.randrange(len(data) - length + 1)
            data[at : at + length] = data[source : source + length]
        case _:
            data[at : at + length] = random.randbytes(length)


def mend_most(data: bytes | bytearray) -> bytearray:
    """Return an image that is mended, or, one in sixteen, as it is.

    Which ones follows from their bytes, so that a finding can be had again.
    """
    return mend(data) if zlib.crc32(data) % _UNMENDED else bytearray(data)


def custom_mutator(own: Mutate) -> Callable[[bytes, int, int], bytes]:
    """Return a custom mutator for atheris.

    Args:
        own: libFuzzer's own mutations, which are used for every other input. It has to look up
            ``atheris.Mutate`` when it is called: atheris puts another function there when it begins.
    """

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        if random.randrange(2):
            return bytes(mutate(data, max_size, random))
        changed = own(data, max_size)
        return bytes(mend_most(changed))

    return mutated


# --- AFL++'s names ---

_random = Random(0)


def init(seed: int) -> None:
    """Begin, with AFL++'s seed."""
    _random.seed(seed)


def deinit() -> None:
    """End."""


def fuzz(buf: bytearray, add_buf: bytearray | None, max_size: int) -> bytearray:
    """Return a mutation of ``buf``; half of the time with the end of ``add_buf`` in place of its own."""
    data = bytearray(buf)
    if add_buf and len(add_buf) == len(buf) and _random.randrange(8) == 0:
        at = _random.randrange(len(buf)) // 512 * 512
        data[at:] = add_buf[at:]
    return mutate(data, max_size, _random)


def havoc_mutation(buf: bytearray, max_size: int) -> bytearray:
    """Return a mutation of one field."""
    data = bytearray(buf[:max_size])
    found = places(data)
    if found:
        _set_field(data, _random.choice(found), _random)
    return data


def havoc_mutation_probability() -> int:
    """Return in how many of a hundred of AFL++'s own rounds :func:`havoc_mutation` takes part."""
    return 20
