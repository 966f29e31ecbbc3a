"""Identifiers derived from one seed, so that the same request gives the same bytes.

A disk carries a dozen random-looking values: GUIDs, UUIDs, a signature, a volume ID, a hash seed. Each
is derived from one seed and the name of its purpose::

    SHA-256( namespace (16 bytes) | seed (UTF-8) | 00 | purpose (UTF-8) )
      └─ first 16 bytes, version and variant set ──> derive_uuid
      └─ first 4 bytes, big-endian                ──> derive_u32

Invariants: a value depends on the seed and its own purpose alone, so that asking for one more
identifier never changes another; none is nil; the purpose holds no NUL, so (seed, purpose) reads back
in one way only.

UUIDs are of version 8, in the name-based form that RFC 9562 gives as its example for SHA-256 (appendix
B.2). Version 5 would say SHA-1, and version 4 would say random: neither would be true.
"""

from __future__ import annotations

import hashlib
from uuid import UUID

DEFAULT_SEED = "imgwriter"
"""The seed when none is given: stable, so that two builds of the same tree are equal."""

NAMESPACE = UUID("a4c9f9d2-6a0e-4b7d-9e21-57c3f1d8b06e")
"""The namespace of imgwriter's names; drawn at random once, never to change."""


def name_based_uuid(namespace: UUID, name: bytes) -> UUID:
    """Return the version 8 UUID of ``name``: SHA-256 over the namespace and the name.

    Spec: RFC 9562, 5.8 (version 8), 4.1 (variant), appendix B.2 (this very construction).
    """
    return _version_8(hashlib.sha256(namespace.bytes + name).digest())


def derive_uuid(seed: str, purpose: str) -> UUID:
    """Return the UUID that stands for ``purpose`` under ``seed``.

    Args:
        seed: Any text; bytes of a command line that are not UTF-8 come as surrogate escapes.
        purpose: What the UUID is for, such as "disk guid"; a constant of the caller, without NUL.

    Spec: RFC 9562, 5.8.
    """
    return _version_8(_digest(seed, purpose))


def derive_u32(seed: str, purpose: str) -> int:
    """Return the 32-bit number that stands for ``purpose`` under ``seed``, from 1 to 2^32 - 1.

    Zero is left out since it means "none" wherever such a number is used (a disk signature, a FAT
    volume ID): the digest's next four bytes are taken in its place.
    """
    digest = _digest(seed, purpose)
    words = (int.from_bytes(digest[i : i + 4], "big") for i in range(0, len(digest), 4))
    return next((word for word in words if word), 1)


def _digest(seed: str, purpose: str) -> bytes:
    name = b"\0".join(text.encode("utf-8", "surrogateescape") for text in (seed, purpose))
    return hashlib.sha256(NAMESPACE.bytes + name).digest()


def _version_8(digest: bytes) -> UUID:
    octets = bytearray(digest[:16])
    octets[6] = octets[6] & 0x0F | 0x80
    octets[8] = octets[8] & 0x3F | 0x80
    return UUID(bytes=bytes(octets))
