"""The pinned inputs: a tree as a directory, and a tar with what a directory cannot have without root.

Both are functions of this module alone: no clock, no randomness, no owner or umask of the host.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

TIME = 1_600_000_000
"""Seconds since the epoch on everything, and a little more on each next file."""


def noise(length: int, name: str) -> bytes:
    """Return bytes that no writer can compress or guess, the same for the same name everywhere."""
    return hashlib.shake_128(name.encode()).digest(length)


def text(length: int, name: str) -> bytes:
    """Return words in a random order, which zlib makes a fifth of, the same for the same name everywhere."""
    words = [noise(2 + number % 7, f"word {number}").hex().encode() for number in range(256)]
    return b" ".join(words[byte] for byte in noise(length // 4, name))[:length]


def files() -> dict[str, bytes]:
    """Return path and content of each regular file: empty, short, of whole blocks, long, many together."""
    contents = {
        "etc/hostname": b"pinned\n",
        "etc/empty": b"",
        "usr/bin/tool": noise(70_000, "tool"),
        "usr/lib/library.so.1": noise(3 << 20, "library"),
        "usr/share/block": noise(4096, "block"),
        "usr/share/block-and-one": noise(4097, "block and one"),
        "usr/share/naïve.txt": b"\xef\xbb\xbftext\r\n",
    }
    contents |= {f"usr/share/many/{n:03}-{'x' * (n % 90)}": b"%d\n" % n for n in range(500)}
    return contents


LINKS = {"usr/lib/library.so": "library.so.1", "bin": "usr/bin", "etc/long": "y" * 400}
"""Symlinks: fast ones and one that needs a block."""


def write_tree(root: Path, *, backwards: bool = False) -> None:
    """Make the tree; ``backwards`` makes its entries in the opposite order, so that readdir differs."""
    contents = files()
    paths = sorted({**contents, **LINKS}, reverse=backwards)
    for path in paths:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path in LINKS:
            target.symlink_to(LINKS[path])
        else:
            target.write_bytes(contents[path])
            target.chmod(0o755 if "bin/" in path else 0o644)
    with (root / "sparse").open("wb") as file:
        file.seek(5 << 20)
        file.write(noise(10_000, "sparse"))
    (root / "sparse").chmod(0o604)
    os.link(root / "etc/hostname", root / "etc/hard")
    _stamp(root)


def _stamp(root: Path) -> None:
    everything = sorted(root.rglob("*"), reverse=True)
    for number, path in enumerate([*everything, root]):
        nanoseconds = TIME * 10**9 + number * 1_000_000_007
        os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=False)
        if not path.is_symlink() and path.is_dir():
            path.chmod(0o755)


def write_tar(path: Path) -> None:
    """Make the tar: the files, and owners, modes, devices, xattrs, hard links and odd names besides."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for member, content in _members():
            archive.addfile(member, io.BytesIO(content))


def _members() -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    def member(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.mtime = kind, mode, TIME
        return info

    yield member("./", tarfile.DIRTYPE, 0o755), b""
    yield member("./tmp", tarfile.DIRTYPE, 0o1777), b""
    for name, content in files().items():
        info = member(f"./{name}")
        info.size, info.uid, info.gid = len(content), len(content) % 70_000, 100
        yield info, content
    for name, target in LINKS.items():
        info = member(f"./{name}", tarfile.SYMTYPE, 0o777)
        info.linkname = target
        yield info, b""
    for name, kind, numbers in (("null", tarfile.CHRTYPE, (1, 3)), ("vda", tarfile.BLKTYPE, (254, 300))):
        info = member(f"./dev/{name}", kind, 0o666)
        info.devmajor, info.devminor = numbers
        yield info, b""
    yield member("./run/pipe", tarfile.FIFOTYPE, 0o600), b""
    yield from _with_attributes(member("./usr/bin/ping", mode=0o4755))
    info = member("./usr/bin/ping-hard", tarfile.LNKTYPE)
    info.linkname = "./usr/bin/ping"
    yield info, b""
    info = member("./odd\nname\udcff")
    info.mtime = 5_000_000_000  # past 2038, and past 32 bits
    yield info, b""


def _with_attributes(info: tarfile.TarInfo) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    content = noise(9_000, "ping")
    info.size = len(content)
    info.pax_headers = {
        "SCHILY.xattr.user.comment": "short",
        "SCHILY.xattr.user.long": "z" * 900,
        "mtime": f"{TIME}.123456789",
    }
    yield info, content
