"""EFI variables as a flash image holds them: read after a guest, and written into a fresh one.

::

    0                    HeaderLength         +28                                  Size
    ├ firmware volume ───┼ variable store ────┼ variable ┼ variable ┼ ... 0xff ... ┤  spare area ...
      _FVH, NvData         AuthVars, 0x5a 0xfe   0x55aa, state, attributes, GUID, name, data; aligned to 4

A firmware appends: an old value stays with another state, and how a flash image looks depends on the order of
all that was ever written. So what an installer set is taken out of the guest's flash and written into the
template, sorted: the same variables are the same bytes. What counts boots or is drawn by lot is left out. A
template may be blank, as those for Arm are: the firmware lays it out when it first starts, and what it made
of it is the template then.

Spec: UEFI PI 1.7, volume 3, 3.2.1 (firmware volume); edk2, MdeModulePkg/Include/Guid/VariableFormat.h;
systemd, docs/BOOT_LOADER_INTERFACE.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from uuid import UUID

from imgwriter.errors import CapacityError, FormatError
from imgwriter.extent import Bytes, Volume, extent
from imgwriter.zeros import drop_zeros

NV_DATA = UUID("fff12b8d-7696-4c8b-a985-2747075b4f50")
"""FileSystemGuid of a firmware volume that holds variables (gEfiSystemNvDataFvGuid)."""
AUTHENTICATED_VARIABLES = UUID("aaf32c78-947b-439a-a180-2e144ec37792")
"""Signature of a store of authenticated variables (gEfiAuthenticatedVariableGuid)."""

VOLUME = struct.Struct("<16x16sQ4sIHHHxB")
"""EFI_FIRMWARE_VOLUME_HEADER before its block map: FileSystemGuid, FvLength, Signature, Attributes,
HeaderLength, Checksum, ExtHeaderOffset, Revision."""
STORE = struct.Struct("<16sIBB6x")
"""VARIABLE_STORE_HEADER: Signature, Size, Format, State."""
VARIABLE = struct.Struct("<HBxIQ16sIII16s")
"""AUTHENTICATED_VARIABLE_HEADER: StartId, State, Attributes, MonotonicCount, TimeStamp, PubKeyIndex,
NameSize, DataSize, VendorGuid."""

VARIABLE_DATA = 0x55AA
VAR_ADDED = 0x3F
VAR_IN_DELETED_TRANSITION = 0x3E
"""State of a value whose successor was being written: it counts where there is no other."""
NON_VOLATILE = 1
_FORMATTED, _HEALTHY = 0x5A, 0xFE
_ALIGNMENT = 4
_BLOCK = 4096
"""Bytes that are left out of a file where they are zeros: a block of most file systems."""

LOADER = UUID("4a67b082-0a4c-41cf-b6c7-440b29bb8c4f")
_MONOTONIC_COUNTER = UUID("eb704011-1402-11d3-8e77-00a0c969723b")
NOISE = frozenset(
    {
        (_MONOTONIC_COUNTER, "MTC"),  # counts boots
        (LOADER, "LoaderSystemToken"),  # drawn by lot, and a secret of one machine
        (LOADER, "LoaderRandomSeed"),
    }
)
"""(VendorGuid, name) of what is left out."""


class Variable(NamedTuple):
    """One variable.

    Attributes:
        vendor: VendorGuid.
        name: Its name.
        attributes: As UEFI has them.
        data: Its value.
        monotonic_count, time, key: MonotonicCount, TimeStamp (EFI_TIME) and PubKeyIndex, of those that are
            authenticated.
    """

    vendor: UUID
    name: str
    attributes: int
    data: bytes
    monotonic_count: int = 0
    time: bytes = bytes(16)
    key: int = 0


class _Store(NamedTuple):
    start: int
    stop: int


def is_blank(flash: bytes) -> bool:
    """Tell whether nothing was ever written to a flash image: all its bytes are 0x00, or all 0xff."""
    return flash[:1] in (b"\x00", b"\xff") and flash.count(flash[:1]) == len(flash)


def read_variables(flash: bytes) -> list[Variable]:
    """Return the variables of a flash image that count, sorted by vendor and name.

    Raises:
        FormatError: It holds no store of authenticated variables, or a damaged one.
    """
    found: dict[tuple[UUID, str], tuple[int, Variable]] = {}
    for state, variable in _entries(flash):
        known = found.get((variable.vendor, variable.name))
        if state == VAR_ADDED or (state == VAR_IN_DELETED_TRANSITION and known is None):
            found[variable.vendor, variable.name] = state, variable
    return [variable for _, (_, variable) in sorted(found.items(), key=lambda item: _order(item[1][1]))]


def write_variables(template: bytes, variables: Iterable[Variable]) -> bytes:
    """Return the flash image of ``template``'s kind that holds these variables and no others.

    Raises:
        FormatError: The template holds no store.
        CapacityError: They do not fit.
    """
    store = _store(template)
    content = b"".join(_encoded(variable) for variable in sorted(variables, key=_order))
    room = store.stop - store.start
    if len(content) > room:
        raise CapacityError(
            f"the EFI variables need {len(content):,} bytes, the template has room for {room:,}; give a"
            " larger one with --efi-variables",
            len(content),
            room,
        )
    return template[: store.start] + content.ljust(room, b"\xff") + template[store.stop :]


def lasting(variables: Iterable[Variable]) -> list[Variable]:
    """Return those that an image should come with: non-volatile, and neither counters nor seeds."""
    return [v for v in variables if v.attributes & NON_VOLATILE and (v.vendor, v.name) not in NOISE]


def flash_volume(flash: bytes) -> Volume:
    """Return a flash image as it is written: nearly all of Arm's 64 MiB are zeros, and stay holes."""
    return drop_zeros(Volume(len(flash), [extent(0, Bytes(flash), "EFI variables")]), _BLOCK)


def _order(variable: Variable) -> tuple[str, str]:
    return str(variable.vendor), variable.name


def _store(flash: bytes) -> _Store:
    """Find the store of variables: a firmware volume of its own, on a boundary of 4 KiB."""
    for offset in range(0, len(flash) - VOLUME.size, 4096):
        guid, _, signature, _, header_length, *_ = VOLUME.unpack_from(flash, offset)
        if signature == b"_FVH" and guid == NV_DATA.bytes_le:
            return _checked_store(flash, offset + header_length)
    raise _damaged("no firmware volume in it holds variables (NvData)", "EFI firmware volume", 0)


def _checked_store(flash: bytes, offset: int) -> _Store:
    where = "EFI variable store"
    if offset + STORE.size > len(flash):
        raise _damaged("the store of variables lies behind its end", where, offset)
    signature, size, form, state = STORE.unpack_from(flash, offset)
    if signature != AUTHENTICATED_VARIABLES.bytes_le:
        raise _damaged("its variables are not of the authenticated kind", f"{where}, Signature", offset)
    if (form, state) != (_FORMATTED, _HEALTHY):
        raise _damaged(f"its store has format {form:#x} and state {state:#x}", f"{where}, State", offset + 20)
    if not STORE.size <= size <= len(flash) - offset:
        raise _damaged(f"its store has Size {size:,}", f"{where}, Size", offset + 16)
    return _Store(offset + STORE.size, offset + size)


def _entries(flash: bytes) -> Iterator[tuple[int, Variable]]:
    """Yield (State, variable) of all that was ever written, in order."""
    position, stop = _store(flash)
    while position + VARIABLE.size <= stop:
        start_id, state, attributes, count, time, key, name_size, data_size, vendor = VARIABLE.unpack_from(
            flash, position
        )
        if start_id != VARIABLE_DATA:
            return
        name_start = position + VARIABLE.size
        data_start = name_start + name_size
        end = data_start + data_size
        if end > stop:
            message = f"a variable of {name_size:,} and {data_size:,} bytes ends behind its store"
            raise _damaged(message, "EFI variable, DataSize", position)
        name = flash[name_start:data_start].decode("utf-16-le", "surrogatepass").partition("\0")[0]
        yield (
            state,
            Variable(UUID(bytes_le=vendor), name, attributes, flash[data_start:end], count, time, key),
        )
        position = -(-end // _ALIGNMENT) * _ALIGNMENT


def _encoded(variable: Variable) -> bytes:
    name = (variable.name + "\0").encode("utf-16-le", "surrogatepass")
    head = VARIABLE.pack(
        VARIABLE_DATA,
        VAR_ADDED,
        variable.attributes,
        variable.monotonic_count,
        variable.time,
        variable.key,
        len(name),
        len(variable.data),
        variable.vendor.bytes_le,
    )
    whole = head + name + variable.data
    return whole + b"\xff" * (-len(whole) % _ALIGNMENT)


def _damaged(message: str, where: str, offset: int) -> FormatError:
    return FormatError(
        f"the flash image of EFI variables is damaged, or none: {message}; give OVMF's with --efi-variables",
        where,
        offset,
    )
