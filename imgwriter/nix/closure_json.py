"""What Nix tells of store paths as JSON.

===================================================== ==================================================
outermost                                             from
===================================================== ==================================================
``[{"path": ..., "references": ...}, ...]``           exportReferencesGraph with structured attributes;
                                                      ``nix path-info --json`` of Nix up to 2.18
``{"closure": [{"path": ...}, ...], ...}``            one or several of those, by attribute
``{"exportReferencesGraph": {"closure": ...}, ...}``  all of ``.attrs.json``, of which the attributes that
                                                      it names are taken
``{"/nix/store/...": {"references": ...}, ...}``      ``nix path-info --json`` of newer Nix
===================================================== ==================================================

Of each path ``path`` and ``references`` must be there; ``narHash`` in any spelling, ``narSize`` and
``deriver`` may be. What else there is (``closureSize``, ``ca``, ``signatures``) is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeAlias

from imgwriter.errors import SourceError, show
from imgwriter.nix.hashes import parse_sha256
from imgwriter.nix.path_info import MAX_PATH, PathInfo

_MAX_SIZE = (1 << 63) - 1
_SHOWN = 100

Object: TypeAlias = dict[str, Any]


def parse(text: bytes, origin: str, source: bytes) -> tuple[PathInfo, ...]:
    """Return what a text says of each path, in its order.

    Args:
        text: All of it.
        origin: What to call it in messages.
        source: Its path, for errors.

    Raises:
        SourceError: It is no JSON, or none of the above.
    """
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
        return tuple(_path_info(each, where) for where, each in _entries(value))
    except json.JSONDecodeError as error:
        why = f"line {error.lineno:,}: {error.msg}"
    except RecursionError:
        why = "too deeply nested"
    # Not UTF-8, or of another shape, or an integer of very many digits.
    except (ValueError, SourceError) as error:
        why = str(error)
    raise SourceError(f"{origin}: {why}; let Nix write it again", source)


def _unique(pairs: list[tuple[str, Any]]) -> Object:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"the key {_shown(twice)} stands twice in one object")
    return value


def _entries(value: object) -> Iterator[tuple[str, Object]]:
    """Yield (where it stands, what is said of a path)."""
    if isinstance(value, dict) and value and all(key.startswith("/") for key in value):
        for path, each in value.items():
            if not isinstance(each, dict):
                raise ValueError(
                    f"{_shown(path)} is {_type(each)}, not what is known of a path: is it valid?"
                )
            yield _shown(path), {"path": path, **each}
    elif isinstance(value, dict):
        asked = value.get("exportReferencesGraph")
        for key in asked if isinstance(asked, dict) else value:
            yield from _list(value.get(key), f"the attribute {_shown(key)}")
    else:
        yield from _list(value, "the outermost value")


def _list(value: object, where: str) -> Iterator[tuple[str, Object]]:
    if not isinstance(value, list):
        raise ValueError(f"{where} is {_type(value)}, not a list of store paths")
    for index, each in enumerate(value):
        place = f"entry {index:,} of {where}"
        if not isinstance(each, dict):
            raise ValueError(f"{place} is {_type(each)}, not an object with path and references")
        yield place, each


def _path_info(entry: Object, where: str) -> PathInfo:
    path = _path(entry.get("path"), f"path of {where}")
    name = show(path)
    if entry.get("valid", True) is not True:
        raise ValueError(f"{name} is not valid")
    references = entry.get("references")
    if not isinstance(references, list):
        raise ValueError(f"references of {name} is {_type(references)}, not a list of store paths")
    paths = [_path(each, f"a reference of {name}") for each in references]
    if len(set(paths)) < len(paths):
        raise ValueError(f"{name} has a reference twice")
    deriver = entry.get("deriver")
    return PathInfo(
        path,
        _hash(entry.get("narHash"), name),
        _size(entry.get("narSize"), name),
        tuple(sorted(paths)),
        None if deriver is None else _path(deriver, f"deriver of {name}"),
    )


def _path(value: object, what: str) -> bytes:
    if not isinstance(value, str) or not value.startswith("/") or len(value) > MAX_PATH:
        raise ValueError(f"{what} is {_shown(value)}, not a store path")
    if not value.isascii() or not value.isprintable():
        raise ValueError(f"{what} is {_shown(value)}, and a store path has other characters")
    return value.encode()


def _hash(value: object, name: str) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"narHash of {name} is {_type(value)}, not a string")
    return parse_sha256(value)


def _size(value: object, name: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_SIZE:
        raise ValueError(f"narSize of {name} is {_shown(value)}, not a number of bytes")
    return value or None


def _type(value: object) -> str:
    """Return what JSON calls it."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "missing"}
    return names.get(type(value), "a number")


def _shown(value: object) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        text = repr(value)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return _type(value)
