"""What the host says about the entries of one directory: plain tuples, which one process can send another.

::

    scandir ─> lstat ─> llistxattr ─> Row        three system calls a file, one more for a symlink's target

No symlink is followed. Whatever disappears or changes while it is looked at is an error that names it.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple, NoReturn, TypeAlias

from imgwriter.errors import SourceChangedError, SourceError, show
from imgwriter.filedata import Identity
from imgwriter.tree.rules import SourceRules

_FORMAT = 0o170000
_REGULAR, _DIRECTORY, _SYMLINK = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK
_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)
_READABLE_BY_ALL = 0o444

_NO_ATTRIBUTES = (errno.ENOTSUP, errno.ENOSYS)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)

More: TypeAlias = bytes | tuple[int, int] | None
"""A symlink's target, or the major and minor number of a device."""

Row: TypeAlias = tuple[
    bytes, int, int, int, int, int, int, int, int, int, int, dict[bytes, bytes] | None, More
]
"""One entry: name; st_mode, st_ino, st_dev, st_nlink, st_uid, st_gid, st_size, st_mtime_ns, st_ctime_ns and
st_blocks; extended attributes that are kept, or None; what only its kind has. There is one a file."""


class Directory(NamedTuple):
    """A directory to list.

    Attributes:
        path: Its host path.
        inside: Its path below the top, with a slash at the end unless it is the top.
        before: What it looked like when its parent was listed.
    """

    path: bytes
    inside: bytes
    before: tuple[int, int, int, int, int]


def list_directory(directory: Directory, rules: SourceRules) -> list[Row]:
    """Return a row for each entry that is not left out, in the host's order.

    Raises:
        SourceError: It cannot be read.
        SourceChangedError: It changed meanwhile.
    """
    path, inside, before = directory
    excluded = rules.exclude.matches if rules.exclude else None
    with_xattrs = not rules.xattrs.keeps_nothing
    rows: list[Row] = []
    try:
        with os.scandir(path) as listing:
            # One turn a file of the tree: nothing here is called that need not be.
            for entry in listing:
                status = entry.stat(follow_symlinks=False)
                if excluded is not None and excluded(
                    inside + entry.name, status.st_mode & _FORMAT == _DIRECTORY
                ):
                    continue
                rows.append(_row(entry.name, entry.path, status, rules, with_xattrs))
        after = os.stat(path)
    except OSError as error:
        refuse(_named(error, path), error)
    if Identity.of(after) != before:
        raise _changed(path)
    return rows


def row_of(name: bytes, path: bytes, status: os.stat_result, rules: SourceRules) -> Row:
    """Return the row of one host file.

    Raises:
        SourceError: It cannot be read.
    """
    try:
        return _row(name, path, status, rules, not rules.xattrs.keeps_nothing)
    except OSError as error:
        refuse(_named(error, path), error)


def _row(name: bytes, path: bytes, status: os.stat_result, rules: SourceRules, with_xattrs: bool) -> Row:
    # Unpacking is one step where seven attributes would be seven.
    mode, number, device, links, uid, gid, size, _, _, _ = status
    kind = mode & _FORMAT
    more: More = None
    if kind == _REGULAR:
        if size and mode & _READABLE_BY_ALL != _READABLE_BY_ALL:
            _check_readable(path)
    elif kind == _SYMLINK:
        more = os.readlink(path)
    elif kind in _DEVICES:
        more = os.major(status.st_rdev), os.minor(status.st_rdev)
    xattrs = None
    if with_xattrs:
        try:
            names = os.listxattr(path, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTES:
                raise
            names = []
        if names:
            xattrs = _xattrs(path, names, rules)
    return (
        name,
        mode,
        number,
        device,
        links,
        uid,
        gid,
        size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_blocks,
        xattrs,
        more,
    )


def _xattrs(path: bytes, names: list[str], rules: SourceRules) -> dict[bytes, bytes] | None:
    kept = sorted(name for name in map(os.fsencode, names) if rules.xattrs.keep(name))
    return {name: _xattr(path, name) for name in kept} or None


def _xattr(path: bytes, name: bytes) -> bytes:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENODATA or error.errno in _GONE:
            raise _changed(path) from None
        raise SourceError(
            f"{show(path)}: the attribute {show(name)} cannot be read ({error.strerror}); "
            f"leave it out with --xattrs=-{show(name)}",
            path,
        ) from error


def _check_readable(path: bytes) -> None:
    if not os.access(path, os.R_OK, effective_ids=True):
        raise SourceError(f"{show(path)} cannot be read; make it readable, or exclude it", path)


def _named(error: OSError, default: bytes) -> bytes:
    """Return the path the system call failed on."""
    return os.fsencode(error.filename) if isinstance(error.filename, str | bytes) else default


def refuse(path: bytes, error: OSError) -> NoReturn:
    """Raise what an OSError about ``path`` means to the user."""
    if error.errno in _GONE:
        raise SourceChangedError(
            f"{show(path)} does not exist, or went away while the tree was read; "
            "build again when nothing writes to it",
            path,
        ) from None
    remedy = "make it readable, or exclude it"
    if error.errno == errno.ENAMETOOLONG:
        remedy = "the host's paths end at 4,095 bytes: hand so deep a tree in as a tar"
    raise SourceError(f"{show(path)} cannot be read ({error.strerror}); {remedy}", path) from error


def _changed(path: bytes) -> SourceChangedError:
    return SourceChangedError(
        f"{show(path)} changed while the tree was read; build again when nothing writes to it", path
    )
