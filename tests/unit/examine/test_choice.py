"""Which file system is meant where nobody says."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from imgwriter.errors import FormatError, SpecError
from imgwriter.examine.choice import choose
from imgwriter.examine.opening import Area, OpenedDisk, open_disk
from imgwriter.extent import Volume
from imgwriter.findings import Finding
from imgwriter.readers import Image
from imgwriter.tables_reader import Table
from imgwriter.units import MiB
from tests import trees
from tests.building import build
from tests.unit.ext4 import images

FILE_SYSTEM = images.opened(images.of({b"f": trees.file(b"x")}))
DAMAGED = FormatError("it is damaged", "superblock", 0)


def area(number: int, kind: str, size: int = 1, error: FormatError | None = None) -> Area:
    opened = None if error or kind not in ("ext4", "fat") else FILE_SYSTEM
    return Area(number, 0, size, None, kind, opened, error)


def disk(*areas: Area) -> OpenedDisk:
    return OpenedDisk(b"x.img", Image("raw", Volume(0, ()), {}), Table("none", 512, 0), areas)


@pytest.mark.parametrize(
    ("areas", "number"),
    [
        ([area(1, "fat"), area(2, "ext4")], 2),
        ([area(1, "fat", 9), area(2, "ext4", 1), area(3, "ext4", 2), area(4, "ext4", 2)], 3),
        ([area(1, "fat"), area(2, "swap"), area(3, "")], 1),
        ([area(0, "ext4")], 0),
        ([area(1, "xfs", 9), area(5, "ext4")], 5),
    ],
)
def test_the_root_then_the_only_fat(areas: list[Area], number: int) -> None:
    assert choose(disk(*areas))[0].number == number


def test_another_can_be_asked_for() -> None:
    assert choose(disk(area(1, "fat"), area(2, "ext4")), 1)[0].number == 1
    with pytest.raises(SpecError, match="no partition 3"):
        choose(disk(area(1, "fat"), area(2, "ext4")), 3)


def test_what_is_damaged_is_not_passed_over() -> None:
    """A listing of the ESP must not be taken for the root's."""
    with pytest.raises(FormatError, match="it is damaged"):
        choose(disk(area(1, "fat"), area(2, "ext4", error=DAMAGED)))


@pytest.mark.parametrize(
    ("areas", "number", "words"),
    [
        ([area(1, "fat"), area(2, "fat")], None, "partitions 1, 2 all hold FAT; say which.*--partition"),
        ([area(1, "xfs")], None, "partition 1 holds xfs, which is not read; attach"),
        ([area(0, "LUKS")], None, "the disk holds LUKS"),
        ([area(0, "")], None, "the disk holds no file system that is known; see 'imgwriter inspect'"),
        (
            [area(1, "xfs"), area(2, "")],
            None,
            r"no file system that is read \(partition 1: xfs, partition 2: unk",
        ),
        ([], None, r"no file system that is read \(no partition\)"),
        ([area(1, "ext4"), area(2, "swap")], 2, "partition 2 holds swap"),
    ],
)
def test_refusals_say_what_there_is(areas: list[Area], number: int | None, words: str) -> None:
    with pytest.raises((SpecError, FormatError), match=words):
        choose(disk(*areas), number)


def test_a_table_that_gives_no_partitions_is_said() -> None:
    """As that of a disk that is cut off: "no partition" would be half of the truth."""
    finding = Finding("GPT primary header", "alternate_lba", 544, "614,399", "675,839", "UEFI 2.10, 5.3.2")
    whole = Image("raw", Volume(614_400 * 512, ()), {})
    opened = replace(disk(), image=whole, table=Table("gpt", 512, 614_400, findings=(finding,)))
    with pytest.raises(
        FormatError, match="the disk's GPT is not one to take partitions from; 'imgwriter ver"
    ):
        choose(opened)


# An image of which the end is missing. The ESP is from 8 MiB to 10 MiB, the root behind it.


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], OpenedDisk]:
    """Return the first bytes of a disk of 32 MiB, opened; each disk is made once."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "tree").mkdir()
    made: dict[str, bytes] = {}

    def cut(table: str, size: int) -> OpenedDisk:
        if table not in made:
            (folder / table).mkdir()
            options = ["--partition-table", table, "--disk-size", "32MiB"]
            options += [] if table == "legacy" else ["--boot-end", "10MiB"]
            made[table] = build(folder / "tree", folder / table, *options).read_bytes()
        path = folder / "image"
        path.write_bytes(made[table][:size])
        return open_disk(bytes(path))

    return cut


def refusal(disk: OpenedDisk, number: int | None = None) -> str:
    with pytest.raises(FormatError) as caught:
        choose(disk, number)
    return str(caught.value)


@pytest.mark.parametrize("size", [2 * MiB, 9 * MiB, 10 * MiB, 10 * MiB + 1])
def test_a_gpt_that_is_cut_off_names_the_partition(
    image: Callable[[str, int], OpenedDisk], size: int
) -> None:
    """And not the ESP in place of the root."""
    first = {2 * MiB: "partition 1, ", 9 * MiB: f"partition 1 from its byte {MiB:,} on, "}.get(size, "")
    second = "partition 2 from its byte 1 on" if size % MiB else "partition 2"
    assert refusal(image("efi", size)) == (
        f"the image is cut off: its GPT is of a disk of {32 * MiB:,} bytes; from byte {size:,} on are"
        f" missing: {first}{second}, the backup GPT; get the whole of the image"
        + (", or say with --partition what of it to read" if not first else "")
    )


@pytest.mark.parametrize("size", [512, 1023, 1024])
def test_a_gpt_that_is_cut_off_before_its_entries_is_said_to_be(
    size: int, image: Callable[[str, int], OpenedDisk]
) -> None:
    said = refusal(image("efi", size))
    assert said.startswith("the image is cut off: ")
    assert said.endswith("; get the whole of the image")


def test_what_is_there_of_a_gpt_that_is_cut_off_can_be_asked_for(
    image: Callable[[str, int], OpenedDisk],
) -> None:
    assert choose(image("efi", 10 * MiB), 1)[0].kind == "fat"
    assert "begins at 10,485,760, and does not lie on the disk" in refusal(image("efi", 10 * MiB), 2)
    assert "get the whole of the image" in refusal(image("efi", 20 * MiB))
    # Of the root all is there.
    assert choose(image("efi", 32 * MiB - 512))[0].number == 2


def test_an_mbr_that_is_cut_off_names_the_partition(image: Callable[[str, int], OpenedDisk]) -> None:
    """And not the FAT that is there."""
    whole = image("legacy+boot", 32 * MiB)
    boot, root = whole.areas
    assert (boot.kind, root.kind, choose(whole)[0].number) == ("fat", "ext4", 2)
    for size in (root.start, root.start + 512):
        part = f"partition 2 from its byte {size - root.start:,} on" if size > root.start else "partition 2"
        assert refusal(image("legacy+boot", size)) == (
            f"the image is cut off, or its MBR is wrong; from byte {size:,} on are missing: {part};"
            " get the whole of the image, or correct its table, or say with --partition what of it to read"
        )
    assert choose(image("legacy+boot", root.start), 1)[0].kind == "fat"


@pytest.mark.parametrize("larger", [-1, 0, 1])
def test_the_root_may_be_what_is_missing_if_that_is_larger(
    larger: int, image: Callable[[str, int], OpenedDisk], tmp_path: Path
) -> None:
    """UEFI 2.10, 5.2.1: the second record is at 462."""
    (root,) = image("legacy", 32 * MiB).areas
    path = tmp_path / "image"
    content = bytearray(Path(os.fsdecode(image("legacy", 32 * MiB).path)).read_bytes())
    record = (0, bytes(3), 0x83, bytes(3), 32 * MiB // 512, root.size // 512 + larger)
    struct.pack_into("<B3sB3sII", content, 446 + 16, *record)
    path.write_bytes(content)
    disk = open_disk(bytes(path))
    if larger > 0:
        assert "are missing: partition 2; get the whole of the image, or correct" in refusal(disk)
        assert choose(disk, 1)[0].number == 1
    else:
        assert choose(disk)[0].number == 1
