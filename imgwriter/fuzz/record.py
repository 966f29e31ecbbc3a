"""A record whose fields can be set to anything: bytes, and where each field is in them.

::

    HEADER (construct), GROUP_DESC_64 (struct), a boot sector (pyfatfs)
       └── Layout: name -> Field(offset, length, byte order)
                      └── Record(layout, content).replace(my_lba=0)

The layouts are made from the writers' own declarations, so that a field has one place in the program. The
constants that those insist on are fields like all others here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import construct as c

from imgwriter.errors import SpecError

ByteOrder: TypeAlias = Literal["little", "big"]


class Field(NamedTuple):
    """Where a field is in its record.

    Attributes:
        offset, length: Bytes.
        order: Of a number's bytes; None where the field is bytes.
    """

    offset: int
    length: int
    order: ByteOrder | None

    @property
    def end(self) -> int:
        """The offset of the first byte after it."""
        return self.offset + self.length


Layout: TypeAlias = Mapping[str, Field]


def layout_of(record: c.Construct[Any, Any]) -> dict[str, Field]:
    """Return the fields of a construct Struct, those of a Struct inside it among them."""
    fields: dict[str, Field] = {}
    offset = 0
    for part in record.subcons:  # type: ignore[attr-defined]  # a Struct has them
        inner = _plain(part)
        if isinstance(inner, c.Struct):
            fields |= {n: f._replace(offset=f.offset + offset) for n, f in layout_of(inner).items()}
        elif part.name:
            fields[part.name] = Field(offset, part.sizeof(), _order(inner))
        offset += part.sizeof()
    return fields


def layout_of_format(form: str, names: Sequence[str]) -> dict[str, Field]:
    """Return the fields of a format of the struct module, in the order of their names; padding has none.

    Args:
        form: With its byte order.
        names: One for each code but "x".
    """
    order: ByteOrder = "big" if form.startswith(">") else "little"
    fields: dict[str, Field] = {}
    offset = 0
    remaining = iter(names)
    for code in re.findall(r"\d*[a-zA-Z]", form):
        length = struct.calcsize("<" + code)
        kind = code[-1]
        # "3I" is three numbers, "3s" one run of bytes.
        for _ in range(1 if kind in "sx" else int(code[:-1] or 1)):
            width = length if kind in "sx" else struct.calcsize("<" + kind)
            if kind != "x":
                fields[next(remaining)] = Field(offset, width, None if kind == "s" else order)
            offset += width
    return fields


def _plain(part: Any) -> Any:
    """Return a field's type without its name, and without the constant or default that it insists on."""
    while isinstance(part, c.Renamed | c.Const | c.Default):
        part = part.subcon
    return part


def _order(inner: Any) -> ByteOrder | None:
    if not isinstance(inner, c.FormatField):
        return None
    return "big" if inner.fmtstr.startswith(">") else "little"


class Record:
    """A record's bytes, with names for its fields. A value: what changes it gives a new one.

    Args:
        layout: Its fields.
        content: Its bytes; the layout may leave some of them without a name.
    """

    __slots__ = ("content", "layout")

    def __init__(self, layout: Layout, content: bytes) -> None:
        self.layout = layout
        self.content = content

    def __len__(self) -> int:
        return len(self.content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and (self.layout, self.content) == (other.layout, other.content)

    def __hash__(self) -> int:
        return hash(self.content)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={self._shown(name)}" for name in self.layout if any(self.raw(name)))
        return f"Record({shown})"

    def __getitem__(self, name: str) -> int:
        """Return a field that is a number."""
        field = self._field(name)
        if field.order is None:
            raise SpecError(f"the field {name} is bytes; ask for them with raw()")
        return int.from_bytes(self.raw(name), field.order)

    def raw(self, name: str) -> bytes:
        """Return a field's bytes.

        Raises:
            SpecError: There is no such field.
        """
        field = self._field(name)
        return self.content[field.offset : field.end]

    def replace(self, **values: int | bytes) -> Record:
        """Return the record with other values in some fields; no value is refused that fits.

        Raises:
            SpecError: There is no such field, or a value does not fit into it.
        """
        content = bytearray(self.content)
        for name, value in values.items():
            field = self._field(name)
            content[field.offset : field.end] = _encoded(name, field, value)
        return Record(self.layout, bytes(content))

    def _field(self, name: str) -> Field:
        field = self.layout.get(name)
        if field is None:
            raise SpecError(f"there is no field {name!r} here; there are {', '.join(self.layout)}")
        return field

    def _shown(self, name: str) -> str:
        raw = self.raw(name)
        return repr(raw) if self.layout[name].order is None else f"{self[name]:#x}"


def _encoded(name: str, field: Field, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        if len(value) != field.length:
            raise SpecError(f"{len(value)} bytes for the field {name}, which has {field.length}")
        return value
    if field.order is None:
        raise SpecError(f"the field {name} is bytes; give {field.length} of them")
    if not 0 <= value < 1 << 8 * field.length:
        raise SpecError(f"{value:#x} does not fit into the {field.length} bytes of the field {name}")
    return value.to_bytes(field.length, field.order)
