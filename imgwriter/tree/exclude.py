"""What ``--exclude PATTERN`` leaves out.

Patterns are those of .gitignore and rsync, without negation:

* A pattern without a slash matches the name of anything at any depth: ``*.pyc``, ``.git``.
* A pattern with a slash, leading or within, matches a path from the tree's root: ``/var/cache``,
  ``usr/share/doc``.
* A slash at the end matches directories only: ``cache/``.
* ``*`` and ``?`` stand for characters other than a slash, ``[a-z]`` and ``[!a-z]`` for one of a set,
  ``**`` for any characters, slashes too; ``**/x`` is x at any depth, the root included. A backslash
  takes the next character as it is.

What is beneath an excluded directory is excluded with it. Each tree is filtered by itself, before the
layers are merged: a later layer cannot bring an excluded path in, nor does ``--exclude`` remove from
``--content``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from imgwriter.errors import SpecError, show


class Exclusion:
    """A set of patterns.

    Args:
        patterns: As given; bytes as on the file system.

    Raises:
        SpecError: A pattern names nothing, or has a range that runs backwards.
    """

    __slots__ = ("_regex", "patterns")

    def __init__(self, patterns: Iterable[bytes] = ()) -> None:
        self.patterns = tuple(patterns)
        self._regex = re.compile(b"|".join(map(_checked, self.patterns)), re.DOTALL)

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Exclusion) and self.patterns == other.patterns

    def __hash__(self) -> int:
        return hash(self.patterns)

    def __repr__(self) -> str:
        return f"Exclusion({self.patterns!r})"

    def matches(self, path: bytes, is_directory: bool = False) -> bool:
        """Tell whether a path is excluded, by itself or because a directory above it is.

        Args:
            path: From the tree's root, without a leading or trailing slash; the root is never excluded.
            is_directory: Whether the path itself is a directory.
        """
        if not self.patterns or not path:
            return False
        return self._regex.fullmatch(path + b"/" if is_directory else path) is not None


def _checked(pattern: bytes) -> bytes:
    if not pattern.strip(b"/"):
        raise SpecError(f"--exclude '{show(pattern)}' names nothing; leave it out")
    expression = _translate(pattern)
    try:
        re.compile(expression)
    except re.error as error:
        raise SpecError(f"--exclude '{show(pattern)}' is not a pattern ({error}); correct it") from None
    return expression


def _translate(pattern: bytes) -> bytes:
    """Return the regular expression of the paths that ``pattern`` excludes, all beneath them included."""
    body = pattern.rstrip(b"/")
    anywhere = b"" if b"/" in body else rb"(?:.*/)?"
    beneath = rb"/.*" if pattern.endswith(b"/") else rb"(?:/.*)?"
    return anywhere + _glob(body.lstrip(b"/")) + beneath


_TOKEN = re.compile(
    rb"(?P<deep>\*\*/)|(?P<any>\*\*)|(?P<star>\*)|(?P<one>\?)"
    rb"|\[(?P<not>[!^]?)(?P<set>\]?[^\]]*)\]|\\(?P<escaped>.)|(?P<plain>.)",
    re.DOTALL,
)


def _glob(body: bytes) -> bytes:
    result = b""
    for token in _TOKEN.finditer(body):
        if token["deep"]:
            result += rb"(?:.*/)?"
        elif token["any"]:
            result += rb".*"
        elif token["star"]:
            result += rb"[^/]*"
        elif token["one"]:
            result += rb"[^/]"
        elif token["set"]:
            members = re.sub(rb"([\[\]\\^&~|])", rb"\\\1", token["set"])
            result += (rb"(?!/)[^" if token["not"] else rb"(?!/)[") + members + b"]"
        else:
            result += re.escape(token["escaped"] or token["plain"])
    return result
