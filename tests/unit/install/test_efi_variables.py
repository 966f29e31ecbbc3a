"""EFI variables in a flash image: what counts of all that was written; the same ones are the same bytes."""

from __future__ import annotations

import struct
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgwriter import sink
from imgwriter.errors import CapacityError, FormatError
from imgwriter.install.efi_variables import (
    AUTHENTICATED_VARIABLES,
    LOADER,
    NV_DATA,
    Variable,
    flash_volume,
    is_blank,
    lasting,
    read_variables,
    write_variables,
)

GLOBAL = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
STORE_SIZE = 4096 - 72
# A block map of one entry and its end follow the header. Spec: UEFI PI 1.7, volume 3, 3.2.1
HEADER = (
    bytes(16)
    + NV_DATA.bytes_le
    + struct.pack("<Q4sIHHHBB", 8192, b"_FVH", 0x0004FEFF, 72, 0, 0, 0, 2)
    + struct.pack("<IIII", 2, 4096, 0, 0)
)
STORE = AUTHENTICATED_VARIABLES.bytes_le + struct.pack("<IBBHI", STORE_SIZE, 0x5A, 0xFE, 0, 0)
EMPTY = (HEADER + STORE).ljust(4096, b"\xff") + b"spare".ljust(4096, b"\xff")
BOOT = Variable(GLOBAL, "Boot0001", 7, b"entry")


def entry(variable: Variable, state: int) -> bytes:
    """As edk2 lays it out: MdeModulePkg/Include/Guid/VariableFormat.h, AUTHENTICATED_VARIABLE_HEADER."""
    name = variable.name.encode("utf-16-le") + b"\0\0"
    head = struct.pack(
        "<HBBIQ16sIII", 0x55AA, state, 0, variable.attributes, 0, bytes(16), 0, len(name), len(variable.data)
    )
    whole = head + variable.vendor.bytes_le + name + variable.data
    return whole + b"\xff" * (-len(whole) % 4)


def flash(*entries: bytes) -> bytes:
    return (HEADER + STORE + b"".join(entries)).ljust(4096, b"\xff") + EMPTY[4096:]


def test_an_empty_one() -> None:
    assert read_variables(EMPTY) == []
    assert write_variables(EMPTY, []) == EMPTY


@pytest.mark.parametrize(
    ("content", "blank"),
    [
        (bytes(8192), True),
        (b"\xff" * 8192, True),
        (bytes(8191) + b"\xff", False),
        (b"a" * 8192, False),
        (EMPTY, False),
        (b"", False),
    ],
)
def test_a_blank_one_is_for_the_firmware_to_lay_out(content: bytes, blank: bool) -> None:
    assert is_blank(content) is blank


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((0x3F,), b"0"),
        ((0x3E,), b"0"),  # its successor was not written any more
        ((0x3C,), None),
        ((0x3D,), None),
        ((0x7F,), None),  # the header alone was written
        ((0x3C, 0x3F), b"1"),
        ((0x3E, 0x3F), b"1"),
        ((0x3F, 0x3E), b"0"),
    ],
)
def test_of_all_that_was_written_one_value_counts(states: tuple[int, ...], expected: bytes | None) -> None:
    written = [entry(BOOT._replace(data=b"%d" % n), state) for n, state in enumerate(states)]
    found = read_variables(flash(*written))
    assert [variable.data for variable in found] == ([] if expected is None else [expected])


def test_the_same_variables_are_the_same_bytes() -> None:
    other = Variable(LOADER, "LoaderEntryDefault", 7, b"x\0")
    one = flash(entry(BOOT, 0x3C), entry(other, 0x3F), entry(BOOT, 0x3F))
    two = flash(entry(BOOT, 0x3F), entry(other, 0x3F))
    first, second = (write_variables(EMPTY, read_variables(each)) for each in (one, two))
    assert first == second == flash(entry(other, 0x3F), entry(BOOT, 0x3F))
    assert first[4096:] == EMPTY[4096:]


def test_counters_seeds_and_what_is_volatile_are_left_out() -> None:
    token = Variable(LOADER, "LoaderSystemToken", 7, b"secret")
    counter = Variable(UUID("eb704011-1402-11d3-8e77-00a0c969723b"), "MTC", 7, b"1234")
    assert lasting([BOOT, token, counter, BOOT._replace(attributes=6)]) == [BOOT]


def test_what_is_zero_stays_a_hole(tmp_path: Path) -> None:
    """Arm's flash has 64 MiB, of which a store of variables fills less than one."""
    content = bytearray(64 << 20)
    content[: len(EMPTY)] = EMPTY
    content[40 << 20] = 1
    sink.write(flash_volume(bytes(content)), tmp_path / "efi-vars.fd")
    written = tmp_path / "efi-vars.fd"
    assert written.read_bytes() == content
    assert written.stat().st_blocks * 512 < 1 << 20


names = st.text(st.characters(exclude_characters="\0", codec="utf-16-le"), min_size=1, max_size=20)
variables = st.builds(
    Variable, st.uuids(), names, st.integers(0, 2**32 - 1), st.binary(max_size=100),
    st.integers(0, 2**64 - 1), st.binary(min_size=16, max_size=16), st.integers(0, 2**32 - 1),
)  # fmt: skip


@given(st.lists(variables, max_size=8, unique_by=lambda v: (v.vendor, v.name)))
def test_what_is_written_is_read(wanted: list[Variable]) -> None:
    found = read_variables(write_variables(EMPTY, wanted))
    assert sorted(found) == sorted(wanted)


def test_what_does_not_fit_is_refused() -> None:
    room = STORE_SIZE - 28
    overhead = 60 + 2 * len("Boot0001\0")
    fits = BOOT._replace(data=bytes(room - overhead))
    assert read_variables(write_variables(EMPTY, [fits])) == [fits]
    with pytest.raises(CapacityError, match="give a larger one with --efi-variables"):
        write_variables(EMPTY, [fits._replace(data=bytes(room - overhead + 1))])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no firmware volume"),
        (bytes(8192), "no firmware volume"),
        (EMPTY.replace(NV_DATA.bytes_le, bytes(16)), "no firmware volume"),
        (EMPTY.replace(AUTHENTICATED_VARIABLES.bytes_le, bytes(16)), "not of the authenticated kind"),
        (EMPTY[:72] + STORE[:20] + b"\0" + EMPTY[93:], "format 0x0"),
        (EMPTY[:72] + STORE[:16] + b"\xff\xff\xff\xff" + EMPTY[92:], "Size 4,294,967,295"),
        (EMPTY[:72] + STORE[:16] + b"\x01\0\0\0" + EMPTY[92:], "Size 1"),
        (EMPTY[:80], "behind its end"),
        (
            flash(struct.pack("<HBBIQ16sIII16s", 0x55AA, 0x3F, 0, 7, 0, b"", 0, 8, 1 << 31, b"")),
            "ends behind",
        ),
    ],
)
def test_what_is_no_flash_image_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        read_variables(content)


@given(st.binary(max_size=300), st.integers(0, 4000))
def test_damage_is_a_format_error_or_nothing(damage: bytes, at: int) -> None:
    content = bytearray(flash(entry(BOOT, 0x3F)))
    content[at : at + len(damage)] = damage
    try:
        read_variables(bytes(content))
    except FormatError as error:
        assert error.where
