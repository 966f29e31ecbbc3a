"""A tar becomes a layer: an Inode for every member, no file bytes.

::

    tar_source ──> tar_member.Reader ──> Member ──> the tree ──> root Inode
    (file, pipe,   (tar_header,          (a value)  (names, links, duplicates: here;
     compressed)    tar_records,                     tar_xattrs)
                    tar_sparse)

How names become places:

* ``.`` and empty components and a leading slash are dropped: an absolute name is a name from the image's
  root. A ``..`` is refused, in names and in the targets of hard links.
* A component that is a symlink of this archive is followed inside the tree, as the kernel would with the
  image's root as ``/``; so nothing is ever outside. It must lead to a directory of this archive.
* Directories that no member describes are made, and marked implicit; so is the root without a ``./``.

How members of one name combine: the last one wins; two directories become one, with the last one's
metadata; a directory over a symlink to a directory means that directory; any other meeting of a directory
and something else is an error. A hard link is another name of an earlier member, whatever becomes of that
member's name later. What symlinks point to is free text, and kept.

Three things wait for the last member: excluded paths are taken out, so that a name that stays may be a
hard link to one that goes; ACLs that name users without their numbers are looked up in the archive's own
etc/passwd and etc/group; and holes are detected, for which the spool must be readable.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from typing import BinaryIO

from imgwriter.errors import FormatError, SourceError, show
from imgwriter.filedata import Concatenated
from imgwriter.tree import holes, posix_acl
from imgwriter.tree.accounts import Accounts
from imgwriter.tree.exclude import Exclusion
from imgwriter.tree.holes import Holes
from imgwriter.tree.inventory import NO_XATTRS, Inode
from imgwriter.tree.lookup import Lookup, kind, made_directory
from imgwriter.tree.rules import SourceRules
from imgwriter.tree.tar_errors import MalformedError, NumberlessError
from imgwriter.tree.tar_header import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    LINK,
    REGULAR,
    SYMLINK,
    check_target,
)
from imgwriter.tree.tar_member import Member, Reader
from imgwriter.tree.tar_records import Records
from imgwriter.tree.tar_source import STANDARD_INPUT, TarSource, open_source
from imgwriter.tree.tar_xattrs import acl_records, xattrs

_TYPES = {
    REGULAR: stat.S_IFREG,
    SYMLINK: stat.S_IFLNK,
    CHARACTER: stat.S_IFCHR,
    BLOCK_DEVICE: stat.S_IFBLK,
    DIRECTORY: stat.S_IFDIR,
    FIFO: stat.S_IFIFO,
}
_ODD_NAMES = (b"", b".", b"..")
_ONE = "; leave one of them out"


def read(
    source: bytes | BinaryIO,
    rules: SourceRules,
    *,
    spool_directory: bytes | None = None,
    origin: str = "",
) -> Inode:
    """Read all of a tar, plain or compressed by gzip, xz, zstd or bzip2.

    Args:
        source: The archive's path, ``-`` for standard input, or a binary stream, which need not be seekable.
        rules: What to leave out, and what becomes of holes; owners are always the archive's own.
        spool_directory: Where the contents of a compressed or streamed archive are kept until the image
            is written; None: where temporary files go.
        origin: What to call it in messages; ``tar PATH`` when empty.

    Returns:
        The root of the layer. The files' data keep the archive or the spool open.

    Raises:
        SourceError: It cannot be read, or a member has no place in a tree.
        SourceChangedError: It changed meanwhile.
        FormatError: It is damaged or cut off.
        OutputError: The spool cannot be written.
    """
    origin = origin or _origin(source)
    tree = _Tree(rules, origin)
    with open_source(source, origin, spool_directory) as archive:
        _scan(archive, tree)
    return tree.finish()


def _scan(archive: TarSource, tree: _Tree) -> None:
    """Put every member of an archive into a tree."""
    reader = Reader(archive)
    try:
        for member in reader:
            tree.add(member)
    except MalformedError as error:
        where = f"{show(reader.name)} (header at byte {reader.offset:,}): " if reader.name else ""
        raise FormatError(f"{tree.origin}: {where}{error}", show(reader.name), reader.offset) from None
    archive.finish()


def _origin(source: bytes | BinaryIO) -> str:
    if isinstance(source, bytes) and source != STANDARD_INPUT:
        return f"tar {show(source)}"
    return "the tar on standard input"


class _Tree:
    """The tree that members are added to, one after the other."""

    __slots__ = (
        "_directory",
        "_known_xattrs",
        "_lookup",
        "_parent",
        "_rules",
        "_undetected",
        "_unnamed",
        "origin",
        "root",
    )

    def __init__(self, rules: SourceRules, origin: str) -> None:
        self._rules = rules
        self.origin = origin
        self.root = made_directory(origin)
        self._lookup = Lookup(self.root)
        # The members of a directory come together: the last one's is kept, by its name in the archive.
        self._directory = b""
        self._parent = self.root
        self._known_xattrs: dict[tuple[tuple[bytes, bytes], ...], Mapping[bytes, bytes]] = {}
        self._undetected: list[Inode] = []
        self._unnamed: list[tuple[Inode, bytes, Records]] = []

    def add(self, member: Member) -> None:
        """Put a member into the tree.

        Raises:
            SourceError: It has no place there.
            MalformedError: Its attributes are damaged.
        """
        directory, _, name = member.name.rpartition(b"/")
        if name in _ODD_NAMES:
            *parents, name = self._names(member.name, member) or [b""]
            directory = b"/".join(parents)
        if directory == self._directory:
            parent = self._parent
        else:
            parent = self._make_directories(directory, member)
            self._directory, self._parent = directory, parent
        if member.kind == DIRECTORY:
            self._add_directory(parent, name, member)
        elif not name:
            raise self._refused(member, "is the archive's root, and no directory; leave it out")
        else:
            inode = self._linked(member) if member.kind == LINK else self._inode(member)
            self._add_leaf(parent, name, inode, member)

    def finish(self) -> Inode:
        """Do what must wait for the last member, and return the root."""
        accounts = Accounts(self.root)
        for inode, name, records in self._unnamed:
            _set_xattrs(inode, self._named_xattrs(accounts, name, records))
        if self._rules.exclude:
            _prune(self.root, self._rules.exclude)
        for inode in self._undetected:
            if inode.data is not None:
                inode.runs = holes.detect(inode.data, inode.runs)
        return self.root

    def _names(self, path: bytes, member: Member) -> list[bytes]:
        """Return the components of ``path`` that say something."""
        names = [name for name in path.split(b"/") if name != b"" and name != b"."]
        if b".." in names:
            raise self._refused(member, "has a '..' in its name or link; archive it from the directory above")
        return names

    def _make_directories(self, directory: bytes, member: Member) -> Inode:
        """Return the directory a member is in; make what is missing."""
        names = self._names(directory, member)
        try:
            return self._lookup.make_directories(names, self.origin)
        except SourceError as error:
            raise self._refused(member, f"has no place: {error}") from None

    def _add_directory(self, parent: Inode, name: bytes, member: Member) -> None:
        assert parent.entries is not None
        inode = parent.entries.get(name) if name else self.root
        if inode is None:
            inode = parent.entries[name] = Inode(stat.S_IFDIR, origin=self.origin)
        elif stat.S_ISLNK(inode.mode):
            inode = self._make_directories(member.name, member)
        elif inode.entries is None:
            raise self._refused(
                member, f"is a directory, and an earlier member of that name a {kind(inode)}{_ONE}"
            )
        inode.mode = stat.S_IFDIR | member.mode
        inode.uid, inode.gid, inode.mtime_ns = member.uid, member.gid, member.mtime_ns
        inode.implicit = False
        _set_xattrs(inode, self._xattrs(inode, member))

    def _add_leaf(self, parent: Inode, name: bytes, inode: Inode, member: Member) -> None:
        assert parent.entries is not None
        before = parent.entries.get(name)
        if before is not None:
            if before.entries is not None:
                raise self._refused(
                    member, f"is a {kind(inode)}, and an earlier member has a directory of that name{_ONE}"
                )
            # The directory remembered may have been reached through a symlink that goes now.
            self._directory, self._parent = b"", self.root
        parent.entries[name] = inode

    def _inode(self, member: Member) -> Inode:
        """Return a new Inode for anything but a directory or a hard link."""
        inode = Inode(
            _TYPES[member.kind] | member.mode,
            member.uid,
            member.gid,
            member.mtime_ns,
            size=member.size,
            data=member.data,
            rdev=member.device,
            origin=self.origin,
        )
        if member.records:
            _set_xattrs(inode, self._xattrs(inode, member))
        if member.kind == SYMLINK:
            check_target(member.link)
            inode.target = member.link
            inode.size = len(member.link)
        elif member.size:
            self._set_holes(inode, member)
        return inode

    def _set_holes(self, inode: Inode, member: Member) -> None:
        if self._rules.holes is Holes.FILL:
            if inode.data is None:
                inode.data = Concatenated((), member.size)
            return
        inode.runs = member.runs
        if self._rules.holes is Holes.DETECT:
            self._undetected.append(inode)

    def _linked(self, member: Member) -> Inode:
        """Return the Inode that a hard link is another name of."""
        *parents, name = self._names(member.link, member) or [b""]
        try:
            inode = (self._lookup.follow(parents).entries or {}).get(name)
        except SourceError:
            inode = None
        if inode is None:
            raise self._refused(
                member, f"is a hard link to {show(member.link)}, no earlier member; archive both in one tar"
            )
        if inode.entries is not None:
            raise self._refused(
                member, f"is a hard link to the directory {show(member.link)}; make it a symlink"
            )
        return inode

    def _xattrs(self, inode: Inode, member: Member) -> Mapping[bytes, bytes]:
        records = member.records
        if not records or self._rules.xattrs.keeps_nothing:
            return NO_XATTRS
        try:
            return self._shared(xattrs(records, self._rules.xattrs.keep, _number_of_root))
        except NumberlessError:
            self._unnamed.append((inode, member.name, acl_records(records)))
            return NO_XATTRS

    def _named_xattrs(self, accounts: Accounts, name: bytes, records: Records) -> Mapping[bytes, bytes]:
        def number(word: bytes, owner: bytes) -> int:
            text = owner.decode("utf-8", "surrogateescape")
            return accounts.uid(text) if word == b"user" else accounts.gid(text)

        try:
            return self._shared(xattrs(records, self._rules.xattrs.keep, number))
        except (SourceError, MalformedError) as error:
            raise SourceError(
                f"{self.origin}: the ACL of {show(name)} cannot be kept: {error}, "
                "or archive it with --numeric-owner or without ACLs",
                name,
            ) from None

    def _shared(self, found: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """Return one object for all equal sets of attributes."""
        return self._known_xattrs.setdefault(tuple(found.items()), found) if found else NO_XATTRS

    def _refused(self, member: Member, why: str) -> SourceError:
        return SourceError(f"{self.origin}: {show(member.name)} {why}", member.name)


def _set_xattrs(inode: Inode, attributes: Mapping[bytes, bytes]) -> None:
    inode.xattrs = attributes
    if posix_acl.ACCESS in attributes:
        bits = posix_acl.permissions(attributes[posix_acl.ACCESS])
        if bits is not None:
            inode.mode = inode.mode & ~0o777 | bits


def _number_of_root(word: bytes, name: bytes) -> int:
    """Return 0 for root, which every system knows; others must wait for the archive's account files."""
    if name == b"root":
        return 0
    raise NumberlessError(f"the ACL names the {word.decode()} {show(name)} without a number")


def _prune(root: Inode, exclude: Exclusion) -> None:
    """Take out every name that is excluded."""
    stack = [(b"", root)]
    while stack:
        prefix, directory = stack.pop()
        kept = {}
        for name, inode in (directory.entries or {}).items():
            path = prefix + name
            if not exclude.matches(path, inode.entries is not None):
                kept[name] = inode
                if inode.entries is not None:
                    stack.append((path + b"/", inode))
        directory.entries = kept
