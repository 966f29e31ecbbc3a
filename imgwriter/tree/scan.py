"""The one entry of ``tree/``: everything that goes in, read and put together.

::

    trees ──read──> layers ──merge──> tree ──graft contents, prepare──> ──overrides──> ──times──> Inventory
    (directory, tar)                     ──break links (when asked)──────────────────────┘

File contents are not read here, with three exceptions: ``--holes detect`` looks for zeros, a compressed
or streamed tar is spooled, and names of users and groups are looked up in the image's own account files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from imgwriter.collection import collection_paused
from imgwriter.errors import SourceError, show
from imgwriter.tree import directory, layers, overrides
from imgwriter.tree.contents import Content, graft
from imgwriter.tree.exclude import Exclusion
from imgwriter.tree.holes import Holes
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.tree.lookup import made_directory
from imgwriter.tree.rules import HardLinks, Owner, SourceRules, break_links, set_times
from imgwriter.tree.xattrs import XattrPolicy

MAX_OVERRIDES = 256 << 20
"""Bytes of an overrides file: some 100 for each of two million paths."""

STANDARD_INPUT = b"-"
"""The tree that is a tar on standard input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeRequest:
    """What goes in, and by which rules.

    Attributes:
        trees: Host paths of directories and tars, or ``-``: layers, the last one on top.
        excludes: What the trees leave out; see :mod:`imgwriter.tree.exclude`.
        contents: What is grafted into the tree, in this order.
        content_nest: Whether a directory goes into its target, under its own name.
        overrides: Host path of the overrides file, or None.
        owner: Whom the entries of directories belong to; None keeps their own.
        xattrs: Which extended attributes are kept; see :mod:`imgwriter.tree.xattrs`.
        holes: "keep", "fill" or "detect".
        hard_links: "error" or "break".
        time: Seconds since the epoch, for what imgwriter makes itself.
        clamp: Seconds since the epoch that no mtime of a source may exceed, or None.
        prepare: Called with the root when trees and contents are in it, before overrides; or None.
        spool_directory: Where the contents of compressed and streamed tars are kept meanwhile, in a file
            without a name; None: the system's place for temporary files.
    """

    trees: Sequence[bytes] = ()
    excludes: Sequence[bytes] = ()
    contents: Sequence[Content] = ()
    content_nest: bool = False
    overrides: bytes | None = None
    owner: Owner | None = (0, 0)
    xattrs: str = "default"
    holes: str = "keep"
    hard_links: str = "error"
    time: int = 1
    clamp: int | None = None
    prepare: Callable[[Inode], None] | None = None
    spool_directory: bytes | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found.

    Attributes:
        inventory: The tree.
        warnings: Sentences for the user.
    """

    inventory: Inventory
    warnings: tuple[str, ...] = ()


def scan(request: TreeRequest) -> Scan:
    """Read what the request names and return one tree; nothing on the host is changed.

    Raises:
        SpecError: A pattern, a mode or the overrides file cannot be understood.
        SourceError: A source is missing, cannot be read, or does not fit the others.
    """
    rules = SourceRules(
        Exclusion(request.excludes), Holes(request.holes), XattrPolicy.parse(request.xattrs), request.owner
    )
    entries = _read_overrides(request.overrides)
    with collection_paused():
        root = made_directory("the image")
        for tree in request.trees:
            layers.merge(root, _read_tree(tree, rules, request.spool_directory))
        graft(root, request.contents, rules, request.content_nest)
        if request.prepare is not None:
            request.prepare(root)
        if request.overrides is not None:
            overrides.apply(root, entries, show(request.overrides), request.time)
        inventory = Inventory(root)
        set_times(inventory.inodes, request.clamp, request.time)
        if request.hard_links == HardLinks.BREAK:
            inventory = break_links(inventory)
    return Scan(inventory, tuple(_warnings(root)))


def _read_tree(tree: bytes, rules: SourceRules, spool: bytes | None) -> Inode:
    if tree == STANDARD_INPUT:
        return _read_tar(tree, rules, spool)
    try:
        status = os.stat(tree)
    except OSError as error:
        raise SourceError(
            f"tree {show(tree)} cannot be read ({error.strerror}); give a directory or a tar", tree
        ) from error
    if stat.S_ISDIR(status.st_mode):
        return directory.read(tree, rules)
    return _read_tar(tree, rules, spool)


def _read_tar(tree: bytes, rules: SourceRules, spool: bytes | None) -> Inode:
    from imgwriter.tree import tarball  # a tenth of the start of a build, and most have no tar

    return tarball.read(tree, rules, spool_directory=spool)


def _read_overrides(path: bytes | None) -> list[overrides.Override]:
    if path is None:
        return []
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_OVERRIDES + 1)
    except OSError as error:
        raise SourceError(
            f"overrides {show(path)} cannot be read ({error.strerror}); correct the path", path
        ) from error
    if len(text) > MAX_OVERRIDES:
        raise SourceError(
            f"overrides {show(path)} has more than {MAX_OVERRIDES >> 20} MiB; name a file of owners and"
            " modes",
            path,
        )
    return overrides.parse(text, show(path))


def _warnings(root: Inode) -> Iterator[str]:
    if root.mode & 0o005 != 0o005:
        yield (
            f"the root directory, from {root.origin}, has mode {stat.S_IMODE(root.mode):04o}: others than its"
            " owner and group could not enter the image; chmod it to 755 if that is not meant"
        )
