"""Put a finished folder in the place of another, or nothing at all.

::

    mkdir temporary name ... write ... rename to the target's name     (nothing was there, or it was empty)
                                  └─> rename the old one away, rename, remove it      (it had files)

Two folders cannot change places in one step that every file system has: between the two renames the target is
missing for some microseconds. Whatever fails before, what was there is still there; after a SIGKILL the
temporary folder is left beside it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from imgwriter.errors import OutputError, show
from imgwriter.sink.replace import output_error
from imgwriter.units import counted


@contextmanager
def replacing_folder(path: bytes, old_names: Collection[str]) -> Iterator[bytes]:
    """Give the path of a new folder that becomes ``path`` when the block ends without error.

    Args:
        path: The folder to make or to replace.
        old_names: The files in the one that is there: they are removed with it. Others are not: then the old
            folder stays.

    Yields:
        A folder beside it, to be filled with files; no folders in it.

    Raises:
        OutputError: It cannot be made, or the old one has another file.
    """
    name = os.fsdecode(path)
    target = path.rstrip(b"/") or path
    head, base = os.path.split(target)
    if base in (b"", b".", b".."):
        raise OutputError(f"{show(path)} names no folder; give the path of one", name)
    mark = os.urandom(8).hex().encode()
    fresh, old = (os.path.join(head, b".imgwriter-" + kind + mark) for kind in (b"new-", b"old-"))
    try:
        os.mkdir(fresh)
    except OSError as error:
        raise output_error(name, error) from error
    try:
        yield fresh
        _publish(fresh, target, old, old_names)
    except OSError as error:
        raise output_error(name, error) from error
    finally:
        # A published one has this name no more.
        with suppress(OSError):
            _remove(fresh, os.listdir(os.fsdecode(fresh)))


def _publish(fresh: bytes, target: bytes, old: bytes, old_names: Collection[str]) -> None:
    """Give the finished folder its name."""
    try:
        os.rename(fresh, target)  # replaces an empty folder
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    if others := set(os.listdir(os.fsdecode(target))) - set(old_names):
        raise OutputError(
            f"{show(target)} has {counted(len(others), 'file')} of others, such as {min(others)!r};"
            " give an empty folder",
            os.fsdecode(target),
        )
    os.rename(target, old)
    try:
        os.rename(fresh, target)
    except OSError:
        os.rename(old, target)
        raise
    _remove(old, old_names)


def _remove(folder: bytes, names: Collection[str]) -> None:
    for name in names:
        os.unlink(os.path.join(folder, os.fsencode(name)))
    os.rmdir(folder)
