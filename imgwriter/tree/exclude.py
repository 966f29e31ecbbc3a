r"""What ``--exclude PATTERN`` leaves out.

Patterns are those of gitignore(5), without negation and comments:

* A pattern that begins with ``!`` is refused; ``\!`` is a name that does.
* A pattern without a slash matches the name of anything at any depth: ``*.pyc``, ``.git``.
* A pattern with a slash, leading or within, matches a path from the tree's root: ``/var/cache``,
  ``usr/share/doc``.
* A slash at the end matches directories only: ``cache/``.
* ``*`` and ``?`` stand for characters other than a slash, ``[a-z]`` and ``[!a-z]`` for one of a set,
  ``**`` between slashes for any number of directories: ``**/x`` is x at any depth, ``a/**`` all that
  is in a. A backslash takes the next character as it is.

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

    __slots__ = ("_anything", "_directories", "patterns")

    def __init__(self, patterns: Iterable[bytes] = ()) -> None:
        self.patterns = tuple(patterns)
        translated = [_checked(pattern) for pattern in self.patterns]
        self._anything = _any_of(anything for anything, _ in translated)
        self._directories = _any_of(directories for _, directories in translated)

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
        if self._anything.fullmatch(path):
            return True
        return is_directory and self._directories.fullmatch(path) is not None


def _any_of(expressions: Iterable[bytes]) -> re.Pattern[bytes]:
    # Without an alternative it would match the empty path, which is the root: (?!) matches nothing.
    return re.compile(b"|".join(expressions) or b"(?!)", re.DOTALL)


def _checked(pattern: bytes) -> tuple[bytes, bytes]:
    if not pattern.strip(b"/"):
        raise SpecError(f"--exclude '{show(pattern)}' names nothing; leave it out")
    if pattern.startswith(b"!"):
        raise SpecError(
            f"--exclude '{show(pattern)}' would take back another pattern, which is not possible here;"
            " leave it out, or put a backslash before a ! that a name begins with"
        )
    expressions = _translate(pattern)
    try:
        re.compile(expressions[0])
    except re.error as error:
        raise SpecError(f"--exclude '{show(pattern)}' is not a pattern ({error}); correct it") from None
    return expressions


def _translate(pattern: bytes) -> tuple[bytes, bytes]:
    """Return two regular expressions: of what is excluded whatever it is, and of excluded directories.

    The first has all beneath an excluded directory in it.
    """
    body = pattern.rstrip(b"/")
    place = (b"" if b"/" in body else rb"(?:.*/)?") + _glob(body.lstrip(b"/"))
    return place + (rb"/.*" if pattern.endswith(b"/") else rb"(?:/.*)?"), place


_TOKEN = re.compile(
    rb"(?<![^/])(?:(?P<deep>\*\*/)|(?P<any>\*\*)\Z)|(?P<star>\*+)|(?P<one>\?)"
    rb"|\[(?P<not>[!^]?+)(?P<set>\][^\]]*|[^\]]+)\]|\\(?P<escaped>.)|(?P<plain>.)",
    re.DOTALL,
)


def _glob(body: bytes) -> bytes:
    result = b""
    for token in _TOKEN.finditer(body):
        if token["deep"]:
            result += rb"(?:.*/)?"
        elif token["any"]:
            result += rb".+"
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
