"""What an installer leaves behind that no image should have: dropped, by a list that can be changed.

====================================  ======================================================================
etc/machine-id, dbus's copy           a machine's identity, not an image's; made anew at its first boot
random seeds                          a seed that two machines share is none
var/log, var/tmp, caches of tools     they tell of this build
etc/.pwd.lock, backups of passwd      left by programs that edit the accounts
nix/store                             what is in it has a hash: an installer that changes it breaks it
====================================  ======================================================================

``--installer-noise`` changes that with a comma list, read from left to right, the last word that matches a
path deciding: ``default`` (the list above) or ``none`` to start with, then ``+PATTERN`` to drop and
``-PATTERN`` to keep. Patterns are those of ``--exclude``, of paths in the running system: what is on the ESP
is below its mount point.

What is dropped stays as it was before: what is new is left out, what was changed is not. What an installer
*removes* is gone, whatever the list says.
"""

from __future__ import annotations

from dataclasses import dataclass

from imgwriter.errors import SpecError
from imgwriter.tree.exclude import Exclusion

DROPPED = (
    "/etc/machine-id",
    "/var/lib/dbus/machine-id",
    "random-seed",
    "/var/log/",
    "/var/tmp/",
    "/var/cache/ldconfig/",
    "/root/.cache/",
    "/etc/.pwd.lock",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/subuid-",
    "/etc/subgid-",
    "/nix/store/",
)
"""Patterns of what is dropped unless ``--installer-noise`` keeps it."""

Rule = tuple[bool, Exclusion]
"""(drop, pattern)."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Rules in order; the last one that matches a path decides, and what none matches is no noise.

    Attributes:
        rules: (drop, pattern).
    """

    rules: tuple[Rule, ...]

    @classmethod
    def parse(cls, text: str) -> Noise:
        """Return the rules that a comma list says.

        Raises:
            SpecError: A word is neither a start nor a pattern with its sign.
        """
        rules = list(_DEFAULT)
        for position, word in enumerate(filter(None, (word.strip() for word in text.split(",")))):
            if word in ("default", "none"):
                if position:
                    raise SpecError(f"installer noise {text!r}: {word!r} comes first or not at all")
                rules = list(_DEFAULT) if word == "default" else []
            elif word[0] in "+-" and len(word) > 1:
                rules.append((word[0] == "+", _pattern(word[1:], text)))
            else:
                raise SpecError(
                    f"installer noise {text!r}: {word!r} is none of default, none, +PATTERN, -PATTERN;"
                    " correct it"
                )
        return cls(tuple(rules))

    def drops(self, path: bytes, is_directory: bool) -> bool:
        """Tell whether what became of a path is dropped.

        Args:
            path: In the running system, without a leading slash.
            is_directory: Whether it is a directory.
        """
        for drop, pattern in reversed(self.rules):
            if pattern.matches(path, is_directory):
                return drop
        return False


def _pattern(word: str, text: str) -> Exclusion:
    try:
        return Exclusion([word.encode("utf-8", "surrogateescape")])
    except SpecError:
        raise SpecError(f"installer noise {text!r}: {word!r} is not a pattern; correct it") from None


_DEFAULT: tuple[Rule, ...] = tuple((True, Exclusion([pattern.encode()])) for pattern in DROPPED)
