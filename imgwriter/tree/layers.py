"""Layers: trees laid over each other, the last one on top.

===================  =======================  ====================================================
below                above                    result
===================  =======================  ====================================================
nothing              anything                 what is above
directory            directory                both; metadata of the upper one, if it described it
symlink to a         directory                the symlink stays; the upper entries go where it
directory                                     leads, inside the image; metadata there stays
file, symlink, ...   the same kind            what is above; other names of the lower one keep it
any                  any other kind           an error that names both
===================  =======================  ====================================================

A directory over a symlink is what a merged /usr needs, and what ``tar --keep-directory-symlink`` does:
``bin/sh`` of an upper layer goes to ``usr/bin/sh`` where ``bin -> usr/bin``. Where a symlink leads is
asked when all else of the layer is in place, so that the layer may bring the directory itself.
"""

from __future__ import annotations

import stat

from imgwriter.errors import SourceError, show
from imgwriter.tree.inventory import Inode
from imgwriter.tree.lookup import Lookup, kind

_METADATA = ("mode", "uid", "gid", "mtime_ns", "xattrs", "origin")

_Redirect = tuple[list[bytes], Inode]
"""Where a symlink stands in the way of a directory, and that directory."""


def merge(root: Inode, layer: Inode) -> None:
    """Lay ``layer`` over the tree of ``root``, which becomes the result.

    Args:
        root: A tree's root; changed in place.
        layer: The upper tree's root; its Inodes become part of the result.

    Raises:
        SourceError: A name changes its kind, or a symlink that a directory meets leads to no directory.
    """
    merge_at(root, [], root, layer)


def merge_at(root: Inode, place: list[bytes], directory: Inode, layer: Inode) -> None:
    """Lay ``layer`` over ``directory``, which stands at ``place`` in ``root``'s tree; as :func:`merge`."""
    redirects: list[_Redirect] = []
    _describe(directory, layer)
    _overlay_entries(place, directory, layer, redirects)
    while redirects:
        waiting, redirects = sorted(redirects, key=lambda redirect: redirect[0]), []
        for names, upper in waiting:
            lower = _linked_directory(root, names, upper)
            _overlay_entries(names, lower, upper, redirects)


def put(directory: Inode, place: list[bytes], inode: Inode) -> None:
    """Put one file under the last name of ``place``, over a file of its kind if there is one.

    Args:
        directory: Where it goes.
        place: The names that lead there, its own last.
        inode: Anything but a directory.

    Raises:
        SourceError: What is there is of another kind.
    """
    assert directory.entries is not None
    name = place[-1]
    lower = directory.entries.get(name)
    if lower is not None and stat.S_IFMT(lower.mode) != stat.S_IFMT(inode.mode):
        raise _conflict(place, lower, inode)
    directory.entries[name] = inode


def _overlay_entries(place: list[bytes], lower: Inode, upper: Inode, redirects: list[_Redirect]) -> None:
    stack = [(place, lower, upper)]
    while stack:
        place, lower, upper = stack.pop()
        below, above = lower.entries, upper.entries
        assert below is not None and above is not None
        if not below:
            below.update(above)
            continue
        for name, inode in above.items():
            there = below.get(name)
            if there is None:
                below[name] = inode
            elif inode.entries is None:
                put(lower, [*place, name], inode)
            elif there.entries is not None:
                _describe(there, inode)
                stack.append(([*place, name], there, inode))
            elif stat.S_ISLNK(there.mode):
                redirects.append(([*place, name], inode))
            else:
                raise _conflict([*place, name], there, inode)


def _describe(lower: Inode, upper: Inode) -> None:
    """Give a directory the metadata of the one above, if a source described that."""
    if not upper.implicit:
        for field in _METADATA:
            setattr(lower, field, getattr(upper, field))
        lower.implicit = False


def _linked_directory(root: Inode, names: list[bytes], upper: Inode) -> Inode:
    try:
        lower = Lookup(root).follow(names)
    except SourceError as error:
        raise SourceError(
            f"{show(b'/'.join(names))}: {upper.origin} has a directory over a symlink, and {error}",
            b"/".join(names),
        ) from None
    if lower.entries is None:
        raise _conflict(names, lower, upper)
    return lower


def _conflict(place: list[bytes], lower: Inode, upper: Inode) -> SourceError:
    path = b"/".join(place)
    return SourceError(
        f"{show(path)} is a {kind(lower)} in {lower.origin} and a {kind(upper)} in {upper.origin}; "
        "remove or exclude one of them",
        path,
    )
