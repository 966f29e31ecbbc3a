"""The reader beside debugfs, e2fsck and the kernel: images by mke2fs -d, by the kernel, by imgwriter."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from imgwriter.errors import FormatError
from imgwriter.ext4.reader import FileSystem, read_file_system
from imgwriter.readers import open_image
from imgwriter.tree.inventory import Inventory
from tests import trees
from tests.building import build, varied_tree
from tests.compat.ext4_images import everything, write
from tests.oracles import debugfs, dumpe2fs, guest, inodes, parted
from tests.oracles.loop_mount import mounted
from tests.oracles.snapshot import Snapshot, difference, of_directory, of_source, of_tar
from tests.oracles.tools import CACHE, attempt, require_file, require_root, run
from tests.unit.ext4.images import image
from tests.unit.ext4.journals import VERSIONS, Log, Transaction

pytestmark = pytest.mark.compat

MiB = 1 << 20

# Options of mke2fs: every type, size and feature that it makes and that is read.
VARIANTS = (
    "-t ext4",
    "-t ext4 -b 1024",
    "-t ext4 -b 2048",
    "-t ext3",
    "-t ext3 -b 1024",
    "-t ext2",
    "-t ext2 -b 1024",
    "-t ext4 -I 128",
    "-t ext4 -I 512",
    "-t ext4 -I 1024 -b 1024",
    "-t ext4 -G 4 -b 1024",
    "-t ext4 -O ^has_journal",
    "-t ext4 -O ^dir_index",
    "-t ext4 -O ^extent,^64bit",
    "-t ext4 -O ^64bit",
    "-t ext4 -O ^flex_bg",
    "-t ext4 -O ^metadata_csum",
    "-t ext4 -O ^metadata_csum,uninit_bg",
    "-t ext4 -O ^metadata_csum,uninit_bg,^64bit -b 1024",
    "-t ext4 -O ^huge_file,^dir_nlink,^extra_isize",
    "-t ext4 -O ^sparse_super,^resize_inode",
    "-t ext4 -O ^large_file",
    "-t ext4 -O meta_bg,^resize_inode",
    "-t ext4 -O meta_bg,^resize_inode -b 1024",
    "-t ext4 -O meta_bg,^resize_inode,^64bit,^sparse_super -b 1024",
    "-t ext4 -O sparse_super2",
    "-t ext4 -O sparse_super2,meta_bg,^resize_inode -b 1024",
    "-t ext4 -O inline_data",
    "-t ext4 -O inline_data -I 1024",
    "-t ext4 -O inline_data -b 1024",
    "-t ext4 -O ea_inode",
    "-t ext4 -O bigalloc",
    "-t ext4 -O bigalloc -b 1024 -C 16384",
    "-t ext4 -O bigalloc,meta_bg,^resize_inode -b 1024 -C 4096",
    "-t ext4 -O metadata_csum_seed,orphan_file,large_dir",
    "-t ext4 -O casefold",
    "-t ext4 -O encrypt,verity,stable_inodes",
    "-t ext4 -O quota,project",
    "-t ext4 -O mmp",
    "-t ext4 -O fast_commit",
)

# Without ext_attr mke2fs leaves attributes out. Revision 0 is ext2 as of 1993.
WITHOUT_ATTRIBUTES = ("-t ext4 -O ^ext_attr", "-t ext2 -O none", "-t ext2 -r 0")

# What the kernel that runs the tests can surely mount.
MOUNTED = (
    "-t ext4",
    "-t ext3 -b 1024",
    "-t ext2 -b 2048",
    "-t ext4 -O inline_data",
    "-t ext4 -O ea_inode",
    "-t ext4 -O bigalloc",
    "-t ext4 -O meta_bg,^resize_inode -b 1024",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with every kind of entry."""
    return varied_tree(tmp_path_factory.mktemp("ext4-reader") / "tree")


def mke2fs(path: Path, options: str, tree: Path | None = None, size: str = "100M") -> Path:
    """Make a file system, with a tree in it."""
    source = ("-d", tree) if tree else ()
    run("mke2fs", "-q", "-F", *source, *options.split(), path, size)
    return path


def read(path: Path, offset: int = 0) -> FileSystem:
    """Open the file system at an offset of an image, all checksums checked."""
    return read_file_system(open_image(os.fsencode(path)).volume, offset, verify=True)


def seen(path: Path, offset: int = 0) -> Snapshot:
    """Return what the reader makes of an image."""
    return inodes.of_tree(read(path, offset).tree())


def as_by_mke2fs(snapshot: Snapshot) -> Snapshot:
    """Return what of a tree mke2fs -d keeps: seconds of 32 bits; the root's times are its own."""
    kept = {
        path: entry._replace(mtime_ns=entry.mtime_ns // 10**9 % (1 << 32))
        for path, entry in snapshot.items()
        if path != b"lost+found"
    }
    kept[b""] = kept[b""]._replace(mtime_ns=0)
    return kept


# mke2fs 1.47.0 loses the end of a sparse file with inline_data; debugfs and the kernel see that too.
_LOST = {b"data/sparse": "inline_data"}


@pytest.mark.parametrize("options", VARIANTS)
def test_images_by_mke2fs(options: str, tree: Path, tmp_path: Path) -> None:
    path = mke2fs(tmp_path / "image", options, tree)
    file_system = read(path)
    assert set(file_system.superblock.feature_names) == dumpe2fs.features(path) - {"(none)"}
    expected, found = as_by_mke2fs(of_directory(tree)), as_by_mke2fs(inodes.of_tree(file_system.tree()))
    for name, feature in _LOST.items():
        if feature in options:
            assert found.pop(name).sha256 != expected.pop(name).sha256
    assert difference(expected, found) == []


def test_the_features_are_named_in_dumpe2fs_order(tmp_path: Path) -> None:
    path = mke2fs(
        tmp_path / "image", "-t ext4 -O inline_data,ea_inode,quota,orphan_file,bigalloc,encrypt,mmp"
    )
    text = dumpe2fs.header(path)["Filesystem features"]
    assert " ".join(read(path).superblock.feature_names) == " ".join(text.split())


def test_all_that_mke2fs_can_make_is_read_or_refused_by_name(tmp_path: Path) -> None:
    """journal_dev is the one that makes no file system."""
    path = mke2fs(tmp_path / "image", "-O journal_dev -b 4096")
    with pytest.raises(FormatError, match="journal_dev"):
        read(path)


@pytest.mark.parametrize("options", WITHOUT_ATTRIBUTES)
def test_images_without_attributes(options: str, tree: Path, tmp_path: Path) -> None:
    path = mke2fs(tmp_path / "image", options, tree)
    expected = {name: entry._replace(xattrs={}) for name, entry in of_directory(tree).items()}
    assert difference(as_by_mke2fs(expected), as_by_mke2fs(seen(path))) == []


@pytest.mark.parametrize("options", MOUNTED)
def test_the_kernel_mounts_the_same(options: str, tree: Path, tmp_path: Path) -> None:
    path = mke2fs(tmp_path / "image", options, tree)
    with mounted(path, tmp_path / "mnt") as top:
        expected = of_directory(top)
    found = seen(path)
    assert difference(expected, found) == []
    run("debugfs", "-w", "-R", "sif /data/1 mtime_lo 5", path)
    assert difference(found, seen(path)) != []


@pytest.mark.parametrize("options", ["-t ext4", "-t ext4 -O ^metadata_csum", "-t ext2 -b 1024"])
def test_debugfs_dumps_the_same(options: str, tree: Path, tmp_path: Path) -> None:
    """Contents, permissions and owners.

    It sets the owner after the mode, so that the kernel drops the upper bits; and it dumps 60 bytes of a
    shorter file with inline data.
    """
    require_root()
    path = mke2fs(tmp_path / "image", options, tree)
    found = seen(path)
    top = tmp_path / "dump"
    top.mkdir()
    for name in ("data", "many", "modes"):
        debugfs.rdump(path, f"/{name}", top)
    compared = 0
    for name, entry in of_directory(top).items():
        if stat.S_ISREG(entry.mode):
            mine = found[name]
            own = (mine.mode & 0o777, mine.uid, mine.gid)
            assert own == (entry.mode & 0o777, entry.uid, entry.gid), name
            assert (mine.size, mine.sha256) == (entry.size, entry.sha256), name
            compared += 1
    assert compared > 1500


@pytest.mark.parametrize("options", ["-t ext4", "-t ext4 -O inline_data", "-t ext3 -I 128"])
def test_debugfs_says_the_same_of_every_kind(options: str, tree: Path, tmp_path: Path) -> None:
    path = mke2fs(tmp_path / "image", options, tree)
    names = Inventory(read(path).tree())
    chosen = {(i.mode, i.uid, i.gid, bool(i.xattrs), i.size > 60): (name, i) for name, i in names.walk()}
    assert len(chosen) > 15
    for name, inode in chosen.values():
        if inode.uid >> 31:
            continue  # debugfs says it as a negative number
        said = debugfs.stat(path, f"/{name.decode()}")
        assert (said.mode, said.uid, said.gid) == (inode.mode & 0o7777, inode.uid, inode.gid), name
        assert said.mtime_ns == inode.mtime_ns, name
        if stat.S_ISREG(inode.mode):
            assert (said.size, said.links) == (inode.size, inode.nlink), name
        if stat.S_ISLNK(inode.mode):
            assert said.size == len(inode.target)
        if said.device:
            assert said.device == inode.rdev
        for key, value in inode.xattrs.items():
            if not key.startswith(b"system."):
                assert debugfs.xattr(path, f"/{name.decode()}", key.decode()) == value
    assert set(debugfs.listing(path, "/many")) - {".", ".."} == {
        name.decode() for name in (names.root.entries or {})[b"many"].entries or {}
    }


@pytest.mark.parametrize("fs_type", ["ext4", "ext3", "ext2"])
@pytest.mark.parametrize("size", [1024, 4096])
def test_imgwriters_own_images(fs_type: str, size: int, tmp_path: Path) -> None:
    entries = everything(size)
    write(tmp_path / "image", trees.inventory(entries), fs_type=fs_type, block_size=size)
    found = seen(tmp_path / "image")
    del found[b"lost+found"]
    assert difference(inodes.of_tree(trees.directory(entries)), found) == []


@pytest.mark.parametrize("image_format", ["raw", "qcow2", "qcow2-compressed", "vpc", "vdi"])
def test_in_a_partition_of_every_container(image_format: str, tree: Path, tmp_path: Path) -> None:
    options = ("--partition-table", "efi", "--disk-size", "400M")
    raw = build(tree, tmp_path / "raw", *options)
    offset = parted.table(raw).partitions[1].first_lba * 512
    path = raw if image_format == "raw" else build(tree, tmp_path, *options, "--format", image_format)
    found = seen(path, offset)
    assert difference(of_source(tree, found), found) == []


@pytest.mark.slow
def test_a_debian_root(tmp_path: Path) -> None:
    tar = require_file(CACHE / "debian-root.tar")
    path = build(tar, tmp_path, "--partition-table", "none")
    found = seen(path)
    del found[b"lost+found"]
    assert difference(of_tar(tar), found) == []


# --- the judges are seen to object ---


@pytest.mark.parametrize(
    "request_",
    [
        "sif /data/4097 size 4096",
        "sif /data/1 uid 5",
        "sif /data/1 mode 0100600",
        "ea_set /data/1 user.more value",
        "rm /data/1",
        "mknod p p",
        "ln /data/1 /data/second",
        "sif /data/65536 block[5] 40",
    ],
)
def test_what_differs_is_seen(request_: str, tree: Path, tmp_path: Path) -> None:
    path = mke2fs(tmp_path / "image", "-t ext4", tree)
    before = seen(path)
    debugfs.request(path, request_, write=True)
    assert difference(before, seen(path)) != []


# --- journals ---


def replayed_by_e2fsck(path: Path) -> bytes:
    """Return an image after e2fsck replayed its journal, and did nothing else."""
    copy = path.with_name("replayed")
    shutil.copyfile(path, copy)
    result = attempt("e2fsck", "-fy", "-E", "journal_only", copy)
    assert "recovering journal" in result.text and result.status in (0, 1), result.text
    return copy.read_bytes()


def differing_blocks(file_system: FileSystem, other: bytes) -> list[int]:
    """Return the blocks that the reader sees otherwise, but for what a replay itself changes.

    That are the superblock, and the journal's own: both no longer say that there is something to replay.
    """
    size = file_system.superblock.block_size
    mine = file_system.device.read(0, file_system.superblock.size)
    superblock = 1024 // size
    magic = b"\xc0\x3b\x39\x98\0\0\0\4"
    journal = next(n for n in range(len(mine) // size) if mine[n * size : n * size + 8] == magic)
    found = [
        n
        for n in range(len(mine) // size)
        if mine[n * size : (n + 1) * size] != other[n * size : (n + 1) * size]
    ]
    return [n for n in found if n not in (superblock, journal)]


@pytest.mark.parametrize("version", ["", "-c -v 2", "-c -v 3"])
@pytest.mark.parametrize("features", ["", "-O ^64bit", "-O ^64bit,^metadata_csum"])
def test_journals_by_debugfs(features: str, version: str, tmp_path: Path) -> None:
    """Without metadata_csum debugfs writes checksums of version 1, whatever it was asked for.

    What it makes there of a block and a revoke in one transaction ends the log, for e2fsck as well.
    """
    whole = "metadata_csum" not in features
    path = mke2fs(tmp_path / "image", f"-t ext4 -b 1024 {features}", size="8M")
    (tmp_path / "data").write_bytes(os.urandom(3072))
    (tmp_path / "escaped").write_bytes(b"\xc0\x3b\x39\x98".ljust(1024, b"e"))
    commands = [
        f"jo {version}",
        f"jw -b 5000,5001,5002 {tmp_path}/data",
        f"jw -b 5003 {tmp_path}/escaped",
        # A revoke alone gets a checksum of version 1 that e2fsck and the kernel find wrong.
        "jw -r 5001" if whole else f"jw -b 5005 -r 5001 {tmp_path}/escaped",
        f"jw -b 5004 -r 5000 {tmp_path}/escaped",
        "jc",
    ]
    (tmp_path / "commands").write_text("\n".join(commands))
    run("debugfs", "-w", "-f", tmp_path / "commands", path)
    file_system = read(path)
    assert file_system.recovery is not None
    counted = (file_system.recovery.transactions, file_system.recovery.revoked)
    assert counted == ((4, 2) if whole else (2, 0))
    assert differing_blocks(file_system, replayed_by_e2fsck(path)) == []
    newer = [5002, 5003, 5004] if whole else [5000, 5001, 5002, 5003]
    assert differing_blocks(file_system, path.read_bytes()) == newer


FREE = 3500
"""From this block on nothing is in use in the images below."""


def with_journal() -> bytearray:
    return image(trees.inventory({b"f": trees.file(b"x" * 3000)}), 4 * MiB, block_size=1024)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_journals_of_the_unit_tests_are_e2fscks_too(version: str, wide: bool, tmp_path: Path) -> None:
    content = with_journal()
    log = Log(content, version, wide)
    log.add(Transaction([(n, bytes([n % 256]) * 1024) for n in range(FREE, FREE + 100)]))
    escaped = b"\xc0\x3b\x39\x98" + bytes(1020)
    log.add(Transaction([(FREE, escaped), (FREE + 1, b"b" * 1024)], revokes=[FREE + 2, FREE + 3]))
    log.add(Transaction([(FREE + 3, b"again" + bytes(1019))], revokes=[FREE + 1]))
    path = tmp_path / "image"
    path.write_bytes(content)
    assert differing_blocks(read(path), replayed_by_e2fsck(path)) == []


def mounts(path: Path, folder: Path) -> bool:
    """Return whether the running kernel mounts an image read-write, and let it recover it."""
    require_root()
    folder.mkdir(exist_ok=True)
    result = attempt("mount", "-t", "ext4", "-o", "loop", path, folder)
    if result.status and ("loop device" in result.text or "permission denied" in result.text):
        pytest.skip(f"no loop mount here: {result.err.strip()}")
    if result.status == 0:
        run("umount", folder)
    return result.status == 0


DAMAGE = {
    "none": (0, 0),
    "descriptor": (0, 40),
    "data": (1, 40),
    "revoke": (2, 40),
    "commit": (3, 40),
    "end": (3, 900),
}
"""Block of a transaction and byte in it that is changed."""


@pytest.mark.parametrize("time", [1000, 3000], ids=["older", "newer"])
@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_kernel_takes_and_refuses_the_same(version: str, kind: str, time: int, tmp_path: Path) -> None:
    """One change in the second of two transactions, which may look like part of an older log."""
    content = with_journal()
    log = Log(content, version)
    log.add(Transaction([(FREE, b"a" * 1024), (FREE + 2, b"c" * 1024)], time=2000))
    block, byte = DAMAGE[kind]
    at = log.offset(log.position + block) + byte
    log.add(Transaction([(FREE + 1, b"b" * 1024)], revokes=[FREE + 2], time=time))
    if byte:
        content[at] ^= 1
    path = tmp_path / "image"
    path.write_bytes(content)
    try:
        mine = [read(path).device.block(n) for n in range(FREE, FREE + 3)]
    except FormatError:
        mine = []
    kernels = []
    if mounts(path, tmp_path / "mnt"):
        replayed = path.read_bytes()
        kernels = [replayed[n * 1024 : (n + 1) * 1024] for n in range(FREE, FREE + 3)]
    assert mine == kernels


# --- the kernel's own images ---

# (options of mke2fs, options of mount)
BY_THE_KERNEL = (
    ("-t ext4", ""),
    ("-t ext4 -O ^metadata_csum,^64bit", "journal_checksum"),
    ("-t ext4 -O ^metadata_csum -b 1024", "journal_async_commit,data=journal"),
    ("-t ext3", "data=journal"),
    ("-t ext4 -O inline_data,ea_inode -b 1024", ""),
    ("-t ext4 -O bigalloc,inline_data,orphan_file", ""),
    ("-t ext2 -b 1024", ""),
)

# Directories with and without an index, trees of extents of three levels, blocks allocated and not written,
# attributes in every place, and what was removed: all in the journal's last transactions, some of them alone.
FILL = r"""
cd $1
mkdir many dir
i=0
while [ $i -lt 1500 ]; do
    echo $i >many/$i-a-name-of-some-length-so-that-an-index-is-needed
    i=$((i + 1))
done
i=0
while [ $i -lt 700 ]; do
    printf 'piece %d' $i | dd of=pieces bs=1 seek=$((i * 9000)) conv=notrunc status=none
    i=$((i + 1))
done
fallocate -l 500000 unwritten
printf 'written' | dd of=unwritten bs=1 seek=200000 conv=notrunc status=none
head -c 100000 /dev/urandom >random
sync
printf '\300\073\071\230 escaped' >escaped
head -c 8000 /dev/zero | tr '\000' '\300' >magic
printf '\300\073\071\230' | dd of=magic bs=1 seek=4096 conv=notrunc status=none
printf 'tiny' >tiny
mkdir dir/small
echo x >dir/small/one
ln random hard
ln -s tiny soft
ln -s $(head -c 200 /dev/zero | tr '\000' 'l') long
mknod node b 4095 70000
mkfifo fifo
chown 70000:80000 tiny
chmod 4711 tiny
/tools/setfattr -n user.small -v value tiny
/tools/setfattr -n user.large -v $(head -c 700 /dev/zero | tr '\000' 'v') tiny
/tools/setfattr -n trusted.t -v 1 many
[ "$2" != ea ] || /tools/setfattr -n user.huge -v $(head -c 5000 /dev/zero | tr '\000' 'h') random
touch -d '1950-01-01 00:00:00' fifo
touch -d '2100-01-01 00:00:00' node || true
rm many/1[0-4]*
truncate -s 50000 random
sync
rm many/2*
echo more >>tiny
mv dir/small dir/renamed
sync
cd /
snapshot $1
"""


@pytest.fixture(scope="module")
def by_the_kernel(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Snapshot]]:
    """Images that a guest filled and was powered off with, mounted; and what it saw in them before."""
    folder = tmp_path_factory.mktemp("by-the-kernel")
    paths = [mke2fs(folder / f"{n}.img", make, size="64M") for n, (make, _) in enumerate(BY_THE_KERNEL)]
    job = "fill() {\n" + FILL + "}\n"
    for letter, (make, mount) in zip("abcdefg", BY_THE_KERNEL, strict=True):
        options = f"{make[:7]} -o rw{',' * bool(mount)}{mount}"
        job += f"mkdir /m{letter}\nmount {options} /dev/vd{letter} /m{letter}\n"
        job += f"fill /m{letter} {'ea' if 'ea_inode' in make else '-'}\n"
    answer = guest.boot(paths, job)
    assert answer.status == 0, answer.log
    complaints = [line for line in answer.complaints() if "mounting with data=journal disables" not in line]
    assert not complaints
    return list(zip(paths, answer.snapshots, strict=True))


@pytest.mark.guest
@pytest.mark.slow
@pytest.mark.parametrize("nth", range(len(BY_THE_KERNEL)), ids=[" ".join(words) for words in BY_THE_KERNEL])
def test_what_the_kernel_wrote_and_did_not_unmount(
    nth: int, by_the_kernel: list[tuple[Path, Snapshot]], tmp_path: Path
) -> None:
    path, expected = by_the_kernel[nth]
    file_system = read(path)
    found = inodes.of_tree(file_system.tree())
    assert len(expected) > 700
    assert difference(expected, found) == []
    if "ext2" in BY_THE_KERNEL[nth][0]:
        return
    assert file_system.recovery is not None and file_system.recovery.blocks > 20
    copy = tmp_path / "image"
    shutil.copyfile(path, copy)
    assert differing_blocks(file_system, replayed_by_e2fsck(copy)) == []
