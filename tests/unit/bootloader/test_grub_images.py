"""core.img, boot.img and the program for UEFI: fields at their places, limits, files that are others."""

from __future__ import annotations

import hashlib
import lzma
import random
import struct

import pytest

from imgwriter.bootloader.grub import core_pc, image_efi
from imgwriter.bootloader.grub.core_pc import Embedding
from imgwriter.bootloader.grub.modules import Platform
from imgwriter.errors import CapacityError, FormatError
from tests.unit.bootloader import grubs
from tests.unit.tree.graph import tree

PLACE = Embedding(34, 2015, "a place")


def pc(**files) -> Platform:
    return Platform(tree({"grub": {**grubs.pc_files(), **files}}), b"grub", "i386-pc")


def efi(*relocations: bytes, **files) -> Platform:
    kernel = {"kernel.img": grubs.efi_kernel(*relocations)}
    return Platform(tree({"grub": {**grubs.efi_files(), **kernel, **files}}), b"grub", "x86_64-efi")


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def test_core_image():
    content = core_pc.payload(pc(), ["ext2"], b"(,msdos1)/boot/grub")
    assert content.startswith(grubs.TEXT + bytes(16) + grubs.DATA + b"mimg")
    core = core_pc.core_image(pc(), content)
    assert len(core) % 512 == 0
    assert struct.unpack_from("<QHH", core, 500) == (2, len(core) // 512 - 1, 0x820)
    packed, unpacked = struct.unpack_from("<2I", core, 512 + 8)
    filters = [{"id": lzma.FILTER_LZMA1, "lc": 3, "lp": 0, "pb": 2, "dict_size": 1 << 16}]
    start = 512 + 64
    assert lzma.decompress(core[start : start + packed], lzma.FORMAT_RAW, filters=filters) == content
    assert unpacked == len(content)
    # The decompressor is the tree's, but for the two sizes.
    assert core[512 : 512 + 8] + core[512 + 16 : start] == bytes(range(8)) + bytes(range(16, 64))


def test_the_same_bytes_by_every_liblzma():
    """As 5.2.5, 5.4.1, 5.8.1 and 5.8.4 pack it: repeats near and far, noise, and what is like code."""
    text = b"".join(b"%d: entry %d of %d\n" % (n, n * n % 977, n % 31) for n in range(3000))
    code = b"".join(struct.pack("<HI", 0x8D48, n * 0x10001 % 65521) for n in range(3000))
    core = core_pc.core_image(pc(), text + noise(3000) + code + text)
    assert (
        hashlib.sha256(core).hexdigest() == "417fe70bdf57711dcc787b5e6591f9bd06458873e2e4b7942e4de9024526bb01"
    )


def test_embedded():
    core = core_pc.core_image(pc(), noise(5000))
    moved = core_pc.embedded(core, PLACE)
    assert struct.unpack_from("<QHH", moved, 500) == (35, len(core) // 512 - 1, 0x820)
    assert (moved[:500], moved[512:]) == (core[:500], core[512:])


def test_room_for_it():
    core = core_pc.core_image(pc(), noise(5000))
    sectors = len(core) // 512
    core_pc.embedded(core, Embedding(1, sectors, "the gap"))
    core_pc.embedded(core, Embedding(1, sectors + 1, "the gap"))
    with pytest.raises(
        CapacityError, match=rf"has {sectors} sectors of 512 bytes, the gap has {sectors - 1}"
    ):
        core_pc.embedded(core, Embedding(1, sectors - 1, "the gap"))


def test_more_than_a_bios_loads():
    """From 0x9000 on, core.img ends before 0x78000: noise is what LZMA makes longer."""
    core_pc.core_image(pc(), noise(440_000))
    with pytest.raises(CapacityError, match="a BIOS loads 454,656"):
        core_pc.core_image(pc(), noise(455_000))


@pytest.mark.parametrize("size", [0x5F000 - 64, 0x5F000 - 63])
def test_a_kernel_that_needs_too_much_memory(size):
    """It and its .bss end before 0x68000."""
    bss = grubs.Part(grubs.NOBITS, grubs.ALLOC, address=0x9040, size=size)
    kernel = grubs.elf32(grubs.Part(grubs.PROGBITS, grubs.ALLOC, bytes(64), address=0x9000), bss)
    if size == 0x5F000 - 64:
        core_pc.payload(pc(**{"kernel.img": kernel}), [], b"x")
    else:
        with pytest.raises(FormatError, match="bytes of memory"):
            core_pc.payload(pc(**{"kernel.img": kernel}), [], b"x")


def test_boot_code():
    code = core_pc.boot_code(pc(), PLACE)
    assert len(code) == 440
    assert struct.unpack_from("<Q", code, 0x5C)[0] == 34
    assert code[0x66:0x68] == b"\x90\x90"
    original = grubs.boot_img()
    assert (code[:0x5C], code[0x64:0x66], code[0x68:]) == (
        original[:0x5C],
        original[0x64:0x66],
        original[0x68:440],
    )


@pytest.mark.parametrize("content", [b"", bytes(511), bytes(512), grubs.boot_img() + b"x"], ids=len)
def test_another_boot_img(content):
    with pytest.raises(FormatError, match=r"boot\.img is not one that is known"):
        core_pc.boot_code(pc(**{"boot.img": content}), PLACE)


@pytest.mark.parametrize("content", [b"", bytes(511), bytes(512), grubs.diskboot_img() + b"x"], ids=len)
def test_another_diskboot_img(content):
    with pytest.raises(FormatError, match=r"diskboot\.img has no block list"):
        core_pc.core_image(pc(**{"diskboot.img": content}), b"x")


def test_a_decompressor_without_its_sizes():
    core_pc.core_image(pc(**{"lzma_decompress.img": bytes(16)}), b"x")
    with pytest.raises(FormatError, match=r"lzma_decompress\.img is too short"):
        core_pc.core_image(pc(**{"lzma_decompress.img": bytes(15)}), b"x")


# --- UEFI ---


def sections(image: bytes) -> dict[bytes, tuple[int, int, int, int]]:
    """Return (VirtualSize, VirtualAddress, SizeOfRawData, PointerToRawData) by name."""
    pe = struct.unpack_from("<I", image, 0x3C)[0]
    assert image[pe : pe + 4] == b"PE\0\0"
    machine, count = struct.unpack_from("<2H", image, pe + 4)
    assert machine == 0x8664
    (optional,) = struct.unpack_from("<H", image, pe + 20)
    table = pe + 24 + optional
    rows = [struct.unpack_from("<8s4I", image, table + 40 * row) for row in range(count)]
    return {row[0].rstrip(b"\0"): row[1:] for row in rows}


def test_program():
    image = image_efi.image(efi(grubs.rela(0, grubs.R_64, 1)), ["ext2"], b"(,gpt2)/boot/grub")
    found = sections(image)
    assert list(found) == [b".text", b".data", b"mods", b".reloc"]
    end = 0x1000
    for size, address, raw_size, offset in found.values():
        assert size == raw_size and address == offset == end and size % 0x1000 == 0
        end += size
    assert end == len(image) == struct.unpack_from("<I", image, 0x80 + 24 + 56)[0]  # SizeOfImage
    assert struct.unpack_from("<I", image, 0x80 + 24 + 16)[0] == 0x1004  # AddressOfEntryPoint
    assert image[found[b"mods"][1] :].startswith(b"mimg")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_fixups(count):
    """A block for the page; entries of 0 fill it up, so that no block has a size of 0."""
    relocations = [grubs.rela(8 * index, grubs.R_64, 1) for index in range(count)]
    image = image_efi.image(efi(*relocations), [], b"x")
    size, address, *_ = sections(image)[b".reloc"]
    directory = 0x80 + 24 + 112 + 5 * 8
    assert struct.unpack_from("<2I", image, directory) == (address, size)
    page, length = struct.unpack_from("<2I", image, address)
    assert (page, length) == (0x2000, 0x1000)
    entries = struct.unpack_from(f"<{(length - 8) // 2}H", image, address + 8)
    assert entries[:count] == tuple(10 << 12 | 8 * index for index in range(count))
    assert not any(entries[count:])
