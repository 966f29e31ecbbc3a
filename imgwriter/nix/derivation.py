"""What a .drv file says of its outputs. The rest of it is not looked at.

::

    Derive([("out","/nix/store/...-name","","")],[...],...
    DrvWithVersion("xp-dyn-drv",[("out","","r:sha256","")],...      Nix 2.18 and later, on request

An output has a name, a path, and for a fixed or content-addressed one how and what its hash is. The path is
empty where it is known only when it has been built.
"""

from __future__ import annotations

import re

from imgwriter.errors import SourceError, show

# Where the list of outputs begins, and one output. In a string, a backslash escapes itself, ", n, r and t.
_HEAD = re.compile(rb'Derive\(\[|DrvWithVersion\("[a-z-]+",\[')
_STRING = rb'"((?:[^"\\]++|\\.)*+)"'
_OUTPUT = re.compile(rb"\(" + rb",".join([_STRING] * 4) + rb"\)", re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def outputs(content: bytes, path: bytes) -> dict[bytes, bytes]:
    """Return the paths of a derivation's outputs by their names; b"" where it names none.

    Args:
        content: The .drv file.
        path: What to call it in messages.

    Raises:
        SourceError: It is no derivation, or has no output.
    """
    head = _HEAD.match(content)
    if head is None:
        raise _damaged(path, 0)
    found: dict[bytes, bytes] = {}
    position = head.end()
    while True:
        output = _OUTPUT.match(content, position)
        if output is None:
            raise _damaged(path, position)
        name, place = _plain(output[1]), _plain(output[2])
        if name in found:
            raise _damaged(path, position)
        found[name] = place
        position = output.end() + 1
        if content[position - 1 : position] == b"]":
            return found
        if content[position - 1 : position] != b",":
            raise _damaged(path, position - 1)


def _plain(text: bytes) -> bytes:
    """Return a string of a derivation without its escapes."""
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text)


def _damaged(path: bytes, offset: int) -> SourceError:
    return SourceError(
        f"{show(path)} is no derivation from byte {offset:,} on; export it again, or leave it out", path
    )
