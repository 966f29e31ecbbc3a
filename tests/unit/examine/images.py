"""Images in memory for the tests of what looks into them."""

from __future__ import annotations

from imgwriter.examine.browse import Browser
from imgwriter.examine.selection import select
from imgwriter.tree.inventory import Inode, Inventory
from tests import trees
from tests.unit.ext4 import images


def browser(entries: dict[bytes, Inode], **asked: object) -> Browser:
    """Return a browser of an ext4 whose root has ``entries``."""
    return Browser(images.opened(images.of(entries, **asked)), "the image")


def system() -> dict[bytes, Inode]:
    """Return entries like those of a system: symlinks of every kind, absolute and relative."""
    linked = trees.file(b"linked")
    return {
        b"bin": trees.symlink(b"usr/bin"),
        b"etc": trees.directory(
            {
                b"passwd": trees.file(b"root:x:0:0\n"),
                b"mtab": trees.symlink(b"/proc/mounts"),
                b"editor": trees.symlink(b"/bin/nano"),
                b"up": trees.symlink(b"../../.."),
                b"loop": trees.symlink(b"loop"),
            }
        ),
        b"usr": trees.directory({b"bin": trees.directory({b"nano": trees.file(b"nano"), b"pico": linked})}),
        b"linked": linked,
        b"many": trees.directory(
            {b"0": trees.file(b"end"), **{b"%d" % n: trees.symlink(b"%d" % (n - 1)) for n in range(1, 42)}}
        ),
    }


def selected(entries: dict[bytes, Inode], *paths: bytes) -> Inventory:
    """Return what is chosen of an ext4 whose root has ``entries``; lost+found is left out."""
    inventory = select(browser(entries), paths)
    (inventory.root.entries or {}).pop(b"lost+found", None)
    return Inventory(inventory.root)
