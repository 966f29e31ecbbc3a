"""Put a finished file in the place of another, or nothing at all.

::

    open(directory, O_TMPFILE) ... write ... link to the target's name          (nothing was there)
                                         └─> link to a temporary name, rename   (something was)

A file opened with O_TMPFILE has no name until it is finished: whatever ends the program before,
SIGKILL included, the kernel frees it. linkat(2) does not replace, so a target that exists takes a
second step, and between the two a temporary name exists for some microseconds.

Files that belong together are opened together, before the first is written, and get their names when all
are finished, the chief one last: whoever sees that one sees the others.

Some file systems have no O_TMPFILE, and without /proc an unnamed file cannot be linked. There the
file has a temporary name beside the target from the start; every exception removes it, SIGKILL
does not.

The mode is 0666 less the umask, which open(2) applies: reading the umask would mean changing it for
the whole process.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from imgwriter.errors import OutputError, show
from imgwriter.filedata import HostPath

_MODE = 0o666
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
"""What open(2) with O_TMPFILE says where it is unknown, to the file system or to the kernel."""

_REMEDY = {
    errno.ENOSPC: "free space there or choose another place for the output",
    errno.EDQUOT: "free space within the quota or choose another place for the output",
    errno.EFBIG: "make the image smaller, raise `ulimit -f`, or choose a file system that holds such a file",
    errno.EIO: "see the kernel's log for the device, or choose another place for the output",
    errno.ENOENT: "make the directory first",
    errno.ENOTDIR: "give a path whose parents are directories",
    errno.EACCES: "choose a directory that you may write to",
    errno.EPERM: "choose a directory that you may write to",
    errno.EROFS: "choose a directory on a file system that is not read-only",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def output_error(name: str, error: OSError) -> OutputError:
    """Return the OutputError that says what became of ``name``, and the remedy."""
    remedy = _REMEDY.get(error.errno or 0, "choose another place for the output")
    shown = show(os.fsencode(name))
    return OutputError(f"{shown}: cannot be written: {error.strerror}; {remedy}", name)


@contextmanager
def replacing(path: HostPath, *, sync: bool = False) -> Iterator[int]:
    """Give a descriptor of a new, empty file that becomes ``path`` when the block ends without error.

    Args:
        path: The file to make or to replace. A symlink is replaced itself, not what it points to:
            whoever may put a symlink in the directory cannot make another file be overwritten.
        sync: Flush the file before it gets its name, and the directory after.

    Yields:
        A descriptor open for reading and writing; it is closed when the block ends.

    Raises:
        OutputError: The file cannot be made, or something that is not a regular file is there.
    """
    name = os.fsdecode(path)
    head, base = os.path.split(os.fsencode(path))
    try:
        _refuse_other_kinds(path, name, base)
        directory = os.open(head or b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise output_error(name, error) from error
    temporary = b".imgwriter-" + os.urandom(8).hex().encode()
    fd = -1
    try:
        fd = _create(directory, temporary, name)
        yield fd
        _publish(fd, directory, temporary, base, name, sync)
    except BaseException:
        # An unnamed file has no such name, and a published one has it no more.
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    finally:
        if fd >= 0:
            os.close(fd)
        os.close(directory)


@contextmanager
def replacing_all(paths: Sequence[bytes], *, sync: bool = False) -> Iterator[tuple[int, ...]]:
    """Give descriptors of new files that become ``paths`` when the block ends without error.

    What cannot be made is refused before the block; where the block fails, none is made or replaced. The
    first gets its name last: should a name be refused at that moment, files after it have theirs by then, and
    those before it are what they were.

    Args:
        paths: The files, all different, the chief one first.
        sync: As for :func:`replacing`.

    Raises:
        OutputError: As :func:`replacing`.
    """
    with ExitStack() as files:  # which leaves first what was entered last
        yield tuple(files.enter_context(replacing(path, sync=sync)) for path in paths)


def refuse_unwritable(path: HostPath) -> None:
    """Refuse, without making anything, a path at which no file could be made or replaced.

    Raises:
        OutputError: It has no directory, or one that cannot be written to, or is no regular file.
    """
    name = os.fsdecode(path)
    head, base = os.path.split(os.fsencode(path))
    try:
        _refuse_other_kinds(path, name, base)
        os.stat(head or b".")
        if not os.access(head or b".", os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise output_error(name, error) from error


def _refuse_other_kinds(path: HostPath, name: str, base: bytes) -> None:
    """Refuse what a rename would replace but nobody means to: a device, also behind a symlink."""
    if base in (b"", b".", b".."):
        raise OutputError(f"{name!r} names no file; give the path of one", name)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        # A dangling symlink, or one in a circle, is replaced like any other.
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return
        raise
    if stat.S_ISREG(mode) and not _is_descriptor(path):
        return
    kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
    raise OutputError(f"{show(os.fsencode(name))} is {kind}; give a path where a file can be made", name)


def _is_descriptor(path: HostPath) -> bool:
    """Return whether a path is /dev/stdout or its like: with `> FILE` it leads to a regular file."""
    return os.path.islink(path) and os.readlink(os.fsencode(path)).startswith(b"/proc/")


def _create(directory: int, temporary: bytes, name: str) -> int:
    """Return the descriptor of a new file: unnamed, or called ``temporary`` where that is not possible."""
    try:
        fd = os.open(b".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, _MODE, dir_fd=directory)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise output_error(name, error) from error
    else:
        if os.path.exists(_unnamed(fd)):
            return fd
        os.close(fd)
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(temporary, flags, _MODE, dir_fd=directory)
    except OSError as error:
        raise output_error(name, error) from error


def _publish(fd: int, directory: int, temporary: bytes, base: bytes, name: str, sync: bool) -> None:
    """Give the finished file the name ``base``."""
    try:
        if sync:
            os.fsync(fd)
        if os.fstat(fd).st_nlink:
            os.rename(temporary, base, src_dir_fd=directory, dst_dir_fd=directory)
        else:
            _link_or_replace(fd, directory, temporary, base)
        if sync:
            _flush_directory(directory)
    except OSError as error:
        raise output_error(name, error) from error


def _link_or_replace(fd: int, directory: int, temporary: bytes, base: bytes) -> None:
    try:
        _link(fd, directory, base)
    except FileExistsError:
        _link(fd, directory, temporary)
        os.rename(temporary, base, src_dir_fd=directory, dst_dir_fd=directory)


def _link(fd: int, directory: int, base: bytes) -> None:
    # Only with src_dir_fd does Python call linkat(2), which alone follows the symlink in /proc.
    os.link(_unnamed(fd), base, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=True)


def _unnamed(fd: int) -> bytes:
    return b"/proc/self/fd/%d" % fd


def _flush_directory(directory: int) -> None:
    fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
