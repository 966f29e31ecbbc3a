"""What imgwriter makes, in the hands of the Linux kernel: mounted, compared, written, grown, cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.building import build, varied_tree
from tests.oracles import dumpe2fs, e2fsck, fsck_fat, guest, parted
from tests.oracles.snapshot import difference, of_directory, of_source
from tests.oracles.tools import run

pytestmark = [pytest.mark.guest, pytest.mark.slow]

MiB = 1 << 20

TABLES = ("legacy", "efi", "none", "legacy+boot", "legacy+gpt", "efixbootldr", "hybrid")

# Every way in which a mounted file system is changed; the large directory has an index.
CHANGE = """
mount $(root) /mnt
cd /mnt/many
i=0
while [ $i -lt 1000 ]; do echo $i >new-$i-in-a-directory-that-has-an-index; i=$((i + 1)); done
rm entry-000* entry-010*
mv entry-00500* ../names/moved
cd /mnt
rm -r names/level0 data/sparse
echo more >>data/4097
cp data/3000001 data/copy
cmp data/3000001 data/copy
head -c 5000 /dev/urandom >data/60
: >data/65536
mkdir -p new/a/b/c
ln data/1 new/hard
ln -s ../data/1 new/soft
mknod new/node c 1 3
/tools/setfattr -n user.new -v value attributes/value0
/tools/setfattr -n user.attribute-3 -v changed attributes/twin1
/tools/setfattr -x user.value attributes/value60
[ $(ls many | wc -l) = $EXPECTED ]
sync
cd /
umount /mnt
mount $(root) /mnt
[ "$(cat /mnt/many/new-999-in-a-directory-that-has-an-index)" = 999 ]
[ "$(tail -n 1 /mnt/data/4097)" != "" ]
umount /mnt
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with every kind of entry."""
    return varied_tree(tmp_path_factory.mktemp("guest") / "tree")


def _root_partition(image: Path) -> tuple[int, int]:
    """Return (number, offset in bytes) of the root, the last partition by place; (0, 0) without a table."""
    table = parted.table(image)
    if table.label == "loop":
        return 0, 0
    last = max(table.partitions, key=lambda partition: partition.first_lba)
    return last.number, last.first_lba * table.sector_size


def _change_job(names: int) -> str:
    return f"EXPECTED={names}\n{CHANGE}"


@pytest.mark.parametrize("table", TABLES)
def test_every_entry_of_every_layout(table: str, tree: Path, tmp_path: Path) -> None:
    image = build(tree, tmp_path, "--partition-table", table, "--disk-size", "600M")
    answer = guest.check([image], "mount -o ro $(root) /mnt\nsnapshot /mnt\numount /mnt\n")
    found = answer.snapshot
    assert difference(of_source(tree, found), found) == []


@pytest.mark.parametrize(
    "options",
    [
        ("--fs-type", "ext4"),
        ("--fs-type", "ext4", "--block-size", "1024"),
        ("--fs-type", "ext3"),
        ("--fs-type", "ext2"),
        ("--fs-type", "ext2", "--features", "none,ext_attr"),
    ],
    ids=["ext4", "ext4-1k", "ext3", "ext2", "nearly-no-feature"],
)
def test_write_and_delete(options: tuple[str, ...], tree: Path, tmp_path: Path) -> None:
    image = build(tree, tmp_path, "--partition-table", "none", "--disk-size", "128M", *options)
    # 1,500 names, 100 + 100 of them removed, one moved away, 1,000 made.
    guest.check([image], _change_job(1500 - 200 - 1 + 1000))
    e2fsck.check(image)


def test_a_table_of_its_own_survives_writing(tree: Path, tmp_path: Path) -> None:
    image = build(tree, tmp_path, "--partition-table", "efi", "--disk-size", "400M")
    guest.check([image], _change_job(1500 - 200 - 1 + 1000))
    e2fsck.check(image, _root_partition(image)[1])
    run("sgdisk", "-v", image)


@pytest.mark.parametrize("block_size", [1024, 4096])
def test_grow_online(block_size: int, tree: Path, tmp_path: Path) -> None:
    """Past several group boundaries; resize_inode's reserved descriptors are used."""
    options = ("--partition-table", "none", "--disk-size", "100M", "--block-size", str(block_size))
    image = build(tree, tmp_path, *options)
    with image.open("r+b") as file:
        file.truncate(1500 * MiB)
    grow = "mount $(root) /mnt\n/tools/resize2fs /dev/vda\ncp /mnt/data/3000001 /mnt/copy\n"
    found = guest.check([image], grow + "snapshot /mnt\numount /mnt\n").snapshot
    assert found.pop(b"copy").sha256 == found[b"data/3000001"].sha256
    expected = of_source(tree, found)
    expected[b""] = found[b""]  # its mtime: the copy was made in it
    assert difference(expected, found) == []
    assert int(dumpe2fs.header(image)["Block count"]) == 1500 * MiB // block_size
    e2fsck.check(image)


def test_grow_online_in_a_partition(tree: Path, tmp_path: Path) -> None:
    image = build(tree, tmp_path, "--partition-table", "efi", "--disk-size", "400M")
    number, offset = _root_partition(image)
    with image.open("r+b") as file:
        file.truncate(900 * MiB)
    run("sgdisk", "-e", image)
    run("sfdisk", "-N", str(number), image, stdin=b", +\n")
    guest.check([image], f"mount $(root) /mnt\n/tools/resize2fs /dev/vda{number}\numount /mnt\n")
    blocks = int(dumpe2fs.header(image, offset)["Block count"])
    assert blocks * 4096 > 600 * MiB
    e2fsck.check(image, offset)


@pytest.mark.parametrize("fs_type", ["ext4", "ext3"])
def test_power_cut_and_recovery(fs_type: str, tree: Path, tmp_path: Path) -> None:
    """The journal works: after a power cut the next mount replays it, and e2fsck finds nothing."""
    image = build(tree, tmp_path, "--partition-table", "none", "--disk-size", "128M", "--fs-type", fs_type)
    cut = "mount $(root) /mnt\nmkdir /mnt/kept\ncp /mnt/data/4096 /mnt/kept\nsync\nrm /mnt/many/entry-000*\n"
    guest.check([image], cut)  # init powers off with the file system mounted
    assert "needs_recovery" in dumpe2fs.features(image)
    answer = guest.check([image], "mount $(root) /mnt\ncat /mnt/kept/4096\numount /mnt\n", recovery=True)
    assert answer.log.encode() == (tree / "data" / "4096").read_bytes()
    e2fsck.check(image)


def test_esp_is_mounted_compared_and_written(tree: Path, tmp_path: Path) -> None:
    source = tmp_path / "esp"
    (source / "EFI" / "BOOT").mkdir(parents=True)
    (source / "EFI" / "BOOT" / "BOOTX64.EFI").write_bytes(bytes(range(256)) * 3000)
    (source / "EFI" / "BOOT" / "a name of some length.conf").write_bytes(b"title one\n")
    options = ("--esp-content", f"{source}:/", "--partition-table", "efi", "--disk-size", "400M")
    image = build(tree, tmp_path / "out", *options)
    look = "mount -t vfat -o ro /dev/vda1 /mnt\nsnapshot /mnt\numount /mnt\n"
    write = "mount -t vfat /dev/vda1 /mnt\ncp /mnt/EFI/BOOT/BOOTX64.EFI /mnt/copy\nrm /mnt/EFI/BOOT/*.conf\n"
    found = guest.check([image], f"{look}{write}umount /mnt\n").snapshot
    for path, entry in of_directory(source).items():
        assert found[path].sha256 == entry.sha256
    assert found.keys() == of_directory(source).keys()
    esp = min(parted.table(image).partitions, key=lambda partition: partition.first_lba)
    size = (esp.last_lba + 1 - esp.first_lba) * 512
    fsck_fat.check(fsck_fat.slice_of(image, esp.first_lba * 512, size, tmp_path / "esp.img"))
