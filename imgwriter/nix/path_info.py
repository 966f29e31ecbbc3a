"""PathInfo: what Nix knows of one store path; and what a store path is.

::

    /nix/store/ 0p1cg7g7n9s1jvpxmk5ylv3wmpvqbpgl - hello-2.12
    store dir   32 digits of nix32 (160 bits)      name
                └──────────── base name ─────────────────────┘
"""

from __future__ import annotations

import re
from typing import NamedTuple

from imgwriter.errors import SourceError, show

STORE_DIR = b"/nix/store"
"""Where store paths are, in the image and as their references say."""

MAX_NAME = 211
"""Bytes of a store path's name. Spec: Nix, src/libstore/path.hh, StorePath::MaxPathLen."""

MAX_PATH = 4095
"""Bytes of any path. Spec: Linux, include/uapi/linux/limits.h, PATH_MAX, which counts a NUL."""

# The 32 digits are nix32's: no e, o, t, u. A name is not a dot or two, alone or before a dash.
# Spec: Nix manual, "Store Path"; src/libstore/path.cc, checkName.
_BASE_NAME = re.compile(rb"[0-9a-df-np-sv-z]{32}-(?!\.\.?(?:-|\Z))[0-9a-zA-Z+\-._?=]{1,%d}" % MAX_NAME)


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


def base_name(path: bytes, store_dir: bytes = STORE_DIR) -> bytes:
    """Return what stands behind the store directory: ``<32 characters>-name``.

    Raises:
        SourceError: It is not directly in the store directory, or no name of a store path.
    """
    prefix = store_dir + b"/"
    if not path.startswith(prefix):
        raise SourceError(f"{show(path)} is not in the store {show(store_dir)}; give a store path", path)
    name = path[len(prefix) :]
    if not _BASE_NAME.fullmatch(name):
        raise SourceError(
            f"{show(path)} is no store path: {show(store_dir)}/ is followed by 32 digits of Nix's base 32, "
            f"a dash and a name of 1 to {MAX_NAME} letters, digits and +-._?=; give the store path alone",
            path,
        )
    return name
