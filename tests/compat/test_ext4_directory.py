"""Directories judged by e2fsck and debugfs: ours, within a file system that mke2fs made."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from imgwriter.ext4.checksum import fs_seed, inode_seed
from imgwriter.ext4.directory import DirectoryFormat, encode_directory, plan_directory
from imgwriter.ext4.dirhash import half_md4
from tests.oracles import debugfs, e2fsck
from tests.oracles.tools import attempt

pytestmark = pytest.mark.compat

UUID = "00010203-0405-0607-0809-0a0b0c0d0e0f"
SEED = "f0e1d2c3-b4a5-9687-7869-5a4b3c2d1e0f"
UUID_BYTES, SEED_BYTES = (bytes.fromhex(text.replace("-", "")) for text in (UUID, SEED))
DIRECTORY, FIRST_FILE = 12, 13
LINKS = 60000
FILE_MODE_DIRECTORY = "040755"
FLAGS_EXTENTS, FLAG_INDEX = 0x80000, 0x1000


def script(image: Path, folder: Path, lines: list[str]) -> str:
    """Run debugfs requests that change an image."""
    commands = folder / "commands"
    commands.write_text("\n".join(lines) + "\n")
    result = attempt("debugfs", "-w", "-f", str(commands), str(image))
    assert result.status == 0, result.text
    return result.out


def file_system_with(
    folder: Path, names: list[bytes], fmt: DirectoryFormat, damage: int | None = None
) -> Path:
    """Make a file system with a directory ``d`` of ours, whose names are links of a few empty files.

    The directory's bytes are written as a file by debugfs, which then calls the file a directory.
    """
    plan = plan_directory(names, fmt, b"d")
    numbers = [FIRST_FILE + position // LINKS for position in range(len(names))]
    seed = inode_seed(fs_seed(UUID_BYTES), DIRECTORY)
    data = bytearray(
        encode_directory(
            plan, fmt, numbers, [1] * len(names), self_inode=DIRECTORY, parent_inode=2, inode_seed=seed
        )
    )
    if damage is not None:
        data[damage] ^= 0x40
    (folder / "blocks").write_bytes(data)
    image = folder / "image"
    features = ",".join(
        ("" if on else "^") + feature
        for feature, on in (
            ("metadata_csum", fmt.csum),
            ("dir_index", fmt.index),
            ("large_dir", fmt.large_dir),
        )
    )
    options = ["-q", "-t", "ext4", "-b", str(fmt.block_size), "-O", features, "-U", UUID]
    made = attempt(
        "mke2fs", *options, "-E", f"hash_seed={SEED}", str(image), f"{len(data) * 2 // 1024 + 9000}k"
    )
    assert made.status == 0, made.text
    lines = [f"ssv flags {1 if fmt.signed else 2}", f"write {folder / 'blocks'} d"]
    for number in sorted(set(numbers)):
        name = f"f{number}"
        lines += [f"write /dev/null {name}", f"sif {name} links_count {1 + numbers.count(number)}"]
    flags = FLAGS_EXTENTS | (FLAG_INDEX if plan.indexed else 0)
    lines += [f"sif d mode {FILE_MODE_DIRECTORY}", "sif d generation 0", f"sif d flags {flags:#x}"]
    lines += ["unlink d", f"ln <{DIRECTORY}> d", "sif d links_count 2", "sif / links_count 4"]
    lines += ["set_bg 0 used_dirs_count 3", "set_bg 0 checksum calc"]
    script(image, folder, lines)
    return image


def random_names(count: int, seed: int) -> list[bytes]:
    """Return sorted names of 8 to 120 bytes, half of these outside ASCII; none that debugfs reads amiss."""
    random_source = random.Random(seed)
    letters = [*range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B), *range(0xA1, 0x100)]
    return sorted(
        b"%08d" % number + bytes(random_source.choices(letters, k=random_source.randrange(113)))
        for number in range(count)
    )


def listed(image: Path) -> list[bytes]:
    """Return the names that debugfs sees in ``d``, in the order of their bytes."""
    result = attempt("debugfs", "-R", "ls -p d", str(image))
    lines = result.out.encode("utf-8", "surrogateescape").splitlines()
    found = [line.split(b"/")[5] for line in lines if line.startswith(b"/")]
    return sorted(name for name in found if name not in (b".", b"..", b""))


@pytest.mark.parametrize("signed", [False, True])
def test_hashes_are_those_of_debugfs(tmp_path: Path, signed: bool) -> None:
    names = random_names(300, 3)
    text = script_hashes(tmp_path, names, 1 if signed else 4)
    assert half_md4(names, SEED_BYTES, signed=signed) == text


def script_hashes(folder: Path, names: list[bytes], algorithm: int) -> list[int]:
    """Let debugfs hash names: 1 is half_md4, 4 the same with unsigned chars."""
    commands = folder / "hashes"
    commands.write_bytes(b"".join(b"dx_hash -h %d -s %s %s\n" % (algorithm, SEED.encode(), n) for n in names))
    result = attempt("debugfs", "-f", str(commands))
    return [int(value, 16) for value in re.findall(r" is (0x[0-9a-f]+) \(minor", result.out)]


CASES = {
    "one-block": (9, DirectoryFormat(hash_seed=SEED_BYTES, signed=True)),
    "linear": (700, DirectoryFormat(csum=False, index=False, hash_seed=SEED_BYTES)),
    "one-level": (500, DirectoryFormat(hash_seed=SEED_BYTES, signed=True)),
    "one-level-unsigned": (500, DirectoryFormat(hash_seed=SEED_BYTES, signed=False)),
    "two-levels": (3000, DirectoryFormat(block_size=1024, hash_seed=SEED_BYTES, signed=True)),
    "two-levels-no-checksum": (9000, DirectoryFormat(block_size=2048, csum=False, hash_seed=SEED_BYTES)),
}


@pytest.mark.parametrize("case", CASES)
def test_e2fsck_is_silent_and_debugfs_sees_every_name(tmp_path: Path, case: str) -> None:
    count, fmt = CASES[case]
    names = random_names(count, count)
    image = file_system_with(tmp_path, names, fmt)
    e2fsck.check(image)
    assert listed(image) == names


def test_a_third_level_with_large_dir(tmp_path: Path) -> None:
    fmt = DirectoryFormat(block_size=1024, hash_seed=SEED_BYTES, large_dir=True)
    image = file_system_with(tmp_path, [b"%0255d" % number for number in range(46_495)], fmt)
    e2fsck.check(image)
    assert "Indirect levels: 2" in debugfs.htree(image, "d")


def test_names_of_one_hash_in_two_leaves(tmp_path: Path) -> None:
    fmt = DirectoryFormat(block_size=1024, hash_seed=SEED_BYTES)
    twins = colliding(fmt)
    for start in range(12):
        names = sorted([*(b"%0255d" % number for number in range(start, 400)), *twins])
        plan = plan_directory(names, fmt)
        if plan.tree and any(value & 1 for value in plan.tree.hashes):
            break
    else:
        pytest.fail("no arrangement puts the two names into two leaves")
    e2fsck.check(file_system_with(tmp_path, names, fmt))


def colliding(fmt: DirectoryFormat) -> list[bytes]:
    """Return two names of one hash."""
    seen: dict[int, bytes] = {}
    names = [b"name-%06d" % number for number in range(200_000)]
    for name, value in zip(names, half_md4(names, fmt.hash_seed, signed=fmt.signed), strict=True):
        if value in seen:
            return [seen[value], name]
        seen[value] = name
    raise AssertionError("200,000 names without a collision")


@pytest.mark.parametrize(
    ("offset", "complaint"),
    [
        (32 + 8, "HTREE"),  # the root's first hash
        (1024 + 8 + 4, "HTREE"),  # a node's first block
        (10 * 1024 + 8, "HTREE"),  # the first name of a leaf: its hash is another's now
        (11 * 1024 - 1, "passes checks but fails checksum"),  # the leaf's checksum
    ],
)
def test_e2fsck_objects_to_a_damaged_index(tmp_path: Path, offset: int, complaint: str) -> None:
    fmt = DirectoryFormat(block_size=1024, hash_seed=SEED_BYTES, signed=True)
    image = file_system_with(tmp_path, random_names(3000, 3000), fmt, damage=offset)
    result = e2fsck.raw(image)
    assert result.status != 0
    assert complaint in result.text
