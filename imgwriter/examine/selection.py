"""The part of a file system that is extracted: all of it, or some paths with the directories above them.

::

    /etc/passwd, /lib/modules        the root, etc, passwd; usr, usr/lib, usr/lib/modules and all in it

What is chosen stays in its place, and the directories above keep their modes, owners and times. A path
through a symlink (/lib is one) chooses the file where it is; a symlink at its end is chosen itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

from imgwriter.examine.browse import Browser, Found
from imgwriter.tree.inventory import Inode, Inventory


def select(browser: Browser, paths: Sequence[bytes] = ()) -> Inventory:
    """Return what is to be extracted, contents and all.

    Args:
        browser: The file system.
        paths: What to choose; none chooses everything.

    Raises:
        SourceError: A path is not there.
        FormatError: What is chosen is damaged.
    """
    chosen = [browser.find(path, follow=False) for path in paths]
    for each in chosen:
        browser.expand(each.inode)
    if not paths:
        browser.expand(browser.root)
    browser.settle()
    whole = not paths or any(not each.names for each in chosen)
    return Inventory(browser.root if whole else _pruned(browser.root, chosen))


def _pruned(root: Inode, chosen: Sequence[Found]) -> Inode:
    """Return a copy of the root that leads to what was chosen, and to nothing else."""
    top = _emptied(root)
    for each in chosen:
        _graft(top, each)
    return top


def _graft(top: Inode, found: Found) -> None:
    """Put a file into its place; in a directory that was chosen whole it is already."""
    directory = top
    for name, inode in zip(found.names[:-1], found.inodes[1:-1], strict=True):
        assert directory.entries is not None
        below = directory.entries.get(name)
        if below is None:
            below = directory.entries[name] = _emptied(inode)
        directory = below
    assert directory.entries is not None
    directory.entries[found.names[-1]] = found.inode


def _emptied(directory: Inode) -> Inode:
    result = copy(directory)
    result.entries = {}
    return result
