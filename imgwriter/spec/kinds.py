"""What the value of a key in a spec file may be: as JSON Schema, in words, and as a field of ImageSpec.

A :class:`Kind` says the three together, so that the schema and the reader cannot disagree. Relative paths are
relative to the file they stand in. Sizes are as on the command line: a bare number is MiB.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import ceil
from typing import Any, NamedTuple, TypeAlias

from imgwriter.errors import SpecError
from imgwriter.nearest import nearest
from imgwriter.spec.image_spec import Content
from imgwriter.units import MiB, parse_size
from imgwriter.values import parse_hex32, parse_owner, parse_size_in_bytes, parse_uuid, parse_version

Schema: TypeAlias = dict[str, Any]


class Where(NamedTuple):
    """The place of a value.

    Attributes:
        file: The spec file, for messages.
        key: The key, with those around it.
        base: The directory that relative paths begin in.
    """

    file: str
    key: str
    base: str

    def within(self, key: str) -> Where:
        """Return the place of something inside the value."""
        return self._replace(key=self.key + key)

    def refusal(self, value: object, expected: str) -> SpecError:
        """Return the error for a value of another kind."""
        return SpecError(f"{self.file}: {self.key} is {describe(value)}; give {expected}")


class Kind(NamedTuple):
    """What a value may be.

    Attributes:
        expected: It in words, for a message: "give ...".
        schema: It as JSON Schema.
        read: Its field's value; SpecError where it is something else.
    """

    expected: str
    schema: Schema
    read: Callable[[object, Where], object]


def describe(value: object) -> str:
    """Return what a value of JSON or TOML is, for a message."""
    match value:
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value!r}"
        case Mapping():
            return "a table"
        case Sequence():
            return "a list"
    return f"a {type(value).__name__}"


def _text(value: object, where: Where, expected: str) -> str:
    if not isinstance(value, str):
        raise where.refusal(value, expected)
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        raise SpecError(f"{where.file}: {where.key} is {value!r}, which no UTF-8 says; give text") from None
    if "\0" in value:
        raise SpecError(f"{where.file}: {where.key} is {value!r}, with a NUL character in it; leave it out")
    return value


def _number(value: object, where: Where, expected: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise where.refusal(value, expected)
    return value


def _boolean(value: object, where: Where) -> bool:
    if not isinstance(value, bool):
        raise where.refusal(value, "true or false")
    return value


def _path(value: object, where: Where) -> str:
    path = _text(value, where, "a path")
    return path if path in ("", "-") else os.path.join(where.base, path)


def _parsed(expected: str, pattern: str, parse: Callable[[str], object]) -> Kind:
    """Return the kind of a text that is a word of the command line."""

    def read(value: object, where: Where) -> object:
        text = _text(value, where, expected)
        try:
            return parse(text)
        except SpecError as error:
            raise SpecError(f"{where.file}: {where.key}: {error}") from None

    return Kind(expected, {"type": "string", "pattern": pattern}, read)


def _size(expected: str, unit: int, pattern: str, parse: Callable[[str], int | None]) -> Kind:
    """Return the kind of a size: a number of ``unit`` bytes, or a text."""
    text = _parsed(expected, pattern, parse)

    def read(value: object, where: Where) -> object:
        if isinstance(value, str):
            return text.read(value, where)
        number = _number(value, where, expected)
        if number < 0:
            raise where.refusal(value, expected)
        return number * unit

    return Kind(expected, {"anyOf": [{"type": "integer", "minimum": 0}, text.schema]}, read)


def _list(one: Kind, expected: str) -> Kind:
    """Return the kind of a list; a text alone is a list of one."""

    def read(value: object, where: Where) -> object:
        if isinstance(value, str):
            return [one.read(value, where)]
        if not isinstance(value, list):
            raise where.refusal(value, expected)
        return [one.read(item, where.within(f"[{i}]")) for i, item in enumerate(value)]

    return Kind(expected, {"anyOf": [{"type": "array", "items": one.schema}, one.schema]}, read)


def choice(choices: Sequence[str]) -> Kind:
    """Return the kind of one of some texts; ImageSpec refuses others, and knows better what to say."""
    expected = f"one of {', '.join(choices)}"
    return Kind(expected, {"enum": list(choices)}, lambda value, where: _text(value, where, expected))


def number_of(choices: Sequence[int]) -> Kind:
    """Return the kind of one of some numbers; ImageSpec refuses others."""
    expected = f"one of {', '.join(map(str, choices))}"
    return Kind(expected, {"enum": list(choices)}, lambda value, where: _number(value, where, expected))


def number(expected: str, minimum: int) -> Kind:
    """Return the kind of a number; ImageSpec refuses one that is too small."""
    schema = {"type": "integer", "minimum": minimum}
    return Kind(expected, schema, lambda value, where: _number(value, where, expected))


_IEC = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGTPE]?)(?:iB)?")


def _parse_iec(text: str) -> int:
    """Return bytes as ``numfmt --from=iec`` reads them, which make-disk-image.nix calls: "512M", "1.5G"."""
    match = _IEC.fullmatch(text)
    if not match:
        raise SpecError(f"{text!r} is not a size; give a number with K, M, G or T")
    exponent = " KMGTPE".index(match[2] or " ")
    return ceil(Fraction(match[1]) * (1 << 10 * exponent))


def _read_content(value: object, where: Where) -> Content:
    if not isinstance(value, Mapping):
        raise where.refusal(value, "a table with source and target")
    fields: dict[str, Any] = {}
    for key, given in value.items():
        if key not in CONTENT_KEYS:
            unknown = f"has the unknown key {key!r}{nearest(key, CONTENT_KEYS)}"
            raise SpecError(f"{where.file}: {where.key} {unknown}")
        place = where.within(f".{key}")
        if given is not None:
            fields[key] = _path(given, place) if key == "source" else _text(given, place, CONTENT_KEYS[key])
    for key in _NEEDED:
        if not fields.get(key):
            raise SpecError(f"{where.file}: {where.key} has no {key}; give source and target")
    return Content(**fields)


def _read_guids(value: object, where: Where) -> dict[int, object]:
    if not isinstance(value, Mapping):
        raise where.refusal(value, GUIDS.expected)
    guids = {}
    for name, guid in value.items():
        if not re.fullmatch(_PARTITION, name):
            raise SpecError(f"{where.file}: {where.key} has {name!r}, no number of a partition; give one")
        guids[int(name)] = UUID.read(guid, where.within(f".{name}"))
    return guids


_PARTITION = "[1-9][0-9]{0,2}"
_SIZE_PATTERN = r"\s*[0-9]+\s*([Bb]|[KMGTPkmgtp]([Ii][Bb])?)?\s*"

TEXT = Kind("a text", {"type": "string"}, lambda value, where: _text(value, where, "a text"))
TEXTS = _list(TEXT, "a list of texts")
PATH = Kind("a path", {"type": "string"}, _path)
PATHS = _list(PATH, "a list of paths")
BOOLEAN = Kind("true or false", {"type": "boolean"}, _boolean)
SECONDS = number("seconds since 1970", 0)
COUNT = number("a number", 1)
SIZE = _size('a number of MiB, or a text such as "2GiB"', MiB, f"^{_SIZE_PATTERN}$", parse_size)
DISK_SIZE = _size(
    'a number of MiB, a text such as "2GiB", or "auto"',
    MiB,
    f"^({_SIZE_PATTERN}|auto)$",
    lambda text: None if text == "auto" else parse_size(text),
)
CLUSTER_SIZE = _size(
    'a number of bytes, or a text such as "64KiB"', 1, f"^{_SIZE_PATTERN}$", parse_size_in_bytes
)
IEC_SIZE = _parsed('a text such as "512M" (without a unit it is bytes)', f"^{_IEC.pattern}$", _parse_iec)
UUID = _parsed(
    "a UUID, 32 hexadecimal digits as 8-4-4-4-12",
    "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$",
    parse_uuid,
)
HEX32 = _parsed(
    "a text of up to 8 hexadecimal digits",
    "^(0[xX])?([0-9A-Fa-f]{1,8}|[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4})$",
    parse_hex32,
)
OWNER = _parsed('"UID:GID" or "preserve"', "^([0-9]{1,10}:[0-9]{1,10}|preserve)$", parse_owner)
VERSION = _parsed('a text such as "2.18"', r"^[0-9]{1,4}\.[0-9]{1,4}([^0-9].*)?$", parse_version)

CONTENT_KEYS = {
    "source": "a path",
    "target": "a path inside the image",
    "mode": 'a text such as "0644" or "u+w,go-w"',
    "user": "a name, or a number as text",
    "group": "a name, or a number as text",
}
_NEEDED = ("source", "target")
_CONTENT_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        key: {"description": words}
        | ({"type": "string", "minLength": 1} if key in _NEEDED else {"type": ["string", "null"]})
        for key, words in CONTENT_KEYS.items()
    },
    "required": list(_NEEDED),
    "additionalProperties": False,
}


def _read_contents(value: object, where: Where) -> list[Content]:
    if not isinstance(value, list):
        raise where.refusal(value, CONTENTS.expected)
    return [_read_content(item, where.within(f"[{i}]")) for i, item in enumerate(value)]


CONTENTS = Kind(
    "a list of tables with source and target", {"type": "array", "items": _CONTENT_SCHEMA}, _read_contents
)
GUIDS = Kind(
    "a table of GUIDs by partition number",
    {"type": "object", "propertyNames": {"pattern": f"^{_PARTITION}$"}, "additionalProperties": UUID.schema},
    _read_guids,
)
