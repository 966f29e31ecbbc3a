"""A tree as values, from a host directory, a tar, or a guest's report: what two of them must agree on."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

_NONE: Mapping[str, bytes] = MappingProxyType({})


class Entry(NamedTuple):
    """One name of a tree.

    Attributes:
        mode: Type and permissions, as st_mode.
        size: Bytes of a regular file or of a symlink's target, else 0.
        sha256: Of a regular file's content, in hexadecimal, else "".
        target: A symlink's, else b"".
        device: (major, minor) of a device node, else (0, 0).
        same_as: The first, by bytes, of the names of this inode; the name itself without hard links.
    """

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    sha256: str
    target: bytes
    device: tuple[int, int]
    same_as: bytes
    xattrs: Mapping[str, bytes] = _NONE


Snapshot = dict[bytes, Entry]
"""Path inside the tree, without a leading slash, the root b"" included -> Entry."""


def difference(expected: Snapshot, actual: Snapshot) -> list[str]:
    """Return a line for each path and field in which two trees differ."""
    lines = [f"missing: {path!r}" for path in sorted(expected.keys() - actual.keys())]
    lines += [f"not expected: {path!r}" for path in sorted(actual.keys() - expected.keys())]
    for path in sorted(expected.keys() & actual.keys()):
        for field, one, other in zip(Entry._fields, expected[path], actual[path], strict=True):
            if one != other:
                lines.append(f"{path!r}: {field}: expected {one!r}, found {other!r}")
    return lines


def of_directory(top: Path) -> Snapshot:
    """Return the tree under a host directory."""
    root = os.fsencode(top)
    statuses = {b"": os.lstat(root)}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            statuses[os.path.relpath(path, root)] = os.lstat(path)
    first = _first_names({path: (s.st_dev, s.st_ino) for path, s in statuses.items()})
    return {path: _of_status(os.path.join(root, path), s, first[path]) for path, s in statuses.items()}


def of_source(top: Path, found: Snapshot) -> Snapshot:
    """Return what a root file system made of a host directory has to hold, given what was found in it.

    That is the directory's tree, and the lost+found that mke2fs makes too: 0700, and imgwriter's own time.
    """
    lost = found[b"lost+found"]
    assert (lost.mode, lost.uid, lost.gid) == (stat.S_IFDIR | 0o700, 0, 0)
    return of_directory(top) | {b"lost+found": lost}


def _first_names(identities: Mapping[bytes, object]) -> dict[bytes, bytes]:
    first: dict[object, bytes] = {}
    for path in sorted(identities):
        first.setdefault(identities[path], path)
    return {path: first[identity] for path, identity in identities.items()}


def _of_status(path: bytes, status: os.stat_result, same_as: bytes) -> Entry:
    regular, link = stat.S_ISREG(status.st_mode), stat.S_ISLNK(status.st_mode)
    node = stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode)
    names = os.listxattr(path, follow_symlinks=False)
    return Entry(
        mode=status.st_mode,
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        size=status.st_size if regular or link else 0,
        sha256=_sha256(path) if regular else "",
        target=os.readlink(path) if link else b"",
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if node else (0, 0),
        same_as=same_as,
        xattrs={name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(names)},
    )


def _sha256(path: bytes) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_TAR_TYPES = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.AREGTYPE: stat.S_IFREG,
    tarfile.GNUTYPE_SPARSE: stat.S_IFREG,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


def of_tar(path: Path) -> Snapshot:
    """Return the tree in a tar, by the standard library's reader."""
    result: Snapshot = {}
    links: dict[bytes, bytes] = {}
    with tarfile.open(path, errors="surrogateescape") as tar:
        for member in tar:
            name = _tar_name(member.name)
            if member.islnk():
                links[name] = _tar_name(member.linkname)
            else:
                result[name] = _of_member(tar, member, name)
    result |= {name: result[target] for name, target in links.items()}
    first = _first_names({name: links.get(name, name) for name in result})
    return {name: entry._replace(same_as=first[name]) for name, entry in result.items()}


def _tar_name(name: str) -> bytes:
    text = os.fsencode(name).strip(b"/")
    return b"" if text == b"." else text.removeprefix(b"./")


def _of_member(tar: tarfile.TarFile, member: tarfile.TarInfo, name: bytes) -> Entry:
    content = tar.extractfile(member) if member.isreg() else None
    target = os.fsencode(member.linkname) if member.issym() else b""
    prefix = "SCHILY.xattr."
    xattrs = {
        key.removeprefix(prefix): value.encode("utf-8", "surrogateescape")
        for key, value in member.pax_headers.items()
        if key.startswith(prefix)
    }
    seconds = member.pax_headers.get("mtime")
    return Entry(
        mode=_TAR_TYPES[member.type] | member.mode,
        uid=member.uid,
        gid=member.gid,
        mtime_ns=_nanoseconds(seconds) if seconds else int(member.mtime) * 10**9,
        size=member.size if content else len(target),
        sha256=hashlib.sha256(content.read()).hexdigest() if content else "",
        target=target,
        device=(member.devmajor, member.devminor) if member.ischr() or member.isblk() else (0, 0),
        same_as=name,
        xattrs=xattrs,
    )


def _nanoseconds(text: str) -> int:
    """Return a decimal number of seconds in nanoseconds, exactly."""
    seconds, _, fraction = text.partition(".")
    below = int((fraction + "0" * 9)[:9])
    return int(seconds) * 10**9 + (-below if text.startswith("-") else below)


SECTION = b"\n--\n\0"
"""What stands between the parts of a guest's report."""
END = b"\n==\n\0"
"""What stands after each report."""


def parse(report: bytes) -> Snapshot:
    """Return the tree that a guest's ``snapshot`` function reported.

    Four sections, SECTION after each but the last: stat, symlinks, sums, xattrs.
    """
    stats, links, sums, xattrs = report.split(SECTION, 3)
    targets = _pairs(links.split(b"\0"))
    digests = {_relative(line[66:]): line[:64].decode() for line in sums.split(b"\0") if line}
    attributes = _parse_getfattr(xattrs)
    rows = [record.split(b" ", 9) for record in stats.split(b"\0") if record]
    first = _first_names({_relative(row[9]): row[8] for row in rows})
    result: Snapshot = {}
    for mode_hex, uid, gid, size, mtime, major, minor, _, _, name in rows:
        path, mode = _relative(name), int(mode_hex, 16)
        node = stat.S_ISBLK(mode) or stat.S_ISCHR(mode)
        result[path] = Entry(
            mode=mode,
            uid=int(uid),
            gid=int(gid),
            mtime_ns=_nanoseconds(mtime.decode()),
            size=int(size) if stat.S_ISREG(mode) or stat.S_ISLNK(mode) else 0,
            sha256=digests.get(path, ""),
            target=targets.get(path, b""),
            device=(int(major, 16), int(minor, 16)) if node else (0, 0),
            same_as=first[path],
            xattrs=attributes.get(path, {}),
        )
    return result


def _relative(name: bytes) -> bytes:
    return b"" if name == b"." else name.removeprefix(b"./")


def _pairs(fields: list[bytes]) -> dict[bytes, bytes]:
    pairs = zip(fields[::2], fields[1::2], strict=False)
    return {_relative(name): target for name, target in pairs if name}


def _parse_getfattr(text: bytes) -> dict[bytes, dict[str, bytes]]:
    """Return {path: {name: value}} of ``getfattr -d -e hex``, which writes odd bytes of names in octal."""
    result: dict[bytes, dict[str, bytes]] = {}
    current: dict[str, bytes] = {}
    for line in text.splitlines():
        if line.startswith(b"# file: "):
            current = result.setdefault(_relative(_unescape(line.removeprefix(b"# file: "))), {})
        elif b"=0x" in line:
            name, _, value = line.partition(b"=0x")
            current[_unescape(name).decode()] = bytes.fromhex(value.decode())
        elif line:
            current[_unescape(line).decode()] = b""
    return result


def _unescape(text: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), text)
