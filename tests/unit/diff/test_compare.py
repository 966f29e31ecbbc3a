"""Whole comparisons: what is beside what, what counts, what is said."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from imgwriter import Content, ImageSpec, build_image
from imgwriter.commands import diff as options
from imgwriter.diff import changes, report
from imgwriter.diff.compare import EXAMPLES, Comparison, compare_disks, compare_images, differ
from imgwriter.diff.ranges import Side, differing, runs, xor
from imgwriter.errors import FormatError, SourceError, SpecError
from imgwriter.extent import Bytes, Volume, extent
from tests.unit.diff.disks import ESP, ROOT, build_efi, changed, cli, opened, tree

SUPER = ROOT + 1024


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def disk(base: Path) -> Path:
    return build_efi(base)


def compared(a: Path, b: Path, **options: bool) -> Comparison:
    return compare_disks(opened(a), opened(b), **options)


def test_a_disk_is_the_same_as_its_copy(disk: Path, tmp_path: Path) -> None:
    copy = shutil.copyfile(disk, tmp_path / "copy")
    comparison = compared(disk, copy)
    assert comparison.same and not comparison.summary.layers
    assert not differ(opened(disk), opened(copy))
    assert "the disks are the same" in report.text(comparison)


def test_the_first_difference_comes_first(disk: Path, tmp_path: Path) -> None:
    b = changed(
        disk, tmp_path / "b", (SUPER + 0x68, b"\xff"), (ESP + 39, b"\xff"), (SUPER + 0x78, b"changed")
    )
    comparison = compared(disk, b)
    assert not comparison.same
    assert comparison.summary.first is not None
    assert comparison.summary.first.first == ESP + 39
    assert list(comparison.summary.layers) == ["partition 1 (FAT)", "partition 2 (ext4)"]
    lines = report.text(comparison).splitlines()
    assert "the first: partition 1 (FAT), boot sector, BS_VolID" in lines[3]
    assert "  ext4 superblock, s_volume_name: 'nixos' -> 'changed'" in lines


def test_what_is_ignored_does_not_count(disk: Path, tmp_path: Path) -> None:
    times = changed(
        disk, tmp_path / "b", (SUPER + 0x30, b"\x99"), (ESP + 39, b"\xff"), (SUPER + 0x3FC, b"\x01")
    )
    classes = frozenset({"times", "identifiers", "checksums"})
    for left_out in classes:
        assert not compare_disks(opened(disk), opened(times), ignore=classes - {left_out}).same
    same = compare_disks(opened(disk), opened(times), ignore=classes)
    assert same.same and same.summary.ignored == 3
    assert "but for 3 bytes of what is ignored" in report.text(same)
    with pytest.raises(SpecError, match="no class 'time'"):
        compare_images(os.fsencode(disk), os.fsencode(disk), ignore=["time"])


def test_many_structures_are_one_line_and_some_examples(disk: Path, base: Path) -> None:
    other = build_efi(base, time=1_700_000_000, output=base / "later")
    comparison = compared(disk, other)
    groups = comparison.summary.layers["partition 2 (ext4)"]
    assert groups["inode", "i_crtime"].subjects >= 3
    text = report.text(comparison, 5)
    assert max(sum(line.startswith("  ") for line in part.splitlines()) for part in text.split("\n\n")) <= 6
    assert "--limit 0 shows all" in text
    assert "--limit 0" not in report.text(comparison, None)


def test_the_document_has_what_the_text_has(disk: Path, tmp_path: Path) -> None:
    b = changed(disk, tmp_path / "b", (SUPER + 0x78, b"changed"))
    document = json.loads(json.dumps(report.document(compared(disk, b), "1")))
    assert (document["schema"], document["same"], document["bytes"]) == (1, False, 7)
    assert document["first"]["field"] == "s_volume_name"
    assert document["first"]["offset"] == SUPER + 0x78
    (layer,) = document["layers"]
    assert layer["groups"][0]["examples"][0]["b"] == "'changed'"


def test_file_systems_are_matched_by_kind(base: Path, disk: Path) -> None:
    """The root of an MBR disk is partition 1, of an EFI disk partition 2."""
    spec = ImageSpec(trees=[base / "tree"], additional_space=0, output=base / "mbr")
    legacy = Path(os.fsdecode(build_image(spec).path))
    comparison = compared(disk, legacy)
    assert "partition 2 (ext4) of A is compared with partition 1 (ext4) of B" in comparison.notes
    assert "the partition tables are gpt and mbr" in comparison.differences
    assert "partition 2 (ext4)" not in comparison.summary.layers  # byte for byte the same, elsewhere
    assert compared(disk, legacy, files=True).trees["partition 2 (ext4)"] == ()


def test_other_shapes_are_compared_by_their_trees(base: Path, disk: Path, tmp_path: Path) -> None:
    other = tree(tmp_path / "tree")
    (other / "etc" / "motd").chmod(0o600)
    (other / "etc" / "new").write_bytes(b"new")
    (other / "etc" / "issue").write_bytes(b"isSue\n")
    (other / "link").unlink()
    spec = ImageSpec(trees=[other], additional_space=64 << 20, output=tmp_path)
    one = Path(os.fsdecode(build_image(spec).path))
    spec = ImageSpec(trees=[base / "tree"], additional_space=0, output=tmp_path / "two")
    two = Path(os.fsdecode(build_image(spec).path))
    comparison = compared(two, one)
    changes = {bytes(c.path): c for c in comparison.trees["partition 1 (ext4)"]}
    assert changes[b"link"].what == "only in A"
    assert changes[b"etc/new"].what == "only in B"
    assert "mode 0o644 -> 0o600" in changes[b"etc/motd"].details
    assert "content from byte 2 on, 1 byte differs" in changes[b"etc/issue"].details
    assert {c.field_name for c in comparison.summary.layers["partition 1 (ext4)"].values()} >= {
        "s_blocks_count_lo", "s_inodes_count"
    }  # fmt: skip


def test_a_longer_disk_is_compared_to_its_end(disk: Path, tmp_path: Path) -> None:
    longer = shutil.copyfile(disk, tmp_path / "longer")
    size = longer.stat().st_size
    os.truncate(longer, size + (1 << 20))
    assert len(compared(disk, longer).differences) == 1
    b = changed(longer, tmp_path / "b", (size + 4096, b"beyond"))
    comparison = compared(disk, b)
    assert comparison.summary.count == 6
    assert comparison.summary.first is not None and comparison.summary.first.first == size + 4096


def test_a_disk_of_zeros_is_explained_by_the_other(disk: Path, tmp_path: Path) -> None:
    zeros = tmp_path / "zeros"
    zeros.touch()
    os.truncate(zeros, disk.stat().st_size)
    comparison = compared(disk, zeros)
    assert ("superblock", "s_magic") in comparison.summary.layers["partition 2 (ext4)"]
    assert ("MBR", "signature") in comparison.summary.layers["MBR"]


# --- The command ---


def test_the_command_line_has_all_classes() -> None:
    """It names them itself, as it imports nothing that is heavy."""
    assert options.CLASSES == changes.CLASSES
    assert options.LINES == report.LINES == EXAMPLES


def test_exit_statuses(disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    b = changed(disk, tmp_path / "b", (SUPER + 0x30, b"\x99"))
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"QFI\xfb" + b"\xff" * 100)
    assert cli("diff", disk, disk) == 0
    assert cli("diff", disk, b) == 1
    assert cli("diff", disk, b, "--ignore", "times") == 0
    assert cli("diff", disk, tmp_path / "missing") == 2
    assert cli("diff", damaged, disk) == 2
    assert cli("diff", disk, b, "--limit", "-1") == 2
    capfd.readouterr()
    assert cli("diff", "--brief", disk, disk) == 0
    assert cli("diff", "--brief", disk, b) == 1
    assert capfd.readouterr().out == f"{disk} and {b} differ\n"
    assert cli("diff", "-q", disk, b, "--ignore", "times") == 0
    assert cli("diff", "--files", "--json", disk, b) == 0
    assert json.loads(capfd.readouterr().out)["same"] is True


def test_trouble_is_an_error_of_the_library(disk: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        compare_images(os.fsencode(disk), os.fsencode(tmp_path / "missing"))
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"QFI\xfb" + b"\xff" * 100)
    with pytest.raises(FormatError):
        compare_images(os.fsencode(damaged), os.fsencode(disk))


def test_content_files(base: Path, tmp_path: Path) -> None:
    """Of a FAT too, names and contents are compared where it is laid out otherwise."""
    (tmp_path / "tree").mkdir()
    paths = []
    for name, end in (("one", 16 << 20), ("two", 24 << 20)):
        spec = ImageSpec(
            trees=[tmp_path / "tree"],
            partition_table="efi",
            additional_space=0,
            boot_end=end,
            output=tmp_path / name,
            esp_contents=[
                Content(base / "loader.efi", f"/{name}.efi"),
                Content(base / "loader.efi", "/same"),
            ],
        )
        paths.append(Path(os.fsdecode(build_image(spec).path)))
    changes = compared(*paths).trees["partition 1 (FAT)"]
    assert {(c.path, c.what) for c in changes} == {(b"one.efi", "only in A"), (b"two.efi", "only in B")}


# --- Ranges ---


def side(size: int, *pieces: tuple[int, bytes]) -> Side:
    return Side(Volume(size, [extent(start, Bytes(content), "piece") for start, content in pieces]))


def test_ranges_are_whole_grains() -> None:
    a = side(1 << 30, (5000, b"a"), (3 << 20, bytes(10_000)))
    b = side(1 << 30, (5000, b"b"), (4 << 20, b"x" * 5000), ((1 << 30) - 1, b"e"))
    found = list(differing(a, b, 0, 0, 1 << 30))
    assert found == [(4096, 8192), (4 << 20, (4 << 20) + 8192), ((1 << 30) - 4096, 1 << 30)]


def test_two_disks_of_many_holes_are_compared_at_once() -> None:
    """16 TiB of zeros are not read."""
    a, b = side(1 << 44), side(1 << 44, ((1 << 44) - 1, b"x"))
    assert list(differing(a, b, 0, 0, 1 << 44)) == [((1 << 44) - 4096, 1 << 44)]


def test_places_may_be_elsewhere() -> None:
    a, b = side(1 << 20, (4096, b"same"), (9000, b"x")), side(1 << 21, (1 << 20, b"same"))
    assert list(differing(a, b, 4096, 1 << 20, 8192)) == [(4096, 8192)]


def test_a_side_reads_zeros_beyond_its_end() -> None:
    assert side(10, (8, b"ab")).read(6, 8) == b"\0\0ab\0\0\0\0"


def test_xor_and_runs() -> None:
    assert list(runs(xor(b"abcdef", b"abXXeX"))) == [(2, 4), (5, 6)]
    assert list(runs(xor(b"", b""))) == []


# --- What has no tree here, and what is damaged ---


def raw_disk(path: Path, size: int, *pieces: tuple[int, bytes]) -> Path:
    """Make a disk without a table: a magic of a file system that is not read, or of none."""
    empty = path.with_suffix(".empty")
    empty.touch()
    os.truncate(empty, size)
    return changed(empty, path, *pieces)


XFS = (0, b"XFSB")
BTRFS = (0x10040, b"_BHRfS_M")


def test_what_is_not_read_is_compared_by_its_bytes_however_long_it_is(tmp_path: Path) -> None:
    one = raw_disk(tmp_path / "one", 4 << 20, XFS, (1 << 20, b"abc"))
    two = raw_disk(tmp_path / "two", 6 << 20, BTRFS, (1 << 20, b"abd"), (5 << 20, b"end"))
    comparison = compared(one, two)
    assert comparison.summary.first is not None and comparison.summary.first.first == 0
    assert comparison.summary.count == 4 + 8 + 1 + 3
    assert not comparison.unread and not comparison.same
    assert cli("diff", one, two) == 1


def test_an_ext4_beside_what_is_not_read_is_not_taken_for_its_layout(tmp_path: Path) -> None:
    spec = ImageSpec(trees=[tree(tmp_path / "tree")], partition_table="none", output=tmp_path)
    one = Path(os.fsdecode(build_image(spec).path))
    two = raw_disk(tmp_path / "two", 4 << 20, XFS)
    comparison = compared(one, two)
    content, other = one.read_bytes(), two.read_bytes()
    size = min(len(content), len(other))
    beyond = sum(1 for byte in content[size:] + other[size:] if byte)
    expected = sum(x != y for x, y in zip(content[:size], other[:size], strict=True)) + beyond
    assert comparison.summary.count == expected
    assert "the disk holds ext4 and xfs" in comparison.differences
    subjects = {field.kind for layer in comparison.summary.layers.values() for field in layer.values()}
    assert "superblock" not in subjects and "placement" in subjects


def test_an_ext4_of_another_length_is_compared_by_its_tree_and_nothing_else(tmp_path: Path) -> None:
    made, top = [], tree(tmp_path / "tree")
    for space in (0, 8 << 20):
        output = tmp_path / str(space)
        spec = ImageSpec(trees=[top], partition_table="none", additional_space=space, output=output)
        made.append(Path(os.fsdecode(build_image(spec).path)))
    comparison = compared(*made)
    assert comparison.trees == {"ext4": ()}
    assert {field.kind for field in comparison.summary.layers["ext4"].values()} == {"superblock"}


@pytest.mark.parametrize("which", ["primary", "backup"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_header_that_is_gone_is_explained_by_the_other_side(
    disk: Path, tmp_path: Path, which: str, turned: bool
) -> None:
    at = 512 if which == "primary" else disk.stat().st_size - 512
    before = disk.read_bytes()[at : at + 512]
    b = changed(disk, tmp_path / "b", (at, bytes(512)))
    pair = (b, disk) if turned else (disk, b)
    comparison = compared(*pair)
    assert comparison.summary.count == sum(byte != 0 for byte in before)
    assert list(comparison.summary.layers) == ["GPT"]
    fields = comparison.summary.layers["GPT"].values()
    assert {field.kind for field in fields} == {f"GPT {which} header"}
    assert {"signature", "disk_guid", "my_lba"} <= {field.field_name for field in fields}


def test_only_what_differs_of_a_partitions_place_is_told(disk: Path, tmp_path: Path) -> None:
    other = build_efi(tmp_path, boot_end=ROOT + (1 << 20))
    said = " ".join(compared(disk, other).differences)
    assert "partition 1 (FAT) has 8,388,608 and 9,437,184 bytes" in said
    assert said.endswith(f"partition 2 (ext4) lies at {ROOT:,} and {ROOT + (1 << 20):,}")
