"""Whatever is done to an archive, reading it ends in a tree or in one sentence."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from imgwriter.errors import ImgwriterError
from imgwriter.tree import tarball
from imgwriter.tree.holes import Holes
from imgwriter.tree.inventory import Inventory
from imgwriter.tree.rules import SourceRules
from tests.unit.tree.test_tarball import END, header, member, padded, pax

pytestmark = pytest.mark.property

ACL = (b"SCHILY.acl.access", b"user::rw-,user:joe:r--,group::r--,mask::r--,other::---")
ARCHIVE = b"".join(
    [
        header(b"./", b"5"),
        pax((b"comment", b"x"), (b"uid", b"3"), typeflag=b"g"),
        pax((b"path", b"d/long name"), (b"mtime", b"-1.25"), (b"SCHILY.xattr.user.x", b"\0\xff"), ACL),
        member(b"d/long", b"some contents"),
        header(b"hard", b"1", link=b"d/long name"),
        header(b"soft", b"2", link=b"d"),
        header(b"soft/beneath", b"3", major=b"0000005", minor=b"0000001"),
        member(b"././@LongLink", b"n" * 120 + b"\0", b"L", magic=b"ustar  \0"),
        member(b"n" * 100, b"x" * 600),
        pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9000"), (b"GNU.sparse.name", b"s")),
        member(b"GNUSparseFile.1/s", padded(b"2\n0\n3\n8192\n5\n") + b"abcdefgh"),
        header(
            b"o",
            b"S",
            size=b"%011o" % 3,
            magic=b"ustar  \0",
            tail=bytes(41) + (b"%011o\0%011o\0" % (5, 3)).ljust(97, b"\0") + b"%011o\0" % 90,
        ),
        padded(b"xyz"),
        member(b"etc/passwd", b"joe:x:7:7:::\n"),
        END,
    ]
)


def sums_made_right(archive: bytearray) -> bytes:
    """Give every block that had a header its right checksum again, so that damage gets past it."""
    for start in range(0, len(ARCHIVE), 512):
        block = archive[start : start + 512]
        if ARCHIVE[start + 257 : start + 262] == b"ustar" and len(block) == 512:
            block[148:156] = b" " * 8
            archive[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    return bytes(archive)


def outcome(archive: bytes, holes: Holes = Holes.KEEP) -> list[tuple[bytes, int]] | str:
    """Return the tree or the refusal; from a file and from a stream it has to be the same."""
    rules = SourceRules(holes=holes)
    results: list[list[tuple[bytes, int]] | str] = []
    with tempfile.NamedTemporaryFile() as file:
        file.write(archive)
        file.flush()
        for source in (os.fsencode(file.name), io.BytesIO(archive)):
            try:
                root = tarball.read(source, rules, origin="x.tar")
            except ImgwriterError as error:
                assert "\n" not in str(error) and str(error).startswith("x.tar")
                results.append(str(error))
            else:
                results.append([(path, inode.size) for path, inode in Inventory(root).walk()])
    assert results[0] == results[1]
    return results[0]


def test_the_archive_itself_is_read() -> None:
    tree = outcome(ARCHIVE)
    assert isinstance(tree, list)
    names = [path for path, _ in tree]
    assert names[0] == b"" and {b"s", b"o", b"d/beneath", b"hard", b"n" * 120} <= set(names)


@pytest.mark.slow
def test_cut_off_at_every_byte() -> None:
    for cut in range(0, len(ARCHIVE) - 1024, 37):
        assert isinstance(outcome(ARCHIVE[:cut]), str)
    for cut in range(len(ARCHIVE) - 512, len(ARCHIVE), 37):
        assert isinstance(outcome(ARCHIVE[:cut]), list)


@given(
    st.lists(st.tuples(st.integers(0, len(ARCHIVE) - 1), st.integers(0, 255)), min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from(Holes),
)
def test_bytes_changed_anywhere(changes: list[tuple[int, int]], right: bool, holes: Holes) -> None:
    archive = bytearray(ARCHIVE)
    for position, value in changes:
        archive[position] = value
    outcome(sums_made_right(archive) if right else bytes(archive), holes)


HEADERS = [start for start in range(0, len(ARCHIVE), 512) if ARCHIVE[start + 257 : start + 262] == b"ustar"]
FIELDS = [
    (0, 100),
    (100, 8),
    (108, 8),
    (124, 12),
    (136, 12),
    (156, 1),
    (157, 100),
    (329, 8),
    (345, 155),
    (386, 97),
]


@given(st.sampled_from(HEADERS), st.sampled_from(FIELDS), st.data())
def test_fields_replaced(start: int, field: tuple[int, int], data: st.DataObject) -> None:
    offset, length = field
    octal = st.integers(0, 8 ** (length - 1) - 1).map(lambda n: b"%0*o\0" % (length - 1, n))
    path = st.lists(st.sampled_from([b"d", b"soft", b"..", b".", b"", b"hard", b"o"])).map(b"/".join)
    value = data.draw(st.one_of(st.binary(max_size=length), octal, path))[:length].ljust(length, b"\0")
    archive = bytearray(ARCHIVE)
    archive[start + offset : start + offset + length] = value
    outcome(sums_made_right(archive))


KEYWORDS = [
    *(b"path", b"linkpath", b"size", b"uid", b"mtime"),
    *(b"GNU.sparse.map", b"GNU.sparse.size", b"GNU.sparse.major", b"GNU.sparse.realsize"),
    *(b"SCHILY.acl.access", b"SCHILY.acl.default", b"LIBARCHIVE.xattr.user.x"),
]


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=12), st.binary(max_size=30)), max_size=4), st.data())
def test_any_pax_records(records: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    keyword = st.sampled_from(KEYWORDS)
    value = st.one_of(st.binary(max_size=20), st.from_regex(rb"\A[-0-9.,:rwxugom]{0,20}\Z"))
    known = data.draw(st.lists(st.tuples(keyword, value), max_size=4))
    clean = [(key.replace(b"=", b"-"), content) for key, content in records]
    outcome(pax(*clean, *known) + member(b"a", b"contents") + END)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
@given(data=st.data())
def test_compressed_archives_changed_anywhere(pack: Callable[[bytes], bytes], data: st.DataObject) -> None:
    packed = bytearray(pack(ARCHIVE))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    outcome(bytes(packed[: data.draw(st.integers(0, len(packed)))]))
