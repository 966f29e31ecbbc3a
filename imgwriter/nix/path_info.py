"""PathInfo: what Nix knows of one store path."""

from __future__ import annotations

from typing import NamedTuple


class PathInfo(NamedTuple):
    """What Nix knows of one store path.

    Attributes:
        path: The whole path, ``b"/nix/store/<32 characters>-name"``.
        nar_hash: SHA-256 of its NAR, 32 bytes; None: not told.
        nar_size: Bytes of its NAR; None: not told.
        references: Whole store paths, sorted; it may be among them itself.
        deriver: The .drv it was built from, a whole store path; None: not told.
    """

    path: bytes
    nar_hash: bytes | None
    nar_size: int | None
    references: tuple[bytes, ...]
    deriver: bytes | None = None
