"""Which file system is meant where nobody says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgwriter.errors import FormatError, SpecError
from imgwriter.examine.choice import choose
from imgwriter.examine.opening import Area, OpenedDisk
from imgwriter.extent import Volume
from imgwriter.findings import Finding
from imgwriter.readers import Image
from imgwriter.tables_reader import Table
from tests import trees
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
    opened = replace(disk(), table=Table("gpt", 512, 614_400, findings=(finding,)))
    with pytest.raises(
        FormatError, match="the disk's GPT is not one to take partitions from; 'imgwriter ver"
    ):
        choose(opened)
