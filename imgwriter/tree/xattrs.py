"""Which extended attributes go into the image.

Everything the source shows goes in, but for what belongs to the host's own machinery:

=====================  ===================================================================
security.selinux       labels by the host's policy
security.ima, .evm     hashes and signatures keyed to the host
trusted.overlay.*      overlayfs's notes about its layers
btrfs.*                properties of the host's file system, not of the file
system.nfs4_acl        an NFS server's ACL, which no local file system stores
=====================  ===================================================================

``--xattrs`` changes that with a comma list, read from left to right, the last word that matches a
name deciding: ``default`` (the table above), ``all`` or ``none`` to start with, then ``+PATTERN`` to
keep and ``-PATTERN`` to drop. ``*`` in a PATTERN stands for any characters, dots too. Examples:
``none``, ``+security.selinux``, ``none,+security.capability``, ``all,-user.*``.

POSIX ACLs (system.posix_acl_access, system.posix_acl_default) are attributes like others here, in the
kernel's version 2 form; the file system's writer turns them into its own.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from imgwriter.errors import SpecError

DROPPED = (
    "security.selinux",
    "security.ima",
    "security.evm",
    "trusted.overlay.*",
    "btrfs.*",
    "system.nfs4_acl",
)
"""Patterns of the attributes that are left behind unless ``--xattrs`` keeps them."""

Rule = tuple[bool, str]
"""(keep, pattern)."""

_STARTS: dict[str, tuple[Rule, ...]] = {
    "all": ((True, "*"),),
    "none": ((False, "*"),),
    "default": ((True, "*"), *((False, pattern) for pattern in DROPPED)),
}


@dataclass(frozen=True, slots=True)
class XattrPolicy:
    """Rules in order; the last one that matches a name decides.

    Attributes:
        rules: (keep, pattern); the first one matches every name.
    """

    rules: tuple[Rule, ...] = _STARTS["default"]

    @classmethod
    def parse(cls, text: str) -> XattrPolicy:
        """Return the policy that an ``--xattrs`` argument names.

        Raises:
            SpecError: A word is none of default, all, none, +PATTERN, -PATTERN, or a start is not first.
        """
        words = [word.strip() for word in text.split(",")]
        rules = _STARTS["default"]
        if words[0] in _STARTS:
            rules = _STARTS[words.pop(0)]
        for word in words:
            if len(word) < 2 or word[0] not in "+-":
                raise SpecError(
                    f"--xattrs {text}: {word!r} is not +PATTERN or -PATTERN; "
                    "'default', 'all' or 'none' may stand first"
                )
            rules += ((word[0] == "+", word[1:]),)
        return cls(rules)

    def keep(self, name: bytes) -> bool:
        """Tell whether the attribute of this full name (``b"user.comment"``) goes into the image."""
        return _keep(self.rules, name)

    @property
    def keeps_nothing(self) -> bool:
        """True when no attribute can be kept, so that none need be read."""
        return self.rules == _STARTS["none"]


@functools.lru_cache(maxsize=1024)
def _keep(rules: tuple[Rule, ...], name: bytes) -> bool:
    return next(keep for keep, pattern in reversed(rules) if _regex(pattern).fullmatch(name))


@functools.lru_cache(maxsize=256)
def _regex(pattern: str) -> re.Pattern[bytes]:
    parts = (re.escape(part.encode("utf-8", "surrogateescape")) for part in pattern.split("*"))
    return re.compile(b".*".join(parts), re.DOTALL)
