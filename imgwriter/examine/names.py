"""Names that no directory can have: one would lead out of the place that a tree is extracted to."""

from __future__ import annotations

from imgwriter.errors import FormatError, quoted, show
from imgwriter.tree.inventory import Inventory

_OTHERS = (b"", b".", b"..")


def check_names(inventory: Inventory) -> None:
    """Look at every name of a tree before any is made. The readers refuse such names too.

    Raises:
        FormatError: One is empty, ``.`` or ``..``, or holds a slash or a NUL byte.
    """
    for directory in inventory.directories:
        for name in directory.entries or ():
            if name in _OTHERS or b"/" in name or b"\0" in name:
                message = f"the directory {show(directory.path) or '/'} has the name {quoted(name)}"
                raise FormatError(
                    f"{message}, which no file can have; repair a copy of the file system", "name"
                )
