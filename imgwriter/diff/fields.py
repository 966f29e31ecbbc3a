"""Records as named fields: where each stands, and what its bytes say.

Places and sizes come from the declarations that the writers and readers use; what is added here is names,
where a ``struct.Struct`` has none, and how a value is shown.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeAlias
from uuid import UUID

import construct

from imgwriter.errors import quoted

Form: TypeAlias = Callable[[bytes], str]


class Field(NamedTuple):
    """A field of a record: its name, place and size in bytes, and how its bytes are shown."""

    name: str
    at: int
    size: int
    form: Form

    @property
    def end(self) -> int:
        """The byte after it."""
        return self.at + self.size


def decimal(content: bytes) -> str:
    """Return a little-endian number."""
    return f"{int.from_bytes(content, 'little'):,}"


def hexadecimal(content: bytes) -> str:
    """Return a little-endian number in base 16."""
    return f"{int.from_bytes(content, 'little'):#0{2 + 2 * len(content)}x}"


def octal(content: bytes) -> str:
    """Return a little-endian number in base 8, as modes are written."""
    return f"{int.from_bytes(content, 'little'):#o}"


def big_endian(content: bytes) -> str:
    """Return a big-endian number."""
    return f"{int.from_bytes(content, 'big'):,}"


def _big_hexadecimal(content: bytes) -> str:
    return hexadecimal(content[::-1])


_BIG: dict[Form, Form] = {decimal: big_endian, hexadecimal: _big_hexadecimal}


def raw(content: bytes) -> str:
    """Return bytes in base 16, the first few."""
    return content[:16].hex(" ") + (" ..." if len(content) > 16 else "") if any(content) else "zeros"


def text(content: bytes) -> str:
    """Return bytes as text, without the zeros or spaces that pad them."""
    return quoted(content.rstrip(b"\0 "))


def utf16(content: bytes) -> str:
    """Return little-endian UTF-16, up to its first NUL."""
    name = content.decode("utf-16-le", "surrogatepass").partition("\0")[0]
    return quoted(name.encode("utf-8", "surrogatepass"))  # which shows a lone surrogate as its three bytes


def uuid(content: bytes) -> str:
    """Return a UUID as ext4 has it."""
    return str(UUID(bytes=content))


def guid(content: bytes) -> str:
    """Return a GUID as a GPT has it."""
    return str(UUID(bytes_le=content))


def seconds(content: bytes) -> str:
    """Return signed seconds since the epoch as a date in UTC."""
    value = int.from_bytes(content, "little", signed=True)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def dos_date(content: bytes) -> str:
    """Return the date of a directory entry. Spec: FAT specification, 6.3."""
    value = int.from_bytes(content, "little")
    return f"{1980 + (value >> 9)}-{value >> 5 & 15:02}-{value & 31:02}"


def dos_time(content: bytes) -> str:
    """Return the time of a directory entry. Spec: FAT specification, 6.3."""
    value = int.from_bytes(content, "little")
    return f"{value >> 11:02}:{value >> 5 & 63:02}:{2 * (value & 31):02}"


_BY_NAME: tuple[tuple[Form, re.Pattern[str]], ...] = (
    (seconds, re.compile(r"^[is]_(\w+_)?[acmwd]?r?time$|^s_lastcheck$")),
    (octal, re.compile(r"^i_mode$")),
    (uuid, re.compile(r"^s_(journal_)?uuid$|^s_hash_seed$")),
    (guid, re.compile(r"_guid$")),
    (utf16, re.compile(r"^partition_name$|^LDIR_Name")),
    (
        text,
        re.compile(
            r"^s_(volume_name|last_mounted|mount_opts)$|_func$|^BS_(OEMName|VolLab|FilSys)|^DIR_Name$"
        ),
    ),
    (dos_date, re.compile(r"^DIR_\w+Date$")),
    (dos_time, re.compile(r"^DIR_\w+Time$")),
    (
        hexadecimal,
        re.compile(
            r"(?i)flags|csum|checksum|crc32|signature|feature|magic|BS_VolID|attributes|_Attr$|os_type|indicator"
            r"|_Sig$|_state$|mount_opts$"
        ),
    ),
)


def form_of(name: str, size: int) -> Form:
    """Return how a field is shown, by its name and size."""
    for form, pattern in _BY_NAME:
        if pattern.search(name) and not (form in (uuid, guid) and size != 16):
            return form
    return decimal if size in (1, 2, 4, 8) else raw


def of_construct(record: construct.Struct, big: bool = False) -> tuple[Field, ...]:
    """Return the fields of a construct declaration.

    Args:
        record: The declaration.
        big: Whether its numbers are big-endian.
    """
    fields = []
    at = 0
    for sub in record.subcons:
        size = sub.sizeof()
        form = form_of(sub.name or "", size)
        fields.append(Field(sub.name or "reserved", at, size, _BIG.get(form, form) if big else form))
        at += size
    return tuple(fields)


def of_struct(record: struct.Struct | str, names: Iterable[str]) -> tuple[Field, ...]:
    """Return the fields of a struct format, in order; its padding has no name."""
    layout = record if isinstance(record, str) else record.format
    order = layout[0]
    fields, at = [], 0
    given = iter(names)
    for code in _codes(layout[1:]):
        size = struct.calcsize(order + code)
        if not code.endswith("x"):
            name = next(given)
            form = form_of(name, size)
            fields.append(Field(name, at, size, form))
        at += size
    return tuple(fields)


def _codes(layout: str) -> Iterator[str]:
    for count, code in re.findall(r"(\d*)([A-Za-z])", layout):
        if code in "sx":
            yield count + code
        else:
            yield from [code] * int(count or 1)


def moved(fields: Sequence[Field], by: int, prefix: str = "") -> tuple[Field, ...]:
    """Return the fields at another place, with a prefix to their names."""
    return tuple(field._replace(name=prefix + field.name, at=field.at + by) for field in fields)


def complete(fields: Sequence[Field], size: int) -> tuple[Field, ...]:
    """Return the fields of a record of ``size`` bytes, with those between and behind as "bytes N to M"."""
    result: list[Field] = []
    at = 0
    for field in sorted(fields, key=lambda f: f.at):
        if field.at > at:
            result.append(_rest(at, field.at))
        if field.end <= size:
            result.append(field)
            at = field.end
    if at < size:
        result.append(_rest(at, size))
    return tuple(result)


def _rest(start: int, end: int) -> Field:
    return Field(f"bytes {start} to {end - 1}", start, end - start, raw)
