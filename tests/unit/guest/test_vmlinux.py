"""What is in a kernel that decompresses itself, and what is loaded where it cannot be had."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from imgwriter.errors import FormatError, ImgwriterError
from imgwriter.extent import Bytes
from imgwriter.guest.request import Flash, GuestRequest
from imgwriter.guest.vmlinux import MAX_KERNEL, Zboot, loadable, vmlinux, zboot
from tests.unit.guest import kernels
from tests.unit.guest.elves import AARCH64, bzimage, elf
from tests.unit.guest.kernels import SETUP, arm64_image, note, sized, x86_kernel, zboot_kernel

# What does not compress: a payload is longer than the buffers that it is read through.
PLAIN = kernels.vmlinux(body=random.Random(1).randbytes(1 << 18) + bytes(1 << 20))
IMAGE = arm64_image()


def packed(plain: bytes, how: str) -> bytes:
    """Return a payload as scripts/Makefile.lib of the kernel makes it; its xz has filters, and CRC32."""
    filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "dict_size": 32 << 20}]
    if how == "gzip":
        return gzip.compress(plain)  # which ends in the size
    compressed = {
        "xzkern": lambda: lzma.compress(plain, check=lzma.CHECK_CRC32, filters=filters),
        "lzma": lambda: lzma.compress(plain, lzma.FORMAT_ALONE),
        "zstd22": lambda: zstandard.ZstdCompressor(level=19, write_checksum=True).compress(plain),
        "bzip2": lambda: bz2.compress(plain),
    }[how]()
    return sized(compressed, len(plain))


FORMS = ("gzip", "xzkern", "lzma", "zstd22")


def unpacked(bzimage: bytes) -> bytes | None:
    return vmlinux(bzimage, 1 << 30)


def content(data) -> bytes:
    return b"".join(bytes(piece) for piece in data.chunks(0, len(data)))


# --- bzImage ---


@pytest.mark.parametrize("how", [*FORMS, "bzip2"])
def test_a_bzimage_holds_a_vmlinux(how):
    assert unpacked(x86_kernel(packed(PLAIN, how))) == PLAIN


@pytest.mark.parametrize("how", FORMS)
def test_what_the_kernel_appends_for_itself_stays_behind_it(how):
    """vmlinux.relocs follows the ELF file."""
    plain = PLAIN + b"relocations" * 99
    assert unpacked(x86_kernel(packed(plain, how))) == plain


def test_a_payload_may_begin_at_once_and_end_with_the_file():
    payload = packed(PLAIN, "gzip")
    image = x86_kernel(payload, before=0, after=0)
    assert unpacked(image) == PLAIN
    assert unpacked(image[:-1]) is None


def test_no_sectors_of_setup_are_four():
    """Spec: boot.rst: for backwards compatibility, if setup_sects is 0 the real value is 4."""
    payload = packed(PLAIN, "gzip")
    image = bytearray(x86_kernel(payload, before=SETUP - 5 * 512))
    image = image[: 5 * 512] + image[SETUP:]
    image[0x1F1] = 0
    assert unpacked(bytes(image)) == PLAIN


@pytest.mark.parametrize(("protocol", "is_read"), [(0x207, False), (0x208, True), (0x209, True)])
def test_the_protocol_that_has_a_payload(protocol, is_read):
    image = x86_kernel(packed(PLAIN, "gzip"), protocol=protocol)
    assert unpacked(image) == (PLAIN if is_read else None)


@pytest.mark.parametrize("cut", [0, 0x201, 0x24F, 0x250, 0x251, SETUP, SETUP + 0x40, SETUP + 0x50, -0x81])
def test_a_bzimage_that_is_cut_off(cut):
    assert unpacked(x86_kernel(packed(PLAIN, "gzip"))[:cut]) is None


@pytest.mark.parametrize("how", FORMS)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_size_that_is_a_lie(how, change):
    payload = packed(PLAIN, how)
    lying = payload[:-4] + struct.pack("<I", len(PLAIN) + change)
    assert unpacked(x86_kernel(payload)) == PLAIN
    assert unpacked(x86_kernel(lying)) is None


@pytest.mark.parametrize("length", range(6))
def test_a_payload_of_next_to_nothing(length):
    assert unpacked(x86_kernel(b"\x1f\x8b\x08\0\0\0"[:length])) is None
    assert unpacked(x86_kernel(bytes(length))) is None


@pytest.mark.parametrize("magic", [b"HdrT", b"\0\0\0\0"])
def test_no_bzimage(magic):
    assert unpacked(x86_kernel(packed(PLAIN, "gzip")).replace(b"HdrS", magic)) is None


def test_lz4_stays_as_it_is():
    assert unpacked(x86_kernel(sized(b"\x02\x21\x4c\x18" + bytes(100), 1000))) is None


@pytest.mark.parametrize("size", [0, MAX_KERNEL + 1, 0xFFFFFFFF])
def test_sizes_that_no_kernel_has(size):
    payload = sized(packed(PLAIN, "xzkern")[:-4], size)
    assert unpacked(x86_kernel(payload)) is None


@pytest.mark.parametrize(
    "plain",
    [
        kernels.vmlinux(b""),
        kernels.vmlinux(note(kind=17)),
        kernels.vmlinux(note(name=b"GNU\0")),
        kernels.vmlinux(note(name=b"Xen!\0")),
        kernels.vmlinux(machine=AARCH64),
        kernels.vmlinux()[: -len(note())],  # the segment lies outside the file
        elf(),
        b"\x7fELF",
        b"MZ" + bytes(1000),
    ],
)
def test_nothing_that_qemu_could_enter(plain):
    assert unpacked(x86_kernel(packed(plain, "gzip"))) is None


@pytest.mark.parametrize("align", [0, 1, 4, 8])
def test_the_entrys_note_is_found_behind_others(align):
    """Names and contents of every length modulo 4 and 8; what is no 8 is padded to 4."""
    padding = 8 if align == 8 else 4
    others = b"".join(note(b"Linux\0"[-n:], 0x100, bytes(n + 5), padding) for n in range(7))
    plain = kernels.vmlinux(others + note(padding=padding), align=align)
    assert unpacked(x86_kernel(packed(plain, "gzip"))) == plain


def test_what_would_be_huge_is_made_no_larger_than_it_says():
    bomb = x86_kernel(sized(packed(bytes(256 << 20), "zstd22")[:-4], 1000))
    tracemalloc.start()
    try:
        assert unpacked(bomb) is None
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@given(st.data())
def test_damage_leaves_a_bzimage_as_it_is(data):
    how = data.draw(st.sampled_from([*FORMS, "bzip2"]))
    plain = kernels.vmlinux(body=b"text " * 20)
    image = bytearray(x86_kernel(packed(plain, how)))
    at = data.draw(st.one_of(st.integers(SETUP, len(image) - 1), st.sampled_from([0x1F1, 0x248, 0x24C])))
    image[at : at + 4] = data.draw(st.binary(min_size=1, max_size=4))
    found = unpacked(bytes(image))
    # Where nothing vouches for the bytes (LZMA alone), another file may come out: one that QEMU can enter.
    assert found is None or found == plain or (how == "lzma" and len(found) == len(plain))


# --- zboot ---


def test_zboot_header():
    head = zboot_kernel(sized(b"payload", 7), b"zstd22")
    assert zboot(head) == Zboot(0x1000, 7, b"zstd22", "aarch64")
    assert zboot(zboot_kernel(b"", machine=0x8664)) == Zboot(0x1000, 0, b"gzip", "x86_64")
    assert zboot(zboot_kernel(b"", machine=0x5064)) == Zboot(0x1000, 0, b"gzip", None)  # RISC-V


@pytest.mark.parametrize("length", [0, 2, 0x3F, 0x40, 0x45])
def test_a_zboot_header_that_is_cut_off(length):
    found = zboot(zboot_kernel(b"")[:length])
    assert found is None if length < 0x40 else found is not None and found.machine is None


@pytest.mark.parametrize(
    "other", [bzimage(), arm64_image(), b"MZ" + bytes(200), b"\0\0\0\0zimg" + bytes(200)]
)
def test_what_is_no_zboot(other):
    assert zboot(other) is None


def request(kernel: bytes, architecture: str = "aarch64", **more: object) -> GuestRequest:
    return GuestRequest(Bytes(kernel), b"", architecture=architecture, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("accelerator", ["tcg", "kvm"])
@pytest.mark.parametrize("how", FORMS)
def test_a_zboot_holds_an_image(how, accelerator):
    kernel = zboot_kernel(packed(IMAGE, how), how.encode())
    assert content(loadable(request(kernel), accelerator)) == IMAGE


@pytest.mark.parametrize("how", FORMS)
@pytest.mark.parametrize("damage", ["cut off", "lying size", "other bytes", "no Image", "too large"])
def test_a_damaged_zboot_is_refused(how, damage):
    payload = packed(IMAGE, how)
    kernel = zboot_kernel(payload, how.encode())
    if damage == "cut off":
        kernel = kernel[: 0x1000 + len(payload) - 1]
    elif damage == "lying size":
        kernel = zboot_kernel(payload[:-4] + struct.pack("<I", len(IMAGE) - 1), how.encode())
    elif damage == "other bytes":
        kernel = zboot_kernel(payload[:3] + bytes(len(payload) - 7) + payload[-4:], how.encode())
    elif damage == "no Image":
        kernel = zboot_kernel(packed(IMAGE.replace(b"ARM\x64", b"ARM\x65"), how), how.encode())
    else:
        kernel = zboot_kernel(payload[:-4] + struct.pack("<I", MAX_KERNEL + 1), how.encode())
    with pytest.raises(FormatError, match=r"the guest's kernel.*; get a whole copy of it"):
        loadable(request(kernel), "tcg")


@given(st.integers(0, 0x1000), st.binary(min_size=1, max_size=8))
def test_damage_of_a_zboot_is_an_error_of_ours(at, noise):
    kernel = bytearray(zboot_kernel(packed(IMAGE, "gzip")))
    kernel[at : at + len(noise)] = noise
    try:
        assert content(loadable(request(bytes(kernel)), "tcg")) in (IMAGE, bytes(kernel))
    except ImgwriterError as error:
        assert "get a whole copy" in str(error)


# --- Which of them is loaded ---

BZIMAGE = x86_kernel(packed(PLAIN, "zstd22"))
ZBOOT = zboot_kernel(packed(IMAGE, "gzip"))
FLASH = Flash(b"code", b"variables")


@pytest.mark.parametrize(
    ("kernel", "architecture", "accelerator", "flash", "loaded"),
    [
        (BZIMAGE, "x86_64", "tcg", None, PLAIN),
        (BZIMAGE, "x86_64", "kvm", None, BZIMAGE),
        (BZIMAGE, "x86_64", "tcg", FLASH, BZIMAGE),
        (ZBOOT, "aarch64", "tcg", FLASH, ZBOOT),
        (IMAGE, "aarch64", "tcg", None, IMAGE),
        (b"\x1f\x8b\x08", "aarch64", "tcg", None, b"\x1f\x8b\x08"),  # QEMU decompresses it
        (PLAIN, "x86_64", "tcg", None, PLAIN),
        (b"", "x86_64", "tcg", None, b""),
    ],
)
def test_what_is_loaded(kernel, architecture, accelerator, flash, loaded):
    assert content(loadable(request(kernel, architecture, flash=flash), accelerator)) == loaded


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_a_vmlinux_lies_before_its_initramfs(excess):
    """QEMU puts that at the end of the memory, and notices nothing."""
    memory, initramfs, tables = 64 << 20, bytes(5000), 1 << 20
    size = memory - len(initramfs) - tables - (16 << 20) + excess
    plain = kernels.vmlinux(address=16 << 20, size=size)
    kernel = x86_kernel(packed(plain, "gzip"))
    asked = GuestRequest(Bytes(kernel), initramfs, memory=memory)
    assert content(loadable(asked, "tcg")) == (plain if excess <= 0 else kernel)


def test_a_kernel_that_stays_is_not_copied():
    asked = request(b"no kernel", "x86_64")
    assert loadable(asked, "tcg") is asked.kernel
