"""Spec files: TOML or JSON that says what ImageSpec says.

::

    image.toml ── parse ──> table ── each key by its Key in schema.KEYS ──> fields ──> ImageSpec
    (or .json)                       unknown ones and second spellings refused

What the file says is checked value by value here, with the file and the key in the message; whether it
makes sense together is decided by :class:`~imgwriter.spec.ImageSpec`, with the command line's options in it.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from imgwriter.errors import SourceError, SpecError, show
from imgwriter.nearest import nearest
from imgwriter.spec.image_spec import HostPath, ImageSpec
from imgwriter.spec.kinds import Where, describe
from imgwriter.spec.schema import KEYS, SCHEMA_KEY

_SPELLINGS = {name: (key, kind) for key in KEYS for name, kind in key.spellings.items()}


MOST_BYTES = 64 << 20
"""Of a spec file: more than any that was ever written, and less than would fill a machine."""

_INSTEAD = "give a tar as --tree, an image to 'imgwriter inspect'"


def read_spec(path: HostPath, **fields: Any) -> ImageSpec:
    """Return what a spec file asks for.

    Args:
        path: The file; see :func:`read_fields`.
        fields: Of ImageSpec: these go before what the file says.

    Raises:
        SpecError: The file does not say a request, or one that contradicts itself.
        SourceError: It cannot be read.
    """
    return ImageSpec(**(read_fields(path) | fields))


def read_fields(path: HostPath) -> dict[str, Any]:
    """Return the fields of ImageSpec that a spec file gives; those that are null there are left out.

    Args:
        path: The file. ``.toml`` and ``.json`` say what it is; under another name, JSON begins with a brace.

    Raises:
        SpecError: The file is neither TOML nor JSON, or a key or value in it is none.
        SourceError: It cannot be read.
    """
    name = os.fsencode(path)
    file = show(name)
    table = _parse(name, file)
    base = os.path.dirname(os.fsdecode(name))
    fields: dict[str, Any] = {}
    said: dict[str, str] = {}
    for key, value in table.items():
        if key == SCHEMA_KEY:
            continue
        if key not in _SPELLINGS:
            raise SpecError(f"{file}: the key {key!r} is unknown{nearest(key, _SPELLINGS)}")
        setting, kind = _SPELLINGS[key]
        if setting.name in said:
            raise SpecError(f"{file}: {said[setting.name]} and {key} say the same; leave one of them out")
        said[setting.name] = key
        if value is not None:
            fields[setting.name] = kind.read(value, Where(file, key, base))
    return fields


def _parse(name: bytes, file: str) -> Mapping[str, object]:
    try:
        with open(name, "rb") as stream:
            # Not more of a file that is no spec file than tells so: an image may have terabytes.
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise SpecError(f"{file} has more than {MOST_BYTES >> 20} MiB, which is no spec file; {_INSTEAD}")
        text = content.decode("utf-8")
    except IsADirectoryError as error:
        raise SourceError(
            f"{file} is a directory, not a spec file; to put it in, give it as --tree", name
        ) from error
    except OSError as error:
        raise SourceError(
            f"the spec file {file} cannot be read: {error.strerror}; name a TOML or JSON file", name
        ) from error
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{file} has no UTF-8 at offset {error.start}; save it as UTF-8, or {_INSTEAD}"
        ) from error
    is_json = name.endswith(b".json") or (not name.endswith(b".toml") and text.lstrip()[:1] == "{")
    language = "JSON" if is_json else "TOML"
    try:
        table = _load_json(text, file) if is_json else tomllib.loads(text)
    except RecursionError as error:
        raise SpecError(f"{file} is nested too deeply; a spec file is a table of settings") from error
    except SpecError:
        raise
    except ValueError as error:  # both languages' own errors
        raise SpecError(f"{file} is not {language}: {error}; correct it") from error
    if not isinstance(table, Mapping):
        raise SpecError(f"{file} is {describe(table)}; give a table of settings")
    return table


def _load_json(text: str, file: str) -> object:
    def table(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in pairs:
            if key in found:
                raise SpecError(f"{file}: the key {key!r} is there twice; leave one of them out")
            found[key] = value
        return found

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is no number of JSON's")

    return json.loads(text, object_pairs_hook=table, parse_constant=refuse)
