"""Laws of reading GRUB's kernels: any bytes are taken or refused, and a moved image has moved words."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from imgwriter.bootloader.grub.elf import load_fixed, load_relocatable
from imgwriter.errors import FormatError
from tests.unit.bootloader import grubs

PAGE = 0x1000
KERNELS = [grubs.pc_kernel(), grubs.efi_kernel(grubs.rela(0, grubs.R_64, 1), grubs.rela(8, grubs.R_PC32, 3))]


@given(st.sampled_from(KERNELS), st.data())
def test_any_change_is_taken_or_refused(kernel: bytes, data: st.DataObject) -> None:
    changed = bytearray(kernel)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(kernel) - 1))
        value = data.draw(
            st.sampled_from([b"\0", b"\1", b"\xff", b"\xff" * 4, b"\xff" * 8, b"\x7f", b"\0" * 8])
        )
        changed[at : at + len(value)] = value[: len(kernel) - at]
    for load in (load_fixed, lambda content, name: load_relocatable(content, name, PAGE, PAGE)):
        try:
            load(bytes(changed), "kernel.img")
        except FormatError as error:
            assert str(error).startswith("kernel.img ")


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1, 2, 3]), st.integers(-9, 9)), max_size=4))
def test_a_moved_image_differs_in_its_fixups_alone(found: list[tuple[int, int, int]]) -> None:
    """That is what the firmware does with .reloc: add how far it was moved to each word."""
    kernel = grubs.efi_kernel(*(grubs.rela(8 * slot, grubs.R_64, to, more) for slot, to, more in found))
    here = load_relocatable(kernel, "kernel.img", PAGE, PAGE)
    there = load_relocatable(kernel, "kernel.img", 5 * PAGE, PAGE)
    image = bytearray(here.image)
    for address in sorted(set(here.fixups)):
        (word,) = struct.unpack_from("<Q", image, address - PAGE)
        struct.pack_into("<Q", image, address - PAGE, (word + 4 * PAGE) % (1 << 64))
    assert bytes(image) == there.image
    assert [address + 4 * PAGE for address in here.fixups] == list(there.fixups)
