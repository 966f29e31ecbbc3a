"""A tree as a tar: what its members say, and that other readers get the tree back."""

from __future__ import annotations

import base64
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from imgwriter import sink
from imgwriter.errors import FormatError
from imgwriter.examine.archive import Archive, archive
from imgwriter.tree import posix_acl, tarball
from imgwriter.tree.inventory import Inode, Inventory, Run
from imgwriter.tree.rules import SourceRules
from imgwriter.tree.xattrs import XattrPolicy
from tests import trees
from tests.compat.ext4_images import ACL, everything
from tests.oracles import inodes
from tests.oracles.snapshot import Snapshot, difference, of_tar

NOBODY = 0xFFFFFFFE


def archived(entries: dict[bytes, Inode]) -> Archive:
    return archive(trees.inventory(entries))


def members(entries: dict[bytes, Inode]) -> dict[str, tarfile.TarInfo]:
    """Return the members, as the standard library reads them."""
    volume = archived(entries).volume
    with tarfile.open(fileobj=io.BytesIO(volume.read(0, volume.size)), errors="surrogateescape") as tar:
        return {member.name: member for member in tar}


def odd() -> dict[bytes, Inode]:
    """Return entries for which ustar's fields are too small, or whose records are rare."""
    default = trees.directory({b"in": trees.file(b"x")})
    default.xattrs = {posix_acl.DEFAULT: ACL, posix_acl.ACCESS: ACL}
    default.mode = stat.S_IFDIR | 0o640
    return {
        b"d" * 200: trees.directory(
            {b"\xff" * 120: trees.file(b"inner"), b"long": trees.symlink(b"t" * 150)}
        ),
        b"100" + b"-" * 95: trees.file(b"100 bytes with ./"),
        b"101" + b"-" * 96: trees.file(b"101 bytes with ./"),
        b"acls": default,
        b"before 1970": trees.file(b"x", mtime_ns=-(10**18) + 999_999_999),
        b"after 2242": trees.file(b"x", mtime_ns=2**33 * 10**9),
        b"last of ustar": trees.file(b"x", mtime_ns=(2**33 - 1) * 10**9),
        b"year 1969": trees.file(b"x", mtime_ns=-(10**9)),
        b"nanoseconds": trees.file(b"x", mtime_ns=1),
        b"owners": trees.file(b"x", uid=NOBODY, gid=2**21),
        b"owners of ustar": trees.file(b"x", uid=2**21 - 1, gid=2**21 - 1),
        b"values": trees.file(
            b"x", xattrs={b"user.empty": b"", b"user.odd": b"\0=\n\xff", "user.é".encode(): b"u"}
        ),
        b"sparse end": trees.zeros(1_000_000, ((0, 4096), (8192, 12_288))),
        b"sparse tail": trees.zeros(12_000, ((8192, 12_000),)),
        b"sparse in the middle": trees.zeros(1 << 40, ((1 << 39, (1 << 39) + 4096),)),
        b"sparse of many runs": trees.zeros(8 << 20, [(n * 8192, n * 8192 + 4096) for n in range(1000)]),
    }


def read_back(path: Path) -> Snapshot:
    """Return a tar as imgwriter's own reader sees it."""
    rules = SourceRules(xattrs=XattrPolicy.parse("all"))
    return inodes.of_tree(Inventory(tarball.read(os.fsencode(path), rules)).root)


def test_the_same_tree_comes_out(tmp_path: Path) -> None:
    """The file of a TiB is left out: its bytes would be read."""
    entries = everything() | odd()
    entries[b"acl"].mode = stat.S_IFREG | 0o640
    del entries[b"sparse in the middle"]
    tree = trees.inventory(entries)
    planned = archive(tree)
    sink.write(planned.volume, tmp_path / "x.tar")
    expected = inodes.of_tree(tree.root)
    del expected[b"socket"]
    assert (planned.sockets, planned.first_socket) == (1, b"socket")
    assert difference(expected, read_back(tmp_path / "x.tar")) == []
    # The standard library knows no ACLs.
    without = {
        path: entry._replace(xattrs={k: v for k, v in entry.xattrs.items() if not k.startswith("system.")})
        for path, entry in expected.items()
    }
    assert difference(without, of_tar(tmp_path / "x.tar")) == []


def test_holes_take_no_room_and_come_back() -> None:
    entries = odd()
    volume = archived({name: entries[name] for name in entries if name.startswith(b"sparse")}).volume
    assert volume.allocated < 5 << 20
    rules = SourceRules(xattrs=XattrPolicy.parse("all"))
    content = volume.read(0, volume.size)
    root = tarball.read(io.BytesIO(content), rules)
    for name, inode in (root.entries or {}).items():
        assert (inode.size, inode.runs) == (entries[name].size, tuple(entries[name].runs or ())), name


@pytest.mark.parametrize(
    ("size", "runs", "expected"),
    [
        (1_000_000, ((0, 4096), (8192, 12_288)), "3 0 4096 8192 4096 1000000 0"),
        (12_000, ((8192, 12_000),), "1 8192 3808"),
        (5_000, (), "1 5000 0"),
        (5_000, ((100, 200), (300, 1000)), "2 0 1024 5000 0"),
    ],
)
def test_maps_of_sparse_files(size: int, runs: tuple[Run, ...], expected: str) -> None:
    """A last entry without data tells the size. Spec: GNU tar 1.34, "Storing Sparse Files"; sparse.c."""
    volume = archived({b"f": trees.zeros(size, runs)}).volume
    content = volume.read(0, volume.size)
    at = content.index(b"\0" * 12, content.index(b"./GNUSparseFile.0/f") + 300) // 512 * 512 + 512
    assert content[at : at + 512].rstrip(b"\0").decode().split("\n")[:-1] == expected.split()


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        (b"100" + b"-" * 95, set()),
        (b"101" + b"-" * 96, {"path"}),
        (b"before 1970", {"mtime"}),
        (b"year 1969", {"mtime"}),
        (b"after 2242", {"mtime"}),
        (b"last of ustar", set()),
        (b"nanoseconds", {"mtime"}),
        (b"owners", {"uid", "gid"}),
        (b"owners of ustar", set()),
    ],
)
def test_records_are_written_where_fields_are_too_small(name: bytes, keys: set[str]) -> None:
    """Spec: POSIX.1-2017, pax, ustar Interchange Format: 100 bytes, 7 and 11 octal digits."""
    (member,) = (m for m in members({name: odd()[name]}).values() if m.isreg())
    assert set(member.pax_headers) == keys


def test_a_size_beyond_8_gib_has_a_record() -> None:
    for size, keys in (((1 << 33) - 1, set()), (1 << 33, {"size"})):
        inventory = trees.inventory({b"f": trees.zeros(size)})
        volume = archive(inventory).volume
        head = volume.read(0, 4096)
        info = tarfile.TarInfo.frombuf(head[512:1024], "utf-8", "strict")
        assert (info.type == tarfile.XHDTYPE) == bool(keys)
        assert (b" size=%d\n" % size in head) == bool(keys)
        assert volume.size > size


def test_names_that_are_no_text_are_said_to_be_binary() -> None:
    """libarchive refuses a path record that is no UTF-8, unless hdrcharset says so."""
    found = members({b"\xff" * 120: trees.file(), b"\xff": trees.file(), b"u" * 120: trees.file()})
    assert [m.pax_headers.get("hdrcharset") for m in found.values()] == [None, None, None, "BINARY"]


@pytest.mark.parametrize("name", [b"user.a=b", b"user.50%"])
def test_attributes_whose_names_gnu_tar_would_escape(name: bytes) -> None:
    found = members({b"f": trees.file(xattrs={name: b"value"})})["./f"].pax_headers
    (key,) = found
    assert key.startswith("LIBARCHIVE.xattr.user.") and "%" in key
    assert base64.b64decode(found[key] + "==") == b"value"


@pytest.mark.parametrize(
    ("value", "keyword"),
    [
        (ACL, "SCHILY.acl.access"),
        # user::rwx group::r-x other::r-x: no more than the mode, so that no reader makes an attribute of it
        (
            bytes.fromhex("0200000001000700ffffffff04000500ffffffff20000500ffffffff"),
            "SCHILY.xattr.system.posix_acl_access",
        ),
        (b"\x02\0\0\0" + b"\x40\0\7\0" + b"\xff" * 4, "SCHILY.xattr.system.posix_acl_access"),
        (b"\x01\0\0\0", "SCHILY.xattr.system.posix_acl_access"),
        (b"", "SCHILY.xattr.system.posix_acl_access"),
    ],
)
def test_acls_are_text_where_that_says_all(value: bytes, keyword: str) -> None:
    found = members({b"f": trees.file(xattrs={posix_acl.ACCESS: value})})["./f"].pax_headers
    assert list(found) == [keyword]
    if value is ACL:
        assert found[keyword] == "user::rw-,user:70000:r--,group::r--,mask::r--,other::---"


def test_members_of_a_directory_follow_it() -> None:
    linked = trees.file(b"x")
    inner = trees.directory({b"z": linked})
    found = members({b"a": linked, b"d": inner, b"e": trees.file()})
    assert list(found) == [".", "./a", "./d", "./d/z", "./e"]
    assert found["./d/z"].islnk() and found["./d/z"].linkname == "./a"


def test_a_hard_link_that_comes_first_is_the_file() -> None:
    linked = trees.file(b"x")
    found = members({b"d": trees.directory({b"z": linked}), b"e": linked})
    assert found["./d/z"].isreg() and found["./e"].linkname == "./d/z"


def test_hard_links_to_a_socket_are_left_out() -> None:
    socket = trees.file()
    socket.mode = stat.S_IFSOCK | 0o600
    planned = archived({b"s": socket, b"t": socket, b"d": trees.directory({b"s": socket})})
    assert (planned.sockets, planned.first_socket) == (3, b"d/s")


def test_the_end() -> None:
    """Two blocks of zeros, in records of 20 blocks. Spec: POSIX.1-2017, pax, ustar Interchange Format."""
    assert archived({}).volume.size == 10_240
    # The root and the file take 1,024 bytes, the end as many.
    sizes = {length: archived({b"f": trees.file(b"x" * length)}).volume.size for length in (8192, 8193)}
    assert sizes == {8192: 10_240, 8193: 20_480}


def test_the_same_bytes_whatever_the_order() -> None:
    entries = everything()
    first = archived(entries).volume
    second = archived(dict(reversed(everything().items()))).volume
    assert first.read(0, first.size) == second.read(0, second.size)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b"])
def test_names_that_no_file_can_have(name: bytes) -> None:
    with pytest.raises(FormatError, match="which no file can have"):
        archived({name: trees.file()})
