"""FAT records against what mkfs.fat and mtools write."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest

from imgwriter.fat import structures as s
from tests.unit.fat.trees import MTIME_NS

# The first 90 (FAT32) or 62 bytes of volumes made by dosfstools 4.2:
#   mkfs.fat -a -F TYPE -s 1 -S 512 -R 32|1|1 -h 2048 -n NIXOS -g 64/32 -D 0x80 --invariant FILE
# with files of 67,584, 20,480 and 2,000 KiB.
MKFS = {
    32: (
        "eb58906d6b66732e66617400020120000200000000f8000020004000000800000010020010040000000000000200000001000600"
        "0000000000000000000000008000 29cdab3412 4e49584f53202020202020 4641543332202020"
    ),
    16: (
        "eb3c906d6b66732e666174000201010002000200a0f89f0020004000000800000000000080 0029cdab3412"
        "4e49584f53202020202020 4641543136202020"
    ),
    12: (
        "eb3c906d6b66732e6661740002010100020002a00ff80c0020004000000800000000000080 0029cdab3412"
        "4e49584f53202020202020 4641543132202020"
    ),
}
FIELDS = {32: (32, 1040, 135_168, 0), 16: (1, 159, 40_960, 512), 12: (1, 12, 4_000, 512)}


def boot_fields(fat_type: int) -> s.BootFields:
    reserved, fat_sectors, total, root_entries = FIELDS[fat_type]
    return s.BootFields(
        fat_type=fat_type,
        sector_size=512,
        cluster_size=512,
        reserved_sectors=reserved,
        fat_sectors=fat_sectors,
        total_sectors=total,
        hidden_sectors=2048,
        root_entries=root_entries,
        sectors_per_track=32,
        heads=64,
        volume_id=0x1234ABCD,  # what --invariant makes it
        label=b"NIXOS      ",
    )


@pytest.mark.parametrize("fat_type", [12, 16, 32])
def test_the_boot_sector_is_that_of_mkfs_but_for_the_oem_name(fat_type: int) -> None:
    expected = bytes.fromhex(MKFS[fat_type])
    actual = s.boot_sector(boot_fields(fat_type))
    assert len(actual) == 512
    assert actual[:3] + actual[11 : len(expected)] == expected[:3] + expected[11:]
    assert actual[3:11] == b"IMGWRITR"
    assert actual[510:] == b"\x55\xaa"


def test_the_jump_lands_on_the_boot_code() -> None:
    for fat_type in (12, 16, 32):
        sector = s.boot_sector(boot_fields(fat_type))
        assert sector[2 + sector[1] :].startswith(b"\xcd\x18")  # int 18h: the BIOS tries the next device


@pytest.mark.parametrize(("total", "short", "wide"), [(0xFFFF, 0xFFFF, 0), (0x10000, 0, 0x10000)])
def test_sixteen_bits_of_sectors_are_used_as_long_as_they_do(total: int, short: int, wide: int) -> None:
    sector = s.boot_sector(boot_fields(16)._replace(total_sectors=total))
    assert struct.unpack_from("<H", sector, 19)[0] == short
    assert struct.unpack_from("<L", sector, 32)[0] == wide


def test_fsinfo_is_that_of_mkfs() -> None:
    # The FSInfo sector of the FAT32 volume above: 132,031 free clusters; mkfs.fat's next free is 2.
    sector = s.fsinfo_sector(0x000207BF, 2)
    assert len(sector) == 512
    assert sector[:4] == bytes.fromhex("52526141")
    assert sector[4:484] == bytes(480)
    assert sector[484:] == bytes.fromhex("72724161bf07020002000000") + bytes(12) + bytes.fromhex("000055aa")


def test_a_full_volume_has_no_next_free_cluster() -> None:
    assert s.fsinfo_sector(0, None)[488:496] == bytes(4) + b"\xff" * 4


# What mtools 4.0.32 writes for these names (mcopy -m, TZ=UTC, a file of one byte whose time is MTIME_NS):
# long-name entries, then the first 11 bytes of the short one.
MCOPY = [
    (
        "The quick brown.fox",
        b"THEQUI~1FOX",
        "4277006e002e0066006f000f000778000000ffffffffffffffff0000ffffffff"
        "01540068006500200071000f00077500690063006b0020006200000072006f00",
    ),
    (
        "exactly13char",
        b"EXACTL~1   ",
        "41650078006100630074000f00f66c0079003100330063006800000061007200",
    ),
    (
        ".config.d",
        b"CONFIG~1D  ",
        "412e0063006f006e0066000f00ed690067002e0064000000ffff0000ffffffff",
    ),
    (
        "foo.tar.gz",
        b"FOOTAR~1GZ ",
        "4166006f006f002e0074000f00ed610072002e0067007a0000000000ffffffff",
    ),
    (
        "a+b;c=[d].x,y",
        b"A_B_C_~1X_Y",
        "4161002b0062003b0063000f00303d005b0064005d002e00780000002c007900",
    ),
]


@pytest.mark.parametrize(("name", "short", "long_entries"), MCOPY)
def test_long_names_are_those_of_mcopy(name: str, short: bytes, long_entries: str) -> None:
    entry = s.directory_entry(short, s.ATTR_ARCHIVE, s.stamp(MTIME_NS), 3, 1, name.encode("utf-16-le"))
    assert entry[:-32].hex() == long_entries
    assert s.checksum(short) == bytes.fromhex(long_entries)[13]


def test_the_short_entry_is_that_of_mcopy() -> None:
    # UPPER.TXT of the same volume. mcopy leaves DIR_CrtTimeTenth at zero; ours holds 1.23 s.
    expected = bytes.fromhex("555050455220202054585420000054632d512d51000054632d51040001000000")
    actual = s.directory_entry(b"UPPER   TXT", s.ATTR_ARCHIVE, s.stamp(MTIME_NS), 4, 1)
    assert actual[:11] == expected[:11]
    assert actual[11] == s.ATTR_ARCHIVE
    assert actual[13] == 123
    assert actual[14:] == expected[14:]


def test_the_first_cluster_is_split_over_two_fields() -> None:
    entry = s.directory_entry(b"A          ", s.ATTR_ARCHIVE, s.stamp(0), 0x0ABCDEF1, 0xFFFFFFFF)
    assert struct.unpack_from("<H", entry, 20)[0] == 0x0ABC
    assert struct.unpack_from("<H", entry, 26)[0] == 0xDEF1
    assert entry[28:32] == b"\xff" * 4


@pytest.mark.parametrize("units", [1, 12, 13, 14, 254, 255])
def test_long_names_end_in_a_terminator_unless_they_fill_their_entries(units: int) -> None:
    name = "n" * units
    entry = s.directory_entry(b"N~1        ", 0, s.stamp(0), 0, 0, name.encode("utf-16-le"))
    slots = [entry[i : i + 32] for i in range(0, len(entry) - 32, 32)]
    assert [slot[0] & 0x3F for slot in slots] == list(range(len(slots), 0, -1))
    assert [slot[0] >> 6 for slot in slots] == [1] + [0] * (len(slots) - 1)
    text = b"".join(slot[1:11] + slot[14:26] + slot[28:32] for slot in reversed(slots))
    rest = len(slots) * 13 - units
    assert text == name.encode("utf-16-le") + (b"\0\0" + b"\xff\xff" * (rest - 1) if rest else b"")


def ns(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1_000_000_000  # type: ignore[misc,arg-type]  # star-args


# Spec: FAT specification, 6.3: date = (year - 1980) << 9 | month << 5 | day,
# time = hours << 11 | minutes << 5 | seconds / 2.
@pytest.mark.parametrize(
    ("time_ns", "expected"),
    [
        (MTIME_NS, (40 << 9 | 9 << 5 | 13, 12 << 11 | 26 << 5 | 20, 123)),
        (ns(1980, 1, 1), (0x0021, 0, 0)),
        (ns(1980, 1, 1) - 1, (0x0021, 0, 0)),
        (ns(1980, 1, 1) + 9_999_999, (0x0021, 0, 0)),
        (ns(1980, 1, 1) + 10_000_000, (0x0021, 0, 1)),
        (ns(1980, 1, 1, 0, 0, 2) - 1, (0x0021, 0, 199)),
        (ns(1980, 1, 1, 0, 0, 2), (0x0021, 1, 0)),
        (-(1 << 62), (0x0021, 0, 0)),
        (ns(2000, 2, 29, 23, 59, 58), (20 << 9 | 2 << 5 | 29, 23 << 11 | 59 << 5 | 29, 0)),
        (ns(2107, 12, 31, 23, 59, 59) + 999_999_999, (0xFF9F, 0xBF7D, 199)),
        (ns(2108, 1, 1), (0xFF9F, 0xBF7D, 199)),
        (1 << 62, (0xFF9F, 0xBF7D, 199)),
    ],
)
def test_times_are_utc_and_clamped(time_ns: int, expected: tuple[int, int, int]) -> None:
    assert s.stamp(time_ns) == expected
