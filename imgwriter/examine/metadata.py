"""What a file that was extracted has besides its contents: owner, mode, extended attributes, times.

What needs a privilege that is missing, or has no form on the host, is left out, counted, and
told. A file whose owner is not the image's gets no set-user-ID, set-group-ID or capability: it would lend the
rights of somebody else.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from imgwriter.errors import show
from imgwriter.tree.inventory import Inode
from imgwriter.units import counted

_NO_ID = 0xFFFF_FFFF
"""What chown(2) takes for "leave it"."""
_LENT = stat.S_ISUID | stat.S_ISGID
_CAPABILITY = b"security.capability"
_NOT_ALLOWED = (errno.EPERM, errno.EACCES, errno.EINVAL)
_NOT_KNOWN = (*_NOT_ALLOWED, errno.EOPNOTSUPP, errno.ERANGE, errno.E2BIG)


class LeftOut(NamedTuple):
    """What could not be made.

    Attributes:
        what: In the plural.
        files: How many files lack it.
        first: The path of the first.
    """

    what: str
    files: int
    first: bytes

    def __str__(self) -> str:
        files = counted(self.files, "file")
        return f"{self.what} of {files} were left out, first of {show(self.first) or '/'}"


class Metadata:
    """Gives files their metadata.

    Args:
        owners: Whether they get the image's owners.

    Attributes:
        left_out: What could not be done, by what it is.
    """

    def __init__(self, owners: bool) -> None:
        self.owners = owners
        self.left_out: dict[str, LeftOut] = {}

    def set(self, target: int | bytes, inode: Inode) -> None:
        """Give a file what it has besides contents; its owner first, since chown(2) clears bits.

        Args:
            target: A descriptor, or a path that leads to the very file, a symlink not followed.
            inode: What it shall have.

        Raises:
            OSError: The host does not take it.
        """
        owned = self._set_owner(target, inode)
        if not stat.S_ISLNK(inode.mode):
            mode = stat.S_IMODE(inode.mode)
            if not owned and mode & _LENT and inode.entries is None:
                self.leave_out("set-user-ID and set-group-ID bits", inode)
                mode &= ~_LENT
            os.chmod(target, mode)
        for name, value in sorted(inode.xattrs.items()):
            self._set_xattr(target, inode, name, value, owned)
        os.utime(target, ns=(inode.mtime_ns, inode.mtime_ns))

    def _set_owner(self, target: int | bytes, inode: Inode) -> bool:
        if not self.owners:
            return False
        try:
            if _NO_ID in (inode.uid, inode.gid):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            os.chown(target, inode.uid, inode.gid)
        except OSError as error:
            if error.errno not in _NOT_ALLOWED:
                raise
            self.leave_out("owners", inode)
            return False
        return True

    def _set_xattr(self, target: int | bytes, inode: Inode, name: bytes, value: bytes, owned: bool) -> None:
        try:
            if name == _CAPABILITY and not owned:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
            os.setxattr(target, name, value)
        except OSError as error:
            # ext4 says that there is no space where an attribute is larger than a block.
            too_large = error.errno == errno.ENOSPC and os.statvfs(target).f_bfree
            if error.errno not in _NOT_KNOWN and not too_large:
                raise
            self.leave_out(f"{show(name.partition(b'.')[0])}.* attributes", inode)

    def leave_out(self, what: str, inode: Inode) -> None:
        """Count a file that something was left out of."""
        before = self.left_out.get(what, LeftOut(what, 0, inode.path))
        self.left_out[what] = before._replace(files=before.files + 1)
