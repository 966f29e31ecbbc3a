"""The checker of ext4 beside e2fsck: silent where it is, on images by mke2fs, imgwriter and the kernel.

e2fsck finds one thing that the checker leaves to it: quota files whose usage is wrong, which the checker
notes as not verified. The other way round the checker also finds what e2fsck does not look at: backups of
superblock and descriptors that differ, copies in the resize inode, file_type of ``.`` and ``..``, flags of
features that are off.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from imgwriter.errors import FormatError
from imgwriter.ext4.reader import read_file_system
from imgwriter.readers import open_image
from imgwriter.verify.ext4 import verify_ext4
from imgwriter.verify.values import Result
from tests import trees
from tests.building import build, varied_tree
from tests.compat.ext4_images import MiB, everything, write
from tests.compat.test_ext4_reader import BY_THE_KERNEL, FILL, VARIANTS, WITHOUT_ATTRIBUTES, mke2fs
from tests.oracles import debugfs, e2fsck, guest, parted
from tests.oracles.tools import CACHE, attempt, require_file, run

pytestmark = pytest.mark.compat

MORE = (
    "-t ext4 -O none",
    "-t ext4 -O none,extent -b 1024",
    "-t ext4 -O none,metadata_csum",
    "-t ext4 -E packed_meta_blocks=1",
    "-t ext4 -b 1024 -g 1024",
    "-t ext4 -O meta_bg,^resize_inode -b 1024 -g 256 -N 4000",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with every kind of entry."""
    return varied_tree(tmp_path_factory.mktemp("verify-ext4") / "tree")


def verify(path: Path, offset: int = 0) -> Result:
    """Verify the file system at an offset of an image."""
    disk = open_image(os.fsencode(path)).volume
    return verify_ext4(disk, offset, disk.size - offset)


def noted(result: Result) -> set[str]:
    """Return the first word of what notes found."""
    return {note.found.partition(":")[0] for note in result.notes}


# --- silent ---

HASHES = ("legacy", "half_md4", "tea")
"""By hash_version."""


@pytest.mark.parametrize("options", [*VARIANTS, *WITHOUT_ATTRIBUTES, *MORE])
def test_silent_on_images_by_mke2fs(options: str, tree: Path, tmp_path: Path) -> None:
    assert verify(mke2fs(tmp_path / "empty", options)).findings == ()
    path = mke2fs(tmp_path / "image", options, tree)
    assert verify(path).findings == ()
    if "quota" not in options:
        e2fsck.raw(path)
        assert e2fsck.raw(path).status == 0
    # Directories that mke2fs made linear get an index, which e2fsck makes with hashes of each kind.
    for number, version in enumerate(HASHES if options in ("-t ext4", "-t ext3 -b 1024") else ()):
        run("tune2fs", "-E", f"hash_alg={version}", path)
        assert attempt("e2fsck", "-fyD", path).status in (0, 1)
        assert f"Hash Version: {number}\n" in attempt("debugfs", "-R", "htree_dump /many", path).out
        assert verify(path).findings == ()


@pytest.mark.parametrize("options", [*VARIANTS, *WITHOUT_ATTRIBUTES, *MORE][::2])
def test_one_finding_where_the_end_is_missing(options: str, tree: Path, tmp_path: Path) -> None:
    """Wherever an image is cut off behind its superblock."""
    path = mke2fs(tmp_path / "image", options, tree)
    size = path.stat().st_size
    chance = random.Random(options)
    places = {2048, size - 1, *(chance.randrange(2048, most) for most in (1 << 20, 1 << 20, size))}
    for end in sorted(places, reverse=True):
        os.truncate(path, end)
        assert [f.field for f in verify(path).findings] == ["s_blocks_count"], end


@pytest.mark.parametrize("fs_type", ["ext4", "ext3", "ext2"])
@pytest.mark.parametrize("block_size", [1024, 4096])
def test_silent_on_imgwriters_images_before_and_after_tools(
    fs_type: str, block_size: int, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    entries = everything(block_size) | {b"data": trees.zeros(20 * MiB)}
    write(path, trees.inventory(entries), 100 * MiB, fs_type=fs_type, block_size=block_size)
    assert verify(path) == Result()
    for size in ("600M", "200M"):
        os.truncate(path, 600 * MiB)
        run("resize2fs", path, size)
        assert verify(path).findings == ()
    for options in (("-L", "other"), ("-U", "random"), ("-O", "^has_journal"), ("-j",)):
        run("tune2fs", *options, path)
        assert verify(path).findings == (), options
    run("resize2fs", "-M", path)
    assert verify(path).findings == ()


@pytest.mark.slow
def test_silent_on_usr_share(tmp_path: Path) -> None:
    path = build(Path("/usr/share"), tmp_path, "--partition-table", "efi")
    assert verify(path, parted.table(path).partitions[1].first_lba * 512) == Result()


@pytest.mark.slow
def test_silent_on_a_debian_root(tmp_path: Path) -> None:
    path = build(require_file(CACHE / "debian-root.tar"), tmp_path, "--partition-table", "none")
    assert verify(path) == Result()


# ext4 with checksums, ext3 with data in its journal, inline data and values in inodes.
KERNELS = [BY_THE_KERNEL[n] for n in (0, 3, 4)]
STATES = ("unmounted", "mounted")


@pytest.fixture(scope="module")
def by_the_kernel(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Path]:
    """Images that a guest filled, and unmounted or not before it was powered off."""
    folder = tmp_path_factory.mktemp("by-the-kernel")
    paths: dict[tuple[str, int], Path] = {}
    job = "fill() {\n" + FILL + "}\n"
    for state in STATES:
        for n, (make, mount) in enumerate(KERNELS):
            letter = "abcdef"[len(paths)]
            paths[state, n] = mke2fs(folder / f"{state}-{n}.img", make, size="64M")
            options = f"{make[:7]} -o rw{',' * bool(mount)}{mount}"
            job += f"mkdir /m{letter}\nmount {options} /dev/vd{letter} /m{letter}\n"
            job += f"fill /m{letter} {'ea' if 'ea_inode' in make else '-'}\n"
            if state == "unmounted":
                job += f"umount /m{letter}\n"
    answer = guest.boot(list(paths.values()), job)
    assert answer.status == 0, answer.log
    return paths


@pytest.mark.guest
@pytest.mark.slow
@pytest.mark.parametrize("nth", range(len(KERNELS)))
@pytest.mark.parametrize("state", STATES)
def test_silent_on_what_the_kernel_wrote(
    state: str, nth: int, by_the_kernel: dict[tuple[str, int], Path]
) -> None:
    result = verify(by_the_kernel[state, nth])
    assert result.findings == ()
    fields = {note.field for note in result.notes}
    if state == "unmounted":
        assert fields == set()
    else:
        assert fields == {"needs_recovery", "s_free_blocks_count", "s_free_inodes_count"}


@pytest.mark.guest
@pytest.mark.slow
def test_silent_on_indexes_that_the_kernel_made(tmp_path: Path) -> None:
    """With room left in the root and with none, of one level and of two; the reader takes them too."""
    paths = {size: mke2fs(tmp_path / f"{size}", f"-t ext4 -b {size}", size="64M") for size in (1024, 4096)}
    counts = {1024: (30, 100, 600, 2500), 4096: (110, 200, 2000)}
    job = ""
    for letter, size in zip("ab", paths, strict=True):
        job += f"mkdir /m{letter}\nmount -t ext4 /dev/vd{letter} /m{letter}\n"
        for count in counts[size]:
            job += f"mkdir /m{letter}/{count}\ncd /m{letter}/{count}\n"
            job += f"seq {count} | sed s/^/some-longer-name-with-which-blocks-fill-/ | xargs touch\n"
        job += f"cd /\numount /m{letter}\n"
    answer = guest.boot(list(paths.values()), job)
    assert answer.status == 0, answer.log
    for size, path in paths.items():
        e2fsck.check(path)
        assert verify(path) == Result()
        top = read_file_system(open_image(os.fsencode(path)).volume, verify=True).tree().entries
        assert top is not None
        for count in counts[size]:
            assert "Hash Version" in debugfs.htree(path, f"/{count}")
            assert len(top[b"%d" % count].entries or ()) == count
    assert "Indirect levels: 1" in debugfs.htree(paths[1024], "/2500")


# --- e2fsck is the judge of what is damaged ---

DAMAGE: dict[str, tuple[str, ...]] = {
    "a name less": ("unlink /data/1",),
    "an inode less": ("clri /data/1",),
    "a directory's inode less": ("clri /data",),
    "a link more": ("link /data/1 /data/second",),
    "a directory's link": ("link /data /second",),
    "a block less": ("freeb 3000 100",),
    "a block more": ("setb 20000 5",),
    "an inode marked": ("seti <2000>",),
    "an inode not marked": ("freei /data/1",),
    "i_size": ("sif /data/65536 size 0",),
    "i_size of a directory": ("sif /data size 500",),
    "i_size of a fast symlink, shorter": ("sif /names/link59 size 3",),
    "i_size of a fast symlink, longer": ("sif /names/link1 size 2",),
    "i_size of a slow symlink, as of a fast one": ("sif /names/link60 size 1",),
    "i_size of a slow symlink, shorter": ("sif /names/link1000 size 999",),
    "i_size of a slow symlink, longer": ("sif /names/link1000 size 1001",),
    "extents of a fast symlink": ("sif /names/link59 flags 0x80000",),
    "extents of a slow symlink": ("sif /names/link60 flags 0",),
    "i_size of the boot loader's inode": ("sif <5> size 274877906944",),
    "i_size of the undelete directory's": ("sif <6> size 274877906944",),
    "i_mode of a reserved inode": ("sif <9> mode 0100644",),
    "i_blocks of a reserved inode": ("sif <10> blocks 2",),
    "i_blocks of an inode for quotas": ("sif <3> blocks 2",),
    "i_blocks": ("sif /data/65536 blocks 5",),
    "i_links_count": ("sif /data/1 links_count 9",),
    "i_mode": ("sif /data/1 mode 0170644",),
    "i_flags": ("sif /data/1 flags 0x10080000",),
    "i_dtime": ("sif /data/1 dtime 20200101",),
    "i_file_acl": ("sif /data/1 file_acl 99999999",),
    "i_generation": ("sif /data/sparse generation 5",),
    "i_block": ("sif /data/65536 block[5] 99999999",),
    "another's block": ("sif /data/65536 block[5] 2",),
    "free blocks": ("ssv free_blocks_count 5",),
    "free inodes": ("ssv free_inodes_count 5",),
    "first inode": ("ssv first_ino 3",),
    "blocks per group": ("ssv blocks_per_group 800",),
    "feature": ("ssv feature_compat 0",),
    "journal": ("ssv journal_inum 9",),
    "free blocks of a group": ("set_bg 0 free_blocks_count 5",),
    "free inodes of a group": ("set_bg 1 free_inodes_count 5",),
    "directories of a group": ("set_bg 0 used_dirs_count 5",),
    "block bitmap": ("set_bg 1 block_bitmap 1",),
    "inode table": ("set_bg 0 inode_table 99999999",),
    "unused inodes": ("set_bg 0 itable_unused 65000",),
    "descriptor": ("set_bg 0 checksum 5",),
}
SETS = ("-t ext4 -b 1024", "-t ext4 -b 1024 -O ^metadata_csum", "-t ext3")


@pytest.fixture(scope="module")
def sound(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """An image of each set of features."""
    folder = tmp_path_factory.mktemp("sound")
    return {options: mke2fs(folder / "image", options, tree, size="24M").read_bytes() for options in SETS}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_e2fsck_objects_to_is_found(name: str, sound: dict[str, bytes], tmp_path: Path) -> None:
    objected = 0
    path = tmp_path / "image"
    for options in SETS:
        path.write_bytes(sound[options])
        for request in DAMAGE[name]:
            debugfs.request(path, request, write=True)
        if _objects(path):
            objected += 1
            assert is_found(path), options
    assert objected


def is_found(path: Path) -> bool:
    """Return whether there are findings, or the superblock cannot be believed and has no backup."""
    try:
        return bool(verify(path).findings)
    except FormatError:
        return True


def _objects(path: Path) -> bool:
    """Return whether e2fsck has something to repair, or cannot open it."""
    result = e2fsck.raw(path)
    return result.status != 0 or "? no" in result.text or "IGNORED" in result.text


@pytest.mark.parametrize("step", [1, 16])
def test_clusters_of_a_file_are_clusters_of_the_file_system(step: int, tree: Path, tmp_path: Path) -> None:
    """A block further is another place in the cluster; a cluster further is somebody else's."""
    path = mke2fs(tmp_path / "image", "-t ext4 -O bigalloc,^metadata_csum -b 1024 -C 16384", tree)
    first = int(run("debugfs", "-R", "blocks /data/65536", path).split()[0])
    debugfs.request(path, f"sif /data/65536 block[5] {first + step}", write=True)
    assert _objects(path)
    assert ("ee_start" in {finding.field for finding in verify(path).findings}) is (step == 1)
    assert is_found(path)


FLIPS = int(os.environ.get("IMGWRITER_FLIPS") or 120)
FLIPPED = (
    "-t ext4 -b 1024 -O ^resize_inode",
    "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg,^resize_inode,^has_journal",
    "-t ext2 -b 1024 -O ^resize_inode",
    "-t ext4 -b 1024 -O inline_data,^resize_inode,^metadata_csum,^has_journal",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of which most blocks in use are structures."""
    top = tmp_path_factory.mktemp("small") / "tree"
    (top / "many").mkdir(parents=True)
    for number in range(120):
        (top / "many" / f"entry-{number:03d}-of-some-length").write_bytes(b"%d" % number)
    with (top / "sparse").open("wb") as file:
        for number in range(40):
            file.seek(number * 20_000)
            file.write(b"piece %d" % number)
    os.link(top / "sparse", top / "hard")
    (top / "fast").symlink_to("a" * 20)
    (top / "slow").symlink_to("b" * 100)
    os.mkfifo(top / "fifo")
    for twin in ("twin1", "twin2"):
        (top / twin).touch()
        for number in range(5):
            os.setxattr(top / twin, f"user.attribute{number}", bytes([number]) * 100)
    return top


@pytest.mark.parametrize("options", FLIPPED)
def test_what_e2fsck_objects_to_after_a_bit_flipped_is_found(
    options: str, small: Path, tmp_path: Path
) -> None:
    """Bits of all blocks that e2image calls metadata, seven of ten in a byte that is not zero."""
    path = mke2fs(tmp_path / "image", options, small, size="12M")
    assert attempt("e2fsck", "-fyD", path).status in (0, 1)
    run("e2image", "-r", path, tmp_path / "metadata")
    image, metadata = bytearray(path.read_bytes()), (tmp_path / "metadata").read_bytes()
    blocks = [at for at in range(1024, len(metadata), 1024) if any(metadata[at : at + 1024])]
    rng = random.Random(options)
    objected = 0
    for _ in range(FLIPS // len(FLIPPED)):
        at = _place(rng, image, rng.choice(blocks))
        bit = 1 << rng.randrange(8)
        image[at] ^= bit
        path.write_bytes(image)
        if _objects(path):
            objected += 1
            assert is_found(path), f"bit {bit:#x} at {at} is found by e2fsck: {e2fsck.raw(path).text}"
        image[at] ^= bit
    assert objected > FLIPS // len(FLIPPED) // 4


def _place(rng: random.Random, image: bytearray, block: int) -> int:
    filled = [at for at in range(block, block + 1024) if image[at]]
    return rng.choice(filled) if filled and rng.random() < 0.7 else rng.randrange(block, block + 1024)


# --- what is noted ---


def test_bad_blocks_are_noted(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("5000\n5001\n9000\n")
    path = mke2fs(tmp_path / "image", f"-t ext4 -b 1024 -l {tmp_path}/bad", tree)
    e2fsck.check(path)
    result = verify(path)
    assert result.findings == ()
    assert [note.found for note in result.notes] == ["3 bad blocks"]


def test_where_attributes_might_be_is_noted(tree: Path, tmp_path: Path) -> None:
    """e2fsck has no objection to a bit where an inode without attributes has none."""
    path = mke2fs(tmp_path / "image", "-t ext4 -b 1024 -O ^metadata_csum", tree)
    image = bytearray(path.read_bytes())
    place = re.search(r"located at block (\d+), offset 0x(\w+)", debugfs.request(path, "imap /data/1"))
    assert place
    image[int(place[1]) * 1024 + int(place[2], 16) + 160] ^= 1
    path.write_bytes(image)
    e2fsck.check(path)
    result = verify(path)
    assert result.findings == ()
    assert [(note.field, note.found) for note in result.notes] == [("h_magic", "0x1")]


NOTED: dict[str, Callable[[Path], object]] = {
    "quota": lambda path: mke2fs(path, "-t ext4 -O quota"),
    "project": lambda path: mke2fs(path, "-t ext4 -O project"),
    "casefold": lambda path: mke2fs(path, "-t ext4 -O casefold"),
    "encrypt": lambda path: mke2fs(path, "-t ext4 -O encrypt"),
    "verity": lambda path: mke2fs(path, "-t ext4 -O verity"),
    "fast_commit": lambda path: mke2fs(path, "-t ext4 -O fast_commit"),
}


@pytest.mark.parametrize("feature", NOTED)
def test_what_is_not_verified_is_noted(feature: str, tmp_path: Path) -> None:
    NOTED[feature](tmp_path / "image")
    result = verify(tmp_path / "image")
    assert result.findings == ()
    assert feature in noted(result)
