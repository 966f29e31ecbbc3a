"""What stands in an image, read by debugfs and by dissect.extfs: every type, every byte, every limit."""

from __future__ import annotations

import hashlib
import os
import random
import re
import stat
from pathlib import Path

import pytest
from dissect.extfs import ExtFS

from imgwriter.tree import scan
from imgwriter.tree.inventory import Inode, Inventory
from tests import trees
from tests.compat.ext4_images import ACL, SECOND, MiB, content, everything, many, write
from tests.oracles import debugfs, e2fsck
from tests.oracles.snapshot import difference, of_directory
from tests.oracles.tools import attempt, require_root

pytestmark = pytest.mark.compat

KINDS = (("ext4", 4096), ("ext4", 1024), ("ext3", 2048), ("ext2", 1024))


def bytes_of(inode: Inode) -> bytes:
    """Return what a reader has to see: the data in the runs, zeros in the holes."""
    result = bytearray(inode.size)
    if inode.data is not None:
        for start, end in inode.data_runs():
            result[start:end] = b"".join(bytes(chunk) for chunk in inode.data.chunks(start, end))
    return bytes(result)


# --- dissect.extfs ---


def read_back(image: Path, tree: Inventory) -> int:
    """Compare every name with dissect's view of it; return how many there were."""
    with image.open("rb") as stream:
        fs = ExtFS(stream)
        pending = [(fs.root, tree.root)]
        count = 0
        while pending:
            node, inode = pending.pop()
            assert node.inode.i_mode == inode.mode
            found = {name.encode("utf-8", "surrogateescape"): child for name, child in node.listdir().items()}
            expected = dict(inode.entries or {})
            for name in (b".", b".."):
                found.pop(name)
            if inode is tree.root and b"lost+found" not in expected:
                found.pop(b"lost+found")
            assert found.keys() == expected.keys()
            for name, child in expected.items():
                count += 1
                seen = found[name]
                assert seen.inode.i_mode == child.mode, name
                assert seen.inode.i_uid | seen.inode.i_uid_high << 16 == child.uid, name
                assert seen.inode.i_gid | seen.inode.i_gid_high << 16 == child.gid, name
                if child.entries is not None:
                    pending.append((seen, child))
                elif stat.S_ISLNK(child.mode):
                    assert seen.link.encode() == child.target
                elif stat.S_ISREG(child.mode):
                    assert seen.size == child.size
                    with seen.open() as file:
                        assert file.read() == bytes_of(child), name
        return count


@pytest.mark.parametrize(("fs_type", "block_size"), KINDS)
def test_dissect_reads_everything_back(tmp_path: Path, fs_type: str, block_size: int) -> None:
    image = tmp_path / "image"
    entries = everything(block_size)
    if fs_type != "ext4":
        # dissect.extfs 3.16 takes a hole in a block map for block 0; debugfs, below, reads them there.
        del entries[b"holes"], entries[b"only a hole"]
    tree = trees.inventory(entries)
    write(image, tree, fs_type=fs_type, block_size=block_size)
    assert read_back(image, tree) == tree.names


def test_dissect_notices_another_byte(tmp_path: Path) -> None:
    image = tmp_path / "image"
    tree = trees.inventory({b"f": trees.file(content(10_000))})
    made = write(image, tree)
    with image.open("r+b") as file:
        file.seek(made.allocation.starts[2] * 4096 + 9999)
        file.write(b"\xee")
    with pytest.raises(AssertionError):
        read_back(image, tree)


# --- debugfs: inodes ---


@pytest.mark.parametrize(("fs_type", "block_size"), KINDS)
def test_types(tmp_path: Path, fs_type: str, block_size: int) -> None:
    image = tmp_path / "image"
    write(image, trees.inventory(everything(block_size)), fs_type=fs_type, block_size=block_size)
    expected = {
        "/block": ("block special", 0o600),
        "/char": ("character special", 0o600),
        "/deep": ("directory", 0o755),
        "/empty": ("regular", 0o644),
        "/fifo": ("FIFO", 0o600),
        "/small": ("regular", 0o6755),
        "/socket": ("socket", 0o755),
        "/fast": ("symlink", 0o777),
        "/slow": ("symlink", 0o777),
    }
    for path, (kind, mode) in expected.items():
        found = debugfs.stat(image, path)
        assert (found.type, found.mode) == (kind, mode), path
    assert debugfs.stat(image, "/block").device == (8, 17)
    assert debugfs.stat(image, "/char").device == (4095, 0xFFFFF)
    assert debugfs.stat(image, "/fast").target == "f" * 59
    assert debugfs.stat(image, "/fast").blocks == 0
    assert debugfs.stat(image, "/slow").target is None
    assert debugfs.cat(image, "/slow") == b"s" * 60
    assert debugfs.cat(image, "/slowest") == b"s" * (block_size - 1)
    owned = debugfs.stat(image, "/owned")
    assert (owned.uid, owned.gid) == (70_000, 0x7FFFFFFE)


def test_hard_links(tmp_path: Path) -> None:
    image = tmp_path / "image"
    link = trees.symlink(b"anywhere")
    node = trees.device(stat.S_IFCHR, 1, 3)
    entries = everything() | {b"link a": link, b"link b": link, b"node a": node, b"node b": node}
    write(image, trees.inventory(entries))
    names = ("/linked", "/linked too", "/deep/deeper/linked")
    found = [debugfs.stat(image, name) for name in names]
    assert len({f.inode for f in found}) == 1
    assert found[0].links == 3
    for a, b in (("/link a", "/link b"), ("/node a", "/node b")):
        assert debugfs.stat(image, a).inode == debugfs.stat(image, b).inode
        assert debugfs.stat(image, a).links == 2
    e2fsck.check(image)


def test_65000_names(tmp_path: Path) -> None:
    image = tmp_path / "image"
    linked = trees.file(b"x")
    write(image, trees.inventory({b"d": trees.directory({b"%d" % i: linked for i in range(65_000)})}))
    assert debugfs.stat(image, "/d/7").links == 65_000
    e2fsck.check(image)


TIMES = (
    -(1 << 31) * SECOND,
    -1,
    0,
    1,
    ((1 << 31) - 1) * SECOND + 999_999_999,
    (1 << 31) * SECOND,
    ((1 << 32) + 7) * SECOND + 5,
    ((1 << 31) + 3 * (1 << 32)) * SECOND - 1,
)


def test_times(tmp_path: Path) -> None:
    image = tmp_path / "image"
    write(image, trees.inventory({b"%d" % i: trees.file(mtime_ns=t) for i, t in enumerate(TIMES)}))
    for index, time in enumerate(TIMES):
        found = debugfs.stat(image, f"/{index}")
        assert (found.mtime_ns, found.atime_ns, found.ctime_ns, found.crtime_ns) == (time,) * 4


@pytest.mark.parametrize(
    ("major", "minor"),
    [(0, 0), (255, 255), (255, 256), (256, 0), (256, 255), (8, 300), (4095, 0xFFFFF)],
)
def test_devices(tmp_path: Path, major: int, minor: int) -> None:
    image = tmp_path / "image"
    write(image, trees.inventory({b"n": trees.device(stat.S_IFBLK, major, minor)}))
    assert debugfs.stat(image, "/n").device == (major, minor)


def test_extended_attributes(tmp_path: Path) -> None:
    image = tmp_path / "image"
    made = write(image, trees.inventory(everything()))
    large = bytes(range(256)) * 3
    assert debugfs.xattr(image, "/attributes", "user.one") == b"1"
    assert debugfs.xattr(image, "/attributes", "security.capability") == bytes(20)
    assert debugfs.xattr(image, "/block of attributes", "user.large") == large
    assert debugfs.xattr(image, "/shared block", "user.large") == large
    # debugfs gives an entry that names nobody the number 0, where the kernel gives it -1.
    acl = debugfs.xattr(image, "/acl", "system.posix_acl_access")
    assert acl == ACL.replace(b"\xff\xff\xff\xff", bytes(4))
    assert len(made.allocation.xattr_blocks) == 1
    files = [debugfs.stat(image, path).text for path in ("/block of attributes", "/shared block")]
    assert len({re.search(r"File ACL: (\d+)", text)[1] for text in files}) == 1  # type: ignore[index]  # or fail


def test_a_block_of_attributes_shared_by_2000(tmp_path: Path) -> None:
    image = tmp_path / "image"
    entries = {b"%d" % i: trees.file(xattrs={b"user.large": bytes(500)}) for i in range(2000)}
    made = write(image, trees.inventory(entries))
    assert [block.refcount for block in made.demand.xattr_blocks] == [1024, 976]
    e2fsck.check(image)


# --- debugfs: mapping ---


def sparse(extents: int, block_size: int) -> Inode:
    """Return a file of ``extents`` single blocks with a hole after each."""
    inode = trees.file(content(extents * 2 * block_size))
    inode.runs = tuple((i * 2 * block_size, (2 * i + 1) * block_size) for i in range(extents))
    return inode


@pytest.mark.parametrize(
    ("block_size", "extents", "tree_blocks"),
    # 340 ext4_extents in a block of 4 KiB, 84 in one of 1 KiB, 4 in the inode.
    [
        *((4096, 4, 0), (4096, 5, 1), (4096, 340, 1), (4096, 341, 2), (4096, 1361, 6)),
        *((1024, 84, 1), (1024, 85, 2), (1024, 84 * 4, 4), (1024, 84 * 4 + 1, 6), (1024, 3000, 37)),
    ],
)
def test_extent_trees(tmp_path: Path, block_size: int, extents: int, tree_blocks: int) -> None:
    image = tmp_path / "image"
    inode = sparse(extents, block_size)
    write(image, trees.inventory({b"f": inode}), block_size=block_size)
    e2fsck.check(image)
    assert [leaf.logical_block for leaf in debugfs.extents(image, "/f")] == [2 * i for i in range(extents)]
    assert debugfs.stat(image, "/f").blocks == (extents + tree_blocks) * block_size // 512
    dump(image, "/f", tmp_path / "dump", inode)


def dump(image: Path, path: str, target: Path, inode: Inode) -> None:
    """Compare a file's bytes, as debugfs dumps them, with what went in."""
    debugfs.request(image, f'dump "{path}" "{target}"')
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(bytes_of(inode)).digest()


@pytest.mark.parametrize("fs_type", ["ext2", "ext3"])
# 12 direct blocks, 256 by one level of pointers, 65,536 by two, the rest by three.
@pytest.mark.parametrize("blocks", [12, 13, 268, 269, 268 + 257, 268 + 65_536, 268 + 65_537, 70_000])
def test_indirect_blocks(tmp_path: Path, fs_type: str, blocks: int) -> None:
    image = tmp_path / "image"
    inode = trees.file(content(blocks * 1024 - 3))
    write(image, trees.inventory({b"f": inode}), fs_type=fs_type, block_size=1024)
    e2fsck.check(image)
    dump(image, "/f", tmp_path / "dump", inode)


@pytest.mark.parametrize("first", [0, 11, 12, 267, 268, 65_803, 65_804, 131_400, 16_000_000])
def test_a_block_after_a_hole(tmp_path: Path, first: int) -> None:
    image = tmp_path / "image"
    size = (first + 2) * 1024
    inode = trees.zeros(size, ((first * 1024, size - 10),))
    for fs_type in ("ext3", "ext4"):
        write(image, trees.inventory({b"f": inode}), fs_type=fs_type, block_size=1024)
        e2fsck.check(image)
        found = debugfs.request(image, "blocks /f").split()
        assert debugfs.stat(image, "/f").size == size
        assert len(found) >= 2


def test_a_file_of_16_tib_with_a_block_at_its_end(tmp_path: Path) -> None:
    image = tmp_path / "image"
    size = ((1 << 32) - 1) * 4096
    write(image, trees.inventory({b"f": trees.zeros(size, ((size - 10, size),))}))
    e2fsck.check(image)
    (leaf,) = debugfs.extents(image, "/f")
    assert (leaf.logical_block, leaf.block_count) == ((1 << 32) - 2, 1)
    assert debugfs.stat(image, "/f").size == size


# --- directories ---


def test_names_of_any_bytes(tmp_path: Path) -> None:
    image = tmp_path / "image"
    source = random.Random(1)
    letters = [*range(1, 0x2F), *range(0x30, 0x100)]
    names = {bytes(source.choices(letters, k=source.randrange(1, 256))) for _ in range(3000)} - {b".", b".."}
    names |= {b"...", b" ", b"\n", b"\xff" * 255, b"\\", b'"', b"'"}
    tree = trees.inventory({b"d": trees.directory({name: trees.file() for name in names})})
    write(image, tree, block_size=1024)
    e2fsck.check(image)
    with image.open("rb") as stream:
        listing = ExtFS(stream).get("d").listdir()
        assert {name.encode("utf-8", "surrogateescape") for name in listing} - {b".", b".."} == names


def test_100000_entries(tmp_path: Path) -> None:
    image = tmp_path / "image"
    write(image, trees.inventory({b"d": many(100_000, 20)}))
    e2fsck.check(image)
    assert "Indirect levels: 1" in debugfs.htree(image, "/d")
    assert len(debugfs.listing(image, "/d")) == 100_002


def test_lost_found(tmp_path: Path) -> None:
    image = tmp_path / "image"
    write(image, trees.inventory({b"a": trees.file()}), time=77)
    made = debugfs.stat(image, "/lost+found")
    assert (made.inode, made.mode, made.mtime_ns, made.size) == (11, 0o700, 77 * SECOND, 16384)
    given = trees.directory({b"x": trees.file(b"kept")}, mode=0o711)
    write(image, trees.inventory({b"a": trees.file(), b"lost+found": given}))
    e2fsck.check(image)
    found = debugfs.stat(image, "/lost+found")
    assert (found.inode, found.mode, found.mtime_ns) == (11, 0o711, trees.MTIME)
    assert debugfs.cat(image, "/lost+found/x") == b"kept"


def test_links_of_directories(tmp_path: Path) -> None:
    image = tmp_path / "image"
    write(image, trees.inventory({b"d": trees.directory({b"%d" % i: trees.directory() for i in range(10)})}))
    assert debugfs.stat(image, "/d").links == 12
    assert debugfs.stat(image, "/").links == 4, "its own two, d, lost+found"


# --- real trees ---


def host_tree(top: Path) -> None:
    """Make a tree on the host with everything that root, or anyone, can make."""
    (top / "sub" / "dir").mkdir(parents=True)
    (top / "sub" / "file").write_bytes(content(300_000))
    (top / "many").mkdir()
    for index in range(400):
        (top / "many" / f"file {index}").write_bytes(content(index * 31, index))
    os.link(top / "sub" / "file", top / "second name")
    (top / "link").symlink_to("sub/file")
    (top / "long link").symlink_to("x" * 200)
    with (top / "sparse").open("wb") as file:
        file.seek(5 * MiB)
        file.write(b"end")
        file.truncate(9 * MiB)
    os.mkfifo(top / "fifo")
    os.utime(top / "sub" / "file", ns=(1, 1_234_567_890_123_456_789))
    os.chmod(top / "sub" / "dir", 0o2750)


def scanned(top: Path) -> Inventory:
    return scan.scan(scan.TreeRequest(trees=(os.fsencode(top),), owner=None)).inventory


@pytest.mark.parametrize(("fs_type", "block_size"), KINDS)
def test_a_tree_of_the_host_is_dumped_back(tmp_path: Path, fs_type: str, block_size: int) -> None:
    """rdump copies contents, symlinks, modes, owners and times; not FIFOs, and links become copies."""
    require_root()
    source, target, image = tmp_path / "source", tmp_path / "target", tmp_path / "image"
    source.mkdir()
    target.mkdir()
    host_tree(source)
    write(image, scanned(source), fs_type=fs_type, block_size=block_size)
    e2fsck.check(image)
    debugfs.rdump(image, "/", target)
    expected, found = of_directory(source), of_directory(target)
    found.pop(b"lost+found")
    expected.pop(b"fifo")
    # rdump restores whole seconds, none of a symlink's; its chown, after chmod, clears the set-group-ID.
    for snapshot in (expected, found):
        for path, entry in snapshot.items():
            whole = 0 if stat.S_ISLNK(entry.mode) or not path else entry.mtime_ns // SECOND
            snapshot[path] = entry._replace(
                mtime_ns=whole, same_as=path, mode=entry.mode & ~0o2000 if path else 0
            )
    assert difference(expected, found) == []


def test_the_dump_of_another_tree_differs(tmp_path: Path) -> None:
    for name, text in (("a", b"one"), ("b", b"two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(text)
    assert difference(of_directory(tmp_path / "a"), of_directory(tmp_path / "b"))


def test_debugfs_has_no_complaint_about_any_inode(tmp_path: Path) -> None:
    image = tmp_path / "image"
    made = write(image, trees.inventory(everything()))
    commands = tmp_path / "commands"
    commands.write_text("".join(f"stat <{n}>\n" for n in range(1, made.demand.last_inode + 1)))
    result = attempt("debugfs", "-f", commands, image)
    assert result.out.count("Inode: ") == made.demand.last_inode
    assert result.out.count("Inode checksum: ") == made.demand.last_inode
