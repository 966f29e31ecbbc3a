"""A nixpkgs on the host becomes a channel: the store path that <nixos> and <nixpkgs> come from.

::

    nixpkgs/                    /nix/store/<hash>-nixos-<version>/
      .git/          ─ left out   nixos/                      a copy of what is clean
      lib/ pkgs/ ... ───────────>   lib/ pkgs/ ...
      .version                      .version
                                    .version-suffix           the version's end
                                    nixpkgs -> .              unless there is one

What is left out is what lib.cleanSource leaves out: version control, editors' backups, objects, links to
results, and what a store cannot hold.

make-disk-image.nix builds its channelSources as a derivation, whose path depends on the tools that built it.
Here the path depends on the content alone, as with ``nix-store --add``.

Spec: nixpkgs, lib/sources.nix, cleanSourceFilter; nixos/lib/make-disk-image.nix, channelSources; Nix,
src/libstore/store-api.cc, "The path of a store object".
"""

from __future__ import annotations

import hashlib
import re
import stat
from typing import NamedTuple

from imgwriter.errors import SourceError, show
from imgwriter.extent import Bytes
from imgwriter.nix.hashes import nix32
from imgwriter.nix.nar import MTIME_NS, nar_hash
from imgwriter.nix.path_info import STORE_DIR, PathInfo, base_name
from imgwriter.tree import directory
from imgwriter.tree.exclude import Exclusion
from imgwriter.tree.holes import Holes
from imgwriter.tree.inventory import Inode
from imgwriter.tree.lookup import Lookup
from imgwriter.tree.rules import SourceRules
from imgwriter.tree.xattrs import XattrPolicy

UNKNOWN_SUFFIX = b"pre-git"
"""The version's end where nixpkgs does not say it. Spec: nixpkgs, lib/trivial.nix, versionSuffix."""

# As patterns of a scan, so that a .git is not even entered; symlinks to results need their type.
_UNCLEAN = (b".git", b".svn/", b"CVS/", b".hg/", b"*~", b".sw[a-z]", b".*.sw[a-z]", b"*.o", b"*.so")
_RESULT = b"result"
_STORABLE = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
_VERSION = re.compile(rb"[0-9a-zA-Z+\-._?=]*")
_LARGEST = 4096
_FOLDED = 20  # bytes of a store path's digest


class Channel(NamedTuple):
    """A channel, ready for the closure.

    Attributes:
        info: Its store path, hash and size; it refers to nothing.
        tree: What is in it.
    """

    info: PathInfo
    tree: Inode


def read_channel(nixpkgs: bytes, version_suffix: bytes | None = None) -> Channel:
    """Read a nixpkgs and make a channel of it. All of it is read, for its hash.

    Args:
        nixpkgs: A directory on the host: pkgs.path.
        version_suffix: The version's end, ``config.system.nixosVersionSuffix`` (``b".git.0123abc"``); None:
            what the file .version-suffix says, else "pre-git".

    Raises:
        SourceError: It cannot be read, or is no nixpkgs.
        SourceChangedError: It changed meanwhile.
    """
    origin = f"nixpkgs {show(nixpkgs)}"
    # Everything in a store is root's, without attributes or holes.
    rules = SourceRules(Exclusion(_UNCLEAN), Holes.FILL, XattrPolicy.parse("none"))
    source = directory.read(nixpkgs, rules, origin)
    version = _line(source, b".version")
    if version is None:
        raise SourceError(
            f"{origin} has no file .version; give a nixpkgs, or a channel by --channel", nixpkgs
        )
    if version_suffix is None:
        version_suffix = _line(source, b".version-suffix") or UNKNOWN_SUFFIX
    whole = version + version_suffix
    if not _VERSION.fullmatch(whole):
        raise SourceError(
            f"{origin} has the version {show(whole)}, which no store path can be named by; "
            "correct .version or the suffix",
            nixpkgs,
        )
    tree = channel_tree(source, version_suffix)
    digest, size = nar_hash(tree)
    path = store_path_of(digest, b"nixos-" + whole)
    return Channel(PathInfo(path, digest, size, ()), tree)


def channel_tree(nixpkgs: Inode, version_suffix: bytes) -> Inode:
    """Return the tree of channelSources.

    Args:
        nixpkgs: A nixpkgs without version control and the like; it becomes part of the result.
        version_suffix: What the file .version-suffix says.
    """
    _clean(nixpkgs)
    entries = nixpkgs.entries
    assert entries is not None
    if b"nixpkgs" not in entries:
        entries[b"nixpkgs"] = Inode(
            stat.S_IFLNK | 0o777, mtime_ns=MTIME_NS, size=1, target=b".", origin=nixpkgs.origin
        )
    data = Bytes(version_suffix) if version_suffix else None
    entries[b".version-suffix"] = Inode(
        stat.S_IFREG | 0o444, mtime_ns=MTIME_NS, size=len(version_suffix), data=data, origin=nixpkgs.origin
    )
    channel = Inode(stat.S_IFDIR | 0o555, mtime_ns=MTIME_NS, origin=nixpkgs.origin)
    channel.entries = {b"nixos": nixpkgs}
    return channel


def store_path_of(nar_sha256: bytes, name: bytes) -> bytes:
    """Return the store path of a tree that refers to nothing, as ``nix-store --add`` gives it.

    Args:
        nar_sha256: SHA-256 of its NAR.
        name: The path's name.

    Raises:
        SourceError: No store path can have that name.
    """
    described = b"source:sha256:%b:%b:%b" % (nar_sha256.hex().encode(), STORE_DIR, name)
    whole = hashlib.sha256(described).digest()
    folded = bytearray(_FOLDED)
    for index, byte in enumerate(whole):
        folded[index % _FOLDED] ^= byte
    path = b"%b/%b-%b" % (STORE_DIR, nix32(bytes(folded)).encode(), name)
    base_name(path)
    return path


def _clean(nixpkgs: Inode) -> None:
    """Take out what patterns cannot name: symlinks to results, and what a store cannot hold."""
    stack = [nixpkgs]
    while stack:
        entries = stack.pop().entries or {}
        for name, inode in list(entries.items()):
            form = stat.S_IFMT(inode.mode)
            if form not in _STORABLE or (form == stat.S_IFLNK and name.startswith(_RESULT)):
                del entries[name]
            elif inode.entries is not None:
                stack.append(inode)


def _line(nixpkgs: Inode, name: bytes) -> bytes | None:
    """Return what a small file of nixpkgs says, without the newline at its end; None: there is none."""
    try:
        inode = Lookup(nixpkgs).find(name)
    except SourceError:
        return None
    if not stat.S_ISREG(inode.mode) or inode.size > _LARGEST:
        return None
    text = b"" if inode.data is None else b"".join(map(bytes, inode.data.chunks(0, inode.size)))
    return text.removesuffix(b"\n")
