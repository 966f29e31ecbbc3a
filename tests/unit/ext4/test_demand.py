"""What a tree may hold: each limit at N - 1, N, N + 1."""

from __future__ import annotations

import stat

import pytest

from imgwriter.errors import UnrepresentableError
from imgwriter.ext4.demand import survey
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.units import GiB
from tests import trees
from tests.unit.ext4.support import parameters


def _survey(entries: dict[bytes, Inode], **more: object):  # type: ignore[no-untyped-def]  # a short hand
    return survey(trees.inventory(entries), parameters(**more))


def test_numbers() -> None:
    a, b = trees.file(b"a"), trees.file(b"b")
    sub = trees.directory({b"c": trees.file(b"c")})
    demand = _survey({b"b": b, b"a": a, b"sub": sub})
    # mke2fs: root 2, lost+found 11, the rest from 12 on; here in the order of the names.
    assert demand.inodes[0].parent is None
    assert demand.inodes[1].name == b"lost+found"
    numbers = {i.path: demand.numbers[i.index] for i in demand.inodes}
    assert numbers == {b"": 2, b"lost+found": 11, b"a": 12, b"b": 13, b"sub": 14, b"sub/c": 15}
    assert demand.last_inode == 15


def test_lost_found_of_the_tree_is_kept() -> None:
    demand = _survey({b"lost+found": trees.directory({b"x": trees.file()}, 0o711), b"a": trees.file()})
    assert demand.inodes[1].mode == 0o40711
    assert demand.numbers[demand.inodes[1].index] == 11
    assert demand.blocks[1] == 4, "16 KiB, as mke2fs"
    with pytest.raises(UnrepresentableError, match="not a directory"):
        _survey({b"lost+found": trees.file()})


@pytest.mark.parametrize("block_size", [1024, 4096])
def test_symlinks(block_size: int) -> None:
    # 60 bytes of i_block, one of them for the terminating zero: 59 stay in the inode.
    for length, blocks in ((1, 0), (59, 0), (60, 1), (block_size - 1, 1)):
        demand = _survey({b"l": trees.symlink(b"x" * length)}, block_size=block_size)
        assert demand.blocks[2] == blocks, length
    for length in (0, block_size):
        with pytest.raises(UnrepresentableError, match="target"):
            _survey({b"l": trees.symlink(b"x" * length)}, block_size=block_size)


def test_times() -> None:
    # Spec: inodes.rst, the table of 34-bit times: 1901-12-13 20:45:52 to 2446-05-10 22:38:55.
    first, last = -(1 << 31), 15032385535
    for seconds in (first, last):
        _survey({b"f": trees.file(mtime_ns=seconds * 10**9)})
    _survey({b"f": trees.file(mtime_ns=last * 10**9 + 999_999_999)})
    for ns in (first * 10**9 - 1, (last + 1) * 10**9):
        with pytest.raises(UnrepresentableError, match="1901 to 2446"):
            _survey({b"f": trees.file(mtime_ns=ns)})


def test_owners() -> None:
    _survey({b"f": trees.file(uid=(1 << 32) - 1, gid=(1 << 32) - 1)})
    for owner in ({"uid": 1 << 32}, {"gid": 1 << 32}, {"uid": -1}):
        with pytest.raises(UnrepresentableError, match="32 bits"):
            _survey({b"f": trees.file(**owner)})


def _links(count: int, **more: object) -> None:
    shared = trees.file(b"x")
    _survey({b"%d" % i: shared for i in range(count)}, **more)


def test_hard_links() -> None:
    _links(65_000)
    with pytest.raises(UnrepresentableError, match="65,001 names"):
        _links(65_001)
    # ext3 counts to EXT3_LINK_MAX.
    _links(32_000, fs_type="ext3")
    with pytest.raises(UnrepresentableError, match="--hard-links break"):
        _links(32_001, fs_type="ext3")


def test_subdirectories() -> None:
    def links(count: int, **more: object) -> int:
        top = trees.directory({b"%d" % i: trees.directory() for i in range(count)})
        demand = _survey({b"d": top}, **more)
        return demand.links[2]

    assert links(64_998) == 65_000
    assert links(64_999) == 1, "past the limit, dir_nlink says 1"
    assert links(31_998, fs_type="ext2") == 32_000
    with pytest.raises(UnrepresentableError, match="dir_nlink"):
        links(31_999, fs_type="ext2")


def test_root_counts_its_lost_found() -> None:
    assert _survey({}).links[0] == 3
    assert _survey({b"d": trees.directory()}).links[0] == 4
    assert _survey({b"lost+found": trees.directory()}).links[0] == 3


def test_without_large_file_no_file_has_2_gib() -> None:
    """super.rst: large_file says that there are files of 2 GiB and more."""
    features = {"features": "^large_file,^resize_inode"}
    for size in (GiB * 2 - 2, GiB * 2 - 1):
        _survey({b"f": trees.zeros(size)}, **features)
    with pytest.raises(UnrepresentableError, match="large_file; turn it on"):
        _survey({b"f": trees.zeros(2 * GiB)}, **features)


def test_file_sizes() -> None:
    most = ((1 << 32) - 1) * 4096
    hole = ((0, 1),)
    _survey({b"f": trees.zeros(most, hole)})
    with pytest.raises(UnrepresentableError, match="its size"):
        _survey({b"f": trees.zeros(most + 1, hole)})
    # ext3, 1 KiB blocks: 12 + 256 + 256^2 + 256^3 blocks.
    reach = (12 + 256 + 256**2 + 256**3) * 1024
    _survey({b"f": trees.zeros(reach, hole)}, fs_type="ext3", block_size=1024)
    with pytest.raises(UnrepresentableError, match="ext3"):
        _survey({b"f": trees.zeros(reach + 1, hole)}, fs_type="ext3", block_size=1024)


def test_devices() -> None:
    _survey({b"d": trees.device(stat.S_IFCHR, 4095, (1 << 20) - 1)})
    for major, minor in ((4096, 0), (0, 1 << 20)):
        with pytest.raises(UnrepresentableError, match="device number"):
            _survey({b"d": trees.device(stat.S_IFBLK, major, minor)})


def test_unknown_type() -> None:
    with pytest.raises(UnrepresentableError, match="no type"):
        _survey({b"d": Inode(0o644)})


def test_names() -> None:
    _survey({b"x" * 255: trees.file()})
    with pytest.raises(UnrepresentableError):
        _survey({b"x" * 256: trees.file()})


def test_holes_take_no_blocks() -> None:
    demand = _survey({b"f": trees.zeros(100 * 4096 + 1, ((4096, 4097), (8000, 12288), (409_600, 409_601)))})
    assert demand.sparse[2] == ((1, 3), (100, 101))
    assert demand.blocks[2] == 3


def test_shared_xattr_blocks() -> None:
    value = {b"user.big": b"v" * 1000}
    many = {b"%04d" % i: trees.file(xattrs=value) for i in range(1025)}
    demand = _survey(many)
    # Spec: fs/ext4/xattr.h, EXT4_XATTR_REFCOUNT_MAX 1024.
    assert [b.refcount for b in demand.xattr_blocks] == [1024, 1]


def test_message_names_the_path() -> None:
    with pytest.raises(UnrepresentableError) as caught:
        _survey({b"d": trees.directory({b"f\n": trees.file(uid=-1)})})
    assert caught.value.path == b"d/f\n"
    assert "d/f\\n cannot go into the image" in str(caught.value)


def test_inventory_of_one_root() -> None:
    demand = survey(Inventory(trees.directory()), parameters())
    assert demand.last_inode == 11


def test_extended_attributes_need_ext_attr() -> None:
    entries = {b"f": trees.file(b"x", xattrs={b"user.a": b"1"})}
    assert _survey(entries).xattr_inline
    with pytest.raises(UnrepresentableError, match=r"^f cannot .* ext_attr; .* user\.a out with --xattrs$"):
        _survey(entries, features="^ext_attr")
    _survey({b"f": trees.file(b"x")}, features="^ext_attr")
