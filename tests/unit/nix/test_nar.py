"""nix.nar: NARs by the grammar become trees and back; all else is refused with its place."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path

import pytest

from imgwriter.errors import SourceChangedError, SourceError
from imgwriter.extent import CHUNK, Bytes
from imgwriter.nix import nar
from imgwriter.nix.wire import Sum
from imgwriter.tree import directory
from imgwriter.tree.inventory import Inode
from imgwriter.tree.rules import SourceRules
from tests import trees
from tests.unit.nix.nars import (
    EMPTY_DIRECTORY,
    Link,
    Program,
    Tree,
    entry,
    integer,
    node,
    serialise,
    text,
    words,
)

SMALL: Tree = {
    b"bin": {b"sh": Program(b"#!\n"), b"zsh": Link(b"sh")},
    b"a": b"",
    b"b": b"12345678",
    b"c": b"123456789",
    b"empty": EMPTY_DIRECTORY,
    b"sp ace\n\xff": b"x" * 5000,
}
NAR = serialise(SMALL)
MAGIC = text(b"nix-archive-1")


def sum_of(content: bytes) -> Sum:
    return Sum(hashlib.sha256(content).digest(), len(content))


def tree_of(inode: Inode) -> Tree:
    """Return what an Inode holds, in the words of the grammar; its metadata has to be the store's."""
    assert (inode.uid, inode.gid, inode.mtime_ns, dict(inode.xattrs)) == (0, 0, 10**9, {})
    if stat.S_ISDIR(inode.mode):
        assert inode.entries is not None and inode.mode == stat.S_IFDIR | 0o555
        return {name: tree_of(each) for name, each in inode.entries.items()}
    if stat.S_ISLNK(inode.mode):
        assert inode.mode == stat.S_IFLNK | 0o777 and inode.size == len(inode.target)
        return Link(inode.target)
    assert inode.runs is None and (inode.data is None) == (inode.size == 0)
    content = b"" if inode.data is None else b"".join(map(bytes, inode.data.chunks(0, inode.size)))
    assert len(content) == inode.size
    if inode.mode == stat.S_IFREG | 0o555:
        return Program(content)
    assert inode.mode == stat.S_IFREG | 0o444
    return content


def refusal(content: bytes) -> str:
    with pytest.raises(SourceError) as caught:
        nar.read(io.BytesIO(content), origin="x.nar")
    message = str(caught.value)
    assert message.startswith("x.nar") and "\n" not in message and len(message) < 400
    return message


@pytest.mark.parametrize(
    "tree",
    [
        b"",
        b"contents",
        Program(b""),
        Program(b"#!"),
        Link(b"/nix/store"),
        EMPTY_DIRECTORY,
        SMALL,
        {b"a": SMALL},
    ],
    ids=["empty", "file", "empty program", "program", "link", "empty directory", "small", "nested"],
)
def test_a_tree_comes_back(tree: Tree, tmp_path: Path) -> None:
    content = serialise(tree)
    file = tmp_path / "x.nar"
    file.write_bytes(content)
    for source in (os.fsencode(file), io.BytesIO(content)):
        archive = nar.read(source)
        assert tree_of(archive.root) == tree
        assert archive.sum == sum_of(content) == nar.nar_hash(archive.root)
        assert b"".join(map(bytes, nar.chunks(archive.root))) == content


# Around what a buffer, a piece and a chunk hold.
@pytest.mark.parametrize(
    "size",
    [s + d for s in (8, 128 << 10, 256 << 10, 1 << 20, CHUNK) for d in (-1, 0, 1)],
)
def test_files_of_every_size(size: int, tmp_path: Path) -> None:
    content = bytes(range(256)) * (size // 256) + b"." * (size % 256)
    tree: Tree = {b"a": content, b"b": b"behind", b"c": content}
    written = serialise(tree)
    file = tmp_path / "x.nar"
    file.write_bytes(written)
    for source in (os.fsencode(file), io.BytesIO(written)):
        archive = nar.read(source)
        assert tree_of(archive.root) == tree and archive.sum == sum_of(written)
        assert nar.nar_hash(archive.root) == sum_of(written)


def test_the_smallest_nar_is_an_empty_directory() -> None:
    assert len(serialise(EMPTY_DIRECTORY)) == 96


def test_a_stream_that_gives_few_bytes_at_a_time() -> None:
    class Dripping(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(7)

    assert tree_of(nar.read(Dripping(NAR)).root) == SMALL


def test_contents_of_a_regular_file_stay_where_they_are(tmp_path: Path) -> None:
    file = tmp_path / "x.nar"
    file.write_bytes(NAR)
    root = nar.read(os.fsencode(file)).root
    file.write_bytes(NAR.replace(b"x" * 5000, b"y" * 5000))
    inode = (root.entries or {})[b"sp ace\n\xff"]
    assert inode.data is not None
    with pytest.raises(SourceChangedError):
        list(inode.data.chunks(0, inode.size))


# --- What is not by the grammar ---


def test_cut_off_anywhere() -> None:
    for end in range(0, len(NAR)):
        refusal(NAR[:end])


def test_something_behind_the_end() -> None:
    assert refusal(NAR + b"\0") == (
        f"x.nar: something follows the NAR's end (at byte {len(NAR):,}); get a whole copy of it"
    )


def test_every_byte_outside_names_and_contents_counts() -> None:
    """Each bit of a tree without free text, one after the other."""
    content = serialise({b"d": {b"e": EMPTY_DIRECTORY}, b"f": b""})
    for offset in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[offset] ^= 1 << bit
            try:
                nar.read(io.BytesIO(damaged))
            except SourceError:
                continue
            # Only the names' bytes can change into others.
            assert content[offset : offset + 1] in (b"d", b"e", b"f")


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"a\0b", b"\0"])
def test_names_that_are_none(name: bytes) -> None:
    content = MAGIC + words(b"(", b"type", b"directory") + entry(name, b"") + text(b")")
    assert f"is no name for a file (at byte {len(MAGIC) + 16 + 16 + 24 + 16 + 16 + 16})" in refusal(content)


@pytest.mark.parametrize("names", [(b"b", b"a"), (b"a", b"a"), (b"a", b"B"), (b"\xff", b"z"), (b"ab", b"a")])
def test_names_out_of_order(names: tuple[bytes, bytes]) -> None:
    content = MAGIC + words(b"(", b"type", b"directory") + b"".join(entry(n, b"") for n in names) + text(b")")
    assert "out of order" in refusal(content)


def test_order_is_within_one_directory() -> None:
    tree: Tree = {b"b": {b"z": b""}, b"c": {b"a": EMPTY_DIRECTORY, b"b": b""}, b"d": b""}
    assert tree_of(nar.read(io.BytesIO(serialise(tree))).root) == tree


@pytest.mark.parametrize("length, good", [(255, True), (256, False)])
def test_the_longest_name(length: int, good: bool) -> None:
    content = serialise({b"n" * length: b""})
    if good:
        nar.read(io.BytesIO(content))
    else:
        assert "a name has 256 bytes, more than the 255" in refusal(content)


@pytest.mark.parametrize(
    "target, good", [(b"t" * 4095, True), (b"t" * 4096, False), (b"", False), (b"a\0b", False)]
)
def test_targets(target: bytes, good: bool) -> None:
    content = serialise({b"l": Link(target)})
    if good:
        nar.read(io.BytesIO(content))
    else:
        assert "target" in refusal(content)


@pytest.mark.parametrize("depth, good", [(2047, True), (2048, False)])
def test_the_deepest_directory(depth: int, good: bool) -> None:
    below = text(b"(") + words(b"type", b"directory") + text(b")")
    opened = words(b"(", b"type", b"directory", b"entry", b"(", b"name", b"d", b"node")
    content = MAGIC + opened * depth + below + words(b")", b")") * depth
    if good:
        archive = nar.read(io.BytesIO(content))
        assert nar.nar_hash(archive.root) == archive.sum
    else:
        assert "more than 2,048 directories in one another" in refusal(content)


def test_a_very_deep_nar_costs_no_more_than_its_limit() -> None:
    opened = words(b"(", b"type", b"directory", b"entry", b"(", b"name", b"d", b"node")
    refusal(MAGIC + opened * 100_000)


@pytest.mark.parametrize("length", [1 << 62, (1 << 64) - 1, (1 << 63) - 8, 1 << 40, 10])
def test_lengths_are_not_believed(length: int, tmp_path: Path) -> None:
    content = MAGIC + words(b"(", b"type", b"regular", b"contents") + integer(length) + b"12345"
    message = refusal(content)
    assert "cut off within the contents of 'the root'" in message
    file = tmp_path / "x.nar"
    file.write_bytes(content)
    with pytest.raises(SourceError, match="cut off within the contents of 'the root'"):
        nar.read(os.fsencode(file))


@pytest.mark.parametrize(
    "inner, said",
    [
        (
            words(b"type", b"socket"),
            "'socket' where 'regular' or 'directory' or 'symlink' should be (at byte 56)",
        ),
        (words(b"typ"), "'typ' where 'type' should be (at byte 40)"),
        (words(b"type", b"regular", b"executable", b"x"), "'x' where '' should be (at byte 96)"),
        (words(b"type", b"regular", b"executable", b""), "cut off where 'contents' should be (at byte 104)"),
        (
            words(b"type", b"regular", b"target"),
            "'target' where 'contents' or 'executable' should be (at byte 72)",
        ),
        # Nix once read a file without contents; it never wrote one.
        (words(b"type", b"regular", b")"), "')' where 'contents' or 'executable' should be (at byte 72)"),
        (words(b"type", b"symlink", b")"), "')' where 'target' should be (at byte 72)"),
        (words(b"type", b"directory", b"name"), "'name' where 'entry' or ')' should be"),
        (
            words(b"type", b"directory") + b"\xff" * 16,
            "ff ff ff ff ff ff ff ff where 'entry' or ')' should be",
        ),
        (
            text(b"type")[:-1] + b"\1" + words(b"directory", b")"),
            "the padding of 'type' is cut off or not zero",
        ),
    ],
    ids=range(10),
)
def test_words_that_do_not_belong(inner: bytes, said: str) -> None:
    assert said in refusal(MAGIC + text(b"(") + inner)


def test_other_files_are_told_at_once() -> None:
    assert (
        refusal(b"") == "x.nar: cut off where 'nix-archive-1' should be (at byte 0); get a whole copy of it"
    )
    assert "where 'nix-archive-1' should be" in refusal(b"\x7fELF" + bytes(100))
    assert "'nix-archive-2' where 'nix-archive-1' should be" in refusal(text(b"nix-archive-2") + node(b""))


@pytest.mark.parametrize("free", [b"a name", b"a target.", b"a content"])
def test_padding_is_zero(free: bytes) -> None:
    content = serialise({b"a name": Link(b"a target."), b"next": b"a content"})
    at = content.index(text(free)) + 8 + len(free)
    damaged = content[:at] + b"\1" + content[at + 1 :]
    assert f"is not zero (at byte {at})" in refusal(damaged)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        nar.read(os.fsencode(tmp_path / "x.nar"))


# --- Trees of other origin ---


def hashed(tree: Inode) -> None:
    """Assert that what is hashed is what is written."""
    assert nar.nar_hash(tree) == sum_of(b"".join(map(bytes, nar.chunks(tree))))


def test_only_the_owners_x_bit_counts() -> None:
    for mode, expected in [
        (0o644, b"x"),
        (0o677, b"x"),
        (0o100, Program(b"x")),
        (0o4755, Program(b"x")),
        (0o055, b"x"),
    ]:
        assert nar.nar_hash(trees.file(b"x", mode)) == sum_of(serialise(expected))


def test_hard_links_owners_times_and_xattrs_do_not_show() -> None:
    inode = trees.file(b"twice", mtime_ns=5, uid=7, gid=8, xattrs={b"user.a": b"b"})
    root = trees.directory({b"b": inode, b"a": inode}, mode=0o1777)
    assert nar.nar_hash(root) == sum_of(serialise({b"a": b"twice", b"b": b"twice"}))


def test_holes_are_zeros() -> None:
    size = CHUNK + 5
    file = trees.zeros(size, runs=((4096, 4098), (8192, 8193)))
    expected = bytearray(size)
    expected[4096:4098], expected[8192:8193] = b"xx", b"x"
    assert nar.nar_hash(file) == sum_of(serialise(bytes(expected)))
    hole = trees.zeros(3)
    hole.data = None
    assert nar.nar_hash(hole) == sum_of(serialise(bytes(3)))


def test_names_and_targets_of_any_length() -> None:
    """More in one directory than the buffer holds, and longer than Linux has them: a tar's can be."""
    tree: Tree = {b"%05d" % i + b"n" * 60_000: Link(b"t" * 4095) for i in range(40)}
    root = trees.directory(
        {n: trees.symlink(each.target) for n, each in tree.items() if isinstance(each, Link)}
    )
    assert nar.nar_hash(root) == sum_of(serialise(tree))


def test_a_tree_deeper_than_the_stack() -> None:
    root = trees.directory()
    for _ in range(30_000):
        root = trees.directory({b"d": root})
    hashed(root)


@pytest.mark.parametrize(
    "mode, kind", [(stat.S_IFIFO, "FIFO"), (stat.S_IFCHR, "character device"), (stat.S_IFSOCK, "socket")]
)
def test_what_nix_does_not_know_is_named(mode: int, kind: str) -> None:
    odd = Inode(mode | 0o644, origin="tree /x")
    root = trees.directory({b"a": trees.file(b"1"), b"d": trees.directory({b"odd": odd})})
    with pytest.raises(SourceError, match=rf"tree /x: d/odd is a {kind}, and Nix stores only") as caught:
        nar.nar_hash(root)
    assert caught.value.path == b"d/odd"


def test_a_host_directory(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "large").write_bytes(b"l" * 700_000)
    (top / "small").write_bytes(b"s" * 100)
    (top / "small").chmod(0o700)
    (top / "none").touch()
    (top / "link").symlink_to("nowhere")
    with open(top / "sparse", "wb") as sparse:
        sparse.truncate(1 << 20)
        sparse.seek(1 << 19)
        sparse.write(b"in the middle")
    middle = b"in the middle"
    expected: Tree = {
        b"large": b"l" * 700_000,
        b"small": Program(b"s" * 100),
        b"none": b"",
        b"link": Link(b"nowhere"),
        b"sparse": bytes(1 << 19) + middle + bytes((1 << 19) - len(middle)),
    }
    root = directory.read(os.fsencode(top), SourceRules())
    assert nar.nar_hash(root) == sum_of(serialise(expected))
    (top / "small").write_bytes(b"S" * 100)
    with pytest.raises(SourceChangedError):
        nar.nar_hash(root)


def test_data_in_memory() -> None:
    assert nar.nar_hash(trees.directory({b"f": trees.file(b"abc")})) == sum_of(serialise({b"f": b"abc"}))
    large = trees.file(b"m" * (3 << 20))
    assert isinstance(large.data, Bytes)
    assert nar.nar_hash(large) == sum_of(serialise(b"m" * (3 << 20)))
