"""The commands that look inside an image, beside the tools that know what is there."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imgwriter.errors import FormatError
from imgwriter.examine.browse import Browser
from imgwriter.examine.choice import choose
from imgwriter.examine.opening import open_disk
from imgwriter.examine.partition_types import GUIDS, OS_TYPES
from imgwriter.examine.selection import select
from tests.building import build, varied_tree
from tests.compat.test_ext4_reader import as_by_mke2fs, mke2fs
from tests.oracles import archivers, blkid, debugfs, dumpe2fs, guest, inodes, qemu_img, sgdisk
from tests.oracles.fsck_fat import slice_of
from tests.oracles.snapshot import Snapshot, difference, of_directory, of_source, of_tar
from tests.oracles.tools import CACHE, ROOT, attempt, require_file, require_root, run

pytestmark = pytest.mark.compat

MiB = 1 << 20
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def imgwriter(*words: object, **more: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-W", "error", "-m", "imgwriter", *map(str, words)]
    return subprocess.run(command, capture_output=True, env=ENVIRONMENT, **more)


def good(*words: object) -> bytes:
    """Return what a command prints that has nothing to complain of."""
    done = imgwriter(*words)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    return done.stdout


def extracted(image: Path, target: Path, *words: object) -> Snapshot:
    good("extract", image, "--output", target, *words)
    return of_directory(target)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with every kind of entry."""
    return varied_tree(tmp_path_factory.mktemp("examine") / "tree")


@pytest.fixture(scope="module")
def image(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """imgwriter's own image of it, with an ESP."""
    esp = f"{tree}/data:/data"
    folder = tmp_path_factory.mktemp("examine-image")
    return build(tree, folder, "--partition-table", "efi", "--esp-content", esp, "--xattrs", "all")


# --- extract ---


@pytest.mark.parametrize("image_format", ["raw", "qcow2-compressed"])
def test_the_source_comes_out_again(image_format: str, image: Path, tree: Path, tmp_path: Path) -> None:
    require_root()
    if image_format != "raw":
        image = qemu_img.convert(image, "raw", tmp_path / "x.qcow2", "qcow2", "-c")
    found = extracted(image, tmp_path / "out")
    assert difference(of_source(tree, found), found) == []


@pytest.mark.parametrize(
    "options", ["-t ext4", "-t ext3 -b 1024", "-t ext4 -O inline_data -b 2048", "-t ext2"]
)
def test_images_by_mke2fs(options: str, tree: Path, tmp_path: Path) -> None:
    require_root()
    path = mke2fs(tmp_path / "image", options, tree)
    expected = as_by_mke2fs(of_directory(tree))
    found = as_by_mke2fs(extracted(path, tmp_path / "out"))
    if "inline_data" in options:  # mke2fs loses the end of it
        assert found.pop(b"data/sparse") != expected.pop(b"data/sparse")
    # Seconds of 32 bits are signed where no more are kept.
    for path_, entry in found.items():
        assert path_ in expected, path_
        expected[path_] = expected[path_]._replace(mtime_ns=expected[path_].mtime_ns % (1 << 32))
        found[path_] = entry._replace(mtime_ns=entry.mtime_ns % (1 << 32))
    assert difference(expected, found) == []


# Names, links, holes, attributes in every place; some of it in the journal alone when the power goes.
_FILL = r"""
mkdir /m
mount -t ext4 /dev/vda /m
cd /m
mkdir many dir
i=0
while [ $i -lt 120 ]; do
    echo $i >many/$i-a-name-of-some-length-so-that-an-index-is-needed
    i=$((i + 1))
done
for i in 0 1 2 3 4 5 6 7 8 9; do
    printf 'piece %d' $i | dd of=pieces bs=1 seek=$((i * 9000)) conv=notrunc status=none
done
fallocate -l 500000 unwritten
printf 'written' | dd of=unwritten bs=1 seek=200000 conv=notrunc status=none
printf 'tiny' >tiny
ln tiny dir/hard
ln -s tiny soft
ln -s $(head -c 200 /dev/zero | tr '\000' 'l') long
mknod node b 4095 70000
mkfifo fifo
sync
chown 70000:80000 tiny
chmod 4711 tiny
/tools/setfattr -n user.small -v value tiny
/tools/setfattr -n user.large -v $(head -c 700 /dev/zero | tr '\000' 'v') dir
/tools/setfattr -n user.huge -v $(head -c 5000 /dev/zero | tr '\000' 'h') pieces
/tools/setfattr -n trusted.t -v 1 many
touch -d '1950-01-01 00:00:00' fifo
rm many/1[0-4]*
mv dir renamed
sync
cd /
snapshot /m
"""


@pytest.mark.guest
@pytest.mark.slow
def test_an_image_by_the_kernel(tmp_path: Path) -> None:
    """Filled in a guest that was powered off with it mounted: what its journal has counts."""
    require_root()
    path = mke2fs(tmp_path / "image", "-t ext4 -O inline_data,ea_inode -b 1024", size="32M")
    answer = guest.boot([path], _FILL)
    assert answer.status == 0, answer.log
    expected = answer.snapshot
    assert len(expected) > 100
    done = imgwriter("extract", path, "--output", tmp_path / "out")
    found = of_directory(tmp_path / "out")
    assert done.returncode == 0, done.stderr.decode()
    if done.stderr:  # where the host's file system has no room for so large a value
        assert (
            done.stderr == b"imgwriter: warning: user.* attributes of 1 file were left out, first of pieces\n"
        )
        expected[b"pieces"] = expected[b"pieces"]._replace(xattrs={})
    assert difference(expected, found) == []
    said = inspected(path)["file_system"]
    assert said["needs_recovery"] and "needs_recovery" in said["features"]


def test_files_of_an_esp(image: Path, tree: Path, tmp_path: Path) -> None:
    extracted(image, tmp_path / "out", "--partition", "1")
    offset, size = 8 * MiB, 248 * MiB
    volume = slice_of(image, offset, size, tmp_path / "esp")
    run("mcopy", "-s", "-n", "-i", volume, "::data", tmp_path / "mtools")
    expected = {n: (e.size, e.sha256) for n, e in of_directory(tmp_path / "mtools").items()}
    assert {n: (e.size, e.sha256) for n, e in of_directory(tmp_path / "out" / "data").items()} == expected
    assert len(expected) > 12


@pytest.mark.slow
def test_a_debian_root(tmp_path: Path) -> None:
    require_root()
    tar = require_file(CACHE / "debian-root.tar")
    path = build(tar, tmp_path, "--partition-table", "none")
    found = extracted(path, tmp_path / "out")
    del found[b"lost+found"]
    assert difference(of_tar(tar), found) == []


# --- a tar ---


def of_imgwriters_tar(tree: Path, archive: Path) -> Snapshot:
    """Return the tree that a tar has to hold: no sockets, and the times of lost+found are imgwriter's."""
    found = of_tar(archive)
    return {n: e for n, e in of_source(tree, found).items() if not stat.S_ISSOCK(e.mode)}


@pytest.fixture(scope="module")
def archive(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("examine-tar") / "root.tar"
    done = imgwriter("extract", image, "--to-tar", target)
    assert done.returncode == 0
    assert done.stderr == b"imgwriter: warning: a tar has no sockets: 1 were left out, first names/socket\n"
    return target


def test_gnu_tar_restores_it(archive: Path, tree: Path, tmp_path: Path) -> None:
    require_root()
    result = archivers.gnu(archive, tmp_path / "out")
    assert result.status == 0, result.text
    # Of times before 1970 and after today it warns.
    said = [line for line in result.err.splitlines() if "time stamp" not in line]
    assert said == []
    assert difference(of_imgwriters_tar(tree, archive), of_directory(tmp_path / "out")) == []


def test_bsdtar_restores_it(archive: Path, tree: Path, tmp_path: Path) -> None:
    """libarchive 3.6 takes a fraction before 1970 for one after it, and sets no time of ``./``."""
    require_root()
    result = archivers.bsd(archive, tmp_path / "out")
    assert (result.status, result.err) == (0, ""), result.text
    expected, found = of_imgwriters_tar(tree, archive), of_directory(tmp_path / "out")
    for name in (b"", b"data/0"):
        expected[name] = expected[name]._replace(mtime_ns=0)
        found[name] = found[name]._replace(mtime_ns=0)
    assert difference(expected, found) == []


def test_an_image_of_it_is_the_same_image(archive: Path, image: Path, tree: Path, tmp_path: Path) -> None:
    """All but the socket, which no tar has."""
    again = build(archive, tmp_path, "--partition-table", "none", "--xattrs", "all")
    _, file_system = choose(open_disk(os.fsencode(again)))
    found = inodes.of_tree(file_system.tree())
    _, file_system = choose(open_disk(os.fsencode(image)))
    expected = inodes.of_tree(file_system.tree())
    del expected[b"names/socket"]
    assert difference(expected, found) == []


def test_a_pipe_gets_the_same_bytes(archive: Path, image: Path) -> None:
    assert imgwriter("extract", image, "--to-tar", "-").stdout == archive.read_bytes()


# --- what fails ---


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of two MiB."""
    require_root()
    folder = tmp_path / "small"
    folder.mkdir()
    result = attempt("mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", folder)
    if result.status:
        pytest.skip(f"no mounts here: {result.err.strip()}")
    yield folder
    run("umount", folder)


def test_a_full_disk_is_told_with_what_is_there(image: Path, small: Path) -> None:
    done = imgwriter("extract", image, "/data", "--output", small / "out")
    assert done.returncode == 1
    error, left = done.stderr.decode().splitlines()
    assert re.search(r"/out/data/\S+: cannot be written: No space left on device; free space there", error)
    count = sum(1 for _ in (small / "out").rglob("*"))
    told = re.fullmatch(r".*/out holds an unfinished tree, (\d+) of (\d+) names: remove it .*", left)
    # The one that could not be finished has a name, and is not counted.
    assert told and int(told[1]) == count - 1 < int(told[2])


def test_a_tar_that_does_not_fit_leaves_nothing(image: Path, small: Path) -> None:
    (small / "root.tar").write_text("as it was")
    done = imgwriter("extract", image, "/data", "--to-tar", small / "root.tar")
    assert done.returncode == 1 and b"No space left on device" in done.stderr
    assert os.listdir(small) == ["root.tar"] and (small / "root.tar").read_text() == "as it was"


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"aaa", b"../"), (b"aaa", b"a/a"), (b"aaa", b"a\0a"), (b"bbb", b"aaa")],
    ids=["dots", "slash", "nul", "twice"],
)
def test_hostile_directories_are_refused_before_anything_is_made(
    before: bytes, after: bytes, tmp_path: Path
) -> None:
    """A symlink and a directory of one name are what a tar would be followed through."""
    folder = tmp_path / "tree"
    (folder / "bbb").mkdir(parents=True)
    (folder / "bbb" / "file").write_text("x")
    (folder / "aaa").symlink_to(tmp_path / "outside")
    path = mke2fs(tmp_path / "image", "-t ext4 -O ^metadata_csum", folder, "8M")
    content = path.read_bytes()
    entry = re.compile(rb"(\x03[\x02\x07])" + before + rb"\0")  # name_len, file_type: a directory, a symlink
    changed = entry.sub(lambda m: m[1] + after + b"\0", content)
    assert changed != content
    path.write_bytes(changed)
    with pytest.raises(FormatError):
        select(Browser(choose(open_disk(os.fsencode(path)))[1], "it"))
    done = imgwriter("extract", path, "--output", tmp_path / "out")
    assert done.returncode == 1 and b"repair a copy" in done.stderr
    assert not (tmp_path / "out").exists() and not (tmp_path / "outside").exists()


# --- ls and cat ---


def debugfs_listing(image: Path, path: str, offset: int) -> dict[str, tuple[int, int, int, int, int]]:
    """Return {name: (inode, mode, uid, gid, size)}, less "." and "..": ``ls -p`` has them between slashes."""
    text = debugfs.request(image, f'ls -p "{path}"', offset)
    rows = [line.split("/") for line in text.splitlines() if line]
    return {
        row[5]: (int(row[1]), int(row[2], 8), int(row[3]), int(row[4]), int(row[6] or 0))
        for row in rows
        if len(row) == 8 and row[5] not in (".", "..")  # a name with a newline is in two lines
    }


def test_ls_says_what_debugfs_says(image: Path) -> None:
    lines = [json.loads(line) for line in good("ls", "-R", "--json", image).splitlines()]
    types = {"directory": stat.S_IFDIR, "file": stat.S_IFREG, "symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO}
    types |= {"socket": stat.S_IFSOCK, "character device": stat.S_IFCHR, "block device": stat.S_IFBLK}
    compared = 0
    for folder in ("/", "/data", "/many", "/modes", "/nodes", "/attributes", "/names"):
        expected = debugfs_listing(image, folder, 256 * MiB)
        below = folder.rstrip("/") + "/"
        for line in lines:
            name = line["path"].removeprefix(below)
            if not line["path"].startswith(below) or "/" in name or name not in expected:
                continue  # debugfs cannot print every name
            number, mode, uid, gid, size = expected.pop(name)
            assert line["inode"] == number and types[line["type"]] | int(line["mode"], 8) == mode, name
            assert (line["uid"] & 0xFFFFFFFF, line["gid"] & 0xFFFFFFFF) == (
                uid & 0xFFFFFFFF,
                gid & 0xFFFFFFFF,
            ), name
            if line["type"] == "file":
                assert line["size"] == size, name
            compared += 1
        assert len(expected) <= 3, expected
    assert compared > 1500


def test_what_else_is_known_is_what_stat_says(image: Path) -> None:
    for path in ("/", "/data", "/data/4097", "/names", "/many", "/data/59"):
        (line,) = good("ls", "-d", "--json", image, path).splitlines()
        found, said = json.loads(line), debugfs.stat(image, path, 256 * MiB)
        assert (found["links"], found["flags"]) == (said.links, said.flags)
        assert (found["mtime_ns"], found["ctime_ns"]) == (said.mtime_ns, said.ctime_ns)
        assert found["size"] == said.size


def test_cat_gives_what_debugfs_gives(image: Path, tmp_path: Path) -> None:
    for name in ("sparse", "3000001", "1", "0", "empty-but-long"):
        debugfs.request(image, f"dump /data/{name} {tmp_path}/dumped", 256 * MiB)
        assert good("cat", image, f"/data/{name}") == (tmp_path / "dumped").read_bytes()


# --- inspect ---


def inspected(image: Path) -> Any:
    return json.loads(good("inspect", image, "--json"))


@pytest.mark.parametrize(
    "options",
    [
        "-t ext4 -L label",
        "-t ext3 -b 1024 -m 0",
        "-t ext2 -I 128",
        "-t ext4 -O ^has_journal,bigalloc -c 5",
        "-t ext4 -O ^64bit,quota,orphan_file -M /mnt/x",
        "-t ext2 -r 0",
    ],
)
def test_inspect_says_what_dumpe2fs_and_blkid_say(options: str, tmp_path: Path) -> None:
    path = mke2fs(tmp_path / "image", options.replace("-c 5", ""), size="64M")
    if "-c 5" in options:
        run("tune2fs", "-c", "5", "-C", "3", path)
    found = inspected(path)["file_system"]
    header, probed = dumpe2fs.header(path), blkid.probe(path)
    block = int(header["Block size"])
    assert (found["type"], found["uuid"]) == (probed["TYPE"], probed["UUID"])
    assert found["label"] == probed.get("LABEL") and found["block_size"] == block
    assert found["size"] == int(header["Block count"]) * block
    assert found["free"] == int(header["Free blocks"]) * block
    assert found["used"] == (int(header["Block count"]) - int(header["Free blocks"])) * block
    assert found["reserved"] == int(header["Reserved block count"]) * block
    assert found["cluster_size"] == int(header.get("Cluster size", block))
    assert (found["inodes"], found["free_inodes"]) == (int(header["Inode count"]), int(header["Free inodes"]))
    assert found["inode_size"] == int(header.get("Inode size", 128))
    assert " ".join(found["features"]) == " ".join(header["Filesystem features"].split()).replace(
        "(none)", ""
    )
    assert found["state"] == header["Filesystem state"] and not found["needs_recovery"]
    assert found["mounts"] == int(header["Mount count"])
    assert found["max_mounts"] == (int(header["Maximum mount count"]) if "-c 5" in options else None)
    assert found["last_mounted"] == ("/mnt/x" if "-M" in options else None)
    assert header["Last mounted on"] == (found["last_mounted"] or "<not available>")
    for key, name in (
        ("created", "Filesystem created"),
        ("written", "Last write time"),
        ("checked", "Last checked"),
    ):
        if found[key]:
            written = run("date", "-u", "-d", header[name], "+%Y-%m-%dT%H:%M:%SZ").strip()
            assert found[key] == written
        else:
            assert header[name] == "n/a" or "1970" in header[name]


def test_inspect_sees_errors_and_recovery_as_dumpe2fs_does(tmp_path: Path) -> None:
    path = mke2fs(tmp_path / "image", "-t ext4 -b 1024", size="8M")
    (tmp_path / "block").write_bytes(os.urandom(1024))
    (tmp_path / "commands").write_text(f"jo\njw -b 5000 {tmp_path}/block\njc\nssv state 2\n")
    run("debugfs", "-w", "-f", tmp_path / "commands", path)
    found = inspected(path)["file_system"]
    assert found["needs_recovery"] and found["journal_transactions"] == 1
    assert found["state"] == dumpe2fs.header(path)["Filesystem state"] == "not clean with errors"


@pytest.mark.parametrize("bits", ["12", "16", "32"])
def test_inspect_says_what_blkid_and_fsck_say_of_fat(bits: str, tmp_path: Path) -> None:
    path = tmp_path / "fat"
    size = {"12": 4, "16": 32, "32": 64}[bits] * MiB
    with path.open("wb") as file:
        file.truncate(size)
    run("mkfs.fat", "-F", bits, "-n", "LABEL", "-i", "1234abcd", path)
    (tmp_path / "content").write_bytes(b"x" * 50_000)
    run("mcopy", "-i", path, tmp_path / "content", "::")
    found = inspected(path)["file_system"]
    probed = blkid.probe(path)
    assert (probed["TYPE"], probed["VERSION"]) == ("vfat", f"FAT{bits}")
    assert (found["type"], found["label"], found["uuid"]) == (
        probed["VERSION"],
        probed["LABEL"],
        probed["UUID"],
    )
    said = run("fsck.fat", "-nv", path)
    cluster, clusters = (
        re.search(pattern, said) for pattern in (r"(\d+) bytes per cluster", r"(\d+)/(\d+) clusters")
    )
    assert cluster and clusters
    assert (found["cluster_size"], found["clusters"]) == (int(cluster[1]), int(clusters[2]))
    assert found["used"] == int(clusters[1]) * int(cluster[1])
    assert (found["state"], found["boot_code"]) == ("clean", True)


def test_inspect_says_what_sgdisk_says(image: Path) -> None:
    found = inspected(image)
    assert found["table"]["identifier"].upper() == sgdisk.disk_guid(image)
    for partition in found["partitions"]:
        expected = sgdisk.partition(image, partition["number"])
        assert (partition["type"].upper(), partition["guid"].upper()) == (
            expected.type_guid,
            expected.unique_guid,
        )
        assert (partition["first_lba"], partition["last_lba"]) == (expected.first_lba, expected.last_lba)
        assert (partition["attributes"], partition["name"]) == (expected.attributes, expected.name)


@pytest.mark.parametrize(
    ("image_format", "option"), [("qcow2", ""), ("qcow2", "-c"), ("vpc", ""), ("vdi", "")]
)
def test_inspect_says_what_qemu_img_says(image_format: str, option: str, image: Path, tmp_path: Path) -> None:
    path = qemu_img.convert(image, "raw", tmp_path / "x", image_format, *option.split())
    found, expected = inspected(path)["image"], qemu_img.info(path)
    assert (found["format"], found["size"]) == (expected["format"], expected["virtual-size"])
    assert found["allocated"] == expected["actual-size"]
    if image_format == "qcow2":
        assert found["details"]["cluster_size"] == expected["cluster-size"]
        assert found["details"]["version"] == 3


def test_a_block_device_is_an_image_too(image: Path) -> None:
    require_root()
    made = attempt("losetup", "--find", "--show", "--read-only", image)
    if made.status:
        pytest.skip(f"no loop devices here: {made.err.strip()}")
    device = Path(made.out.strip())
    try:
        found, said = inspected(device), good("inspect", device).decode()
        assert good("cat", device, "/data/60") == good("cat", image, "/data/60")
    finally:
        run("losetup", "--detach", device)
    assert found["partitions"] == inspected(image)["partitions"]
    assert (found["image"]["size"], found["image"]["file_size"]) == (image.stat().st_size, None)
    assert said.splitlines()[1] == "a block device"


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (("mkfs.xfs", "-q"), "xfs"),
        (("mkfs.btrfs", "-q"), "btrfs"),
        (("mkswap", "-q"), "swap"),
    ],
)
def test_what_is_not_read_has_its_name(command: tuple[str, ...], kind: str, tmp_path: Path) -> None:
    path = tmp_path / "other"
    with path.open("wb") as file:
        file.truncate(512 * MiB)
    run(*command, path)
    assert blkid.probe(path)["TYPE"] == kind
    assert inspected(path)["file_system"] == {
        "type": kind,
        "error": f"imgwriter reads ext4, ext3, ext2 and FAT, not {kind}",
    }
    done = imgwriter("ls", path)
    assert done.returncode == 1 and f"the disk holds {kind}, which is not read".encode() in done.stderr


def test_types_are_called_as_sfdisk_calls_them() -> None:
    """The same things, in words of our own: what sfdisk knows and has another word for stands here."""
    text = run("sfdisk", "--label", "gpt", "--list-types")
    named = {row[0].lower(): row[1] for line in text.splitlines() if len(row := line.split("  ", 1)) == 2}
    known = {str(guid): name for guid, name in GUIDS.items()}
    # LUKS and dm-crypt came to util-linux later.
    assert set(known) - set(named) == {
        "ca7d7ccb-63ed-4c53-861c-1742536059cc",
        "7ffec5c9-2d00-49b7-8941-3ea10a5586b7",
    }

    def words(text: str) -> set[str]:
        text = (
            text.lower()
            .replace("arm-64", "arm64")
            .replace("ppc64le", "powerpc64le")
            .replace("risc-v-64", "risc-v64")
        )
        text = text.replace("loongarch-64", "loongarch64").replace("sign.", "signature")
        return set(re.findall(r"[\w/-]+", text))

    strangers = [
        f"{named[guid]}: {name}"
        for guid, name in known.items()
        if guid in named and not words(named[guid]) & words(name)
    ]
    assert strangers == []
    for architecture in ("x86-64", "arm64", "powerpc64le", "s390x"):
        for guid, name in known.items():
            if guid in named:
                assert (architecture in words(name)) == (architecture in words(named[guid])), name
    text = run("sfdisk", "--label", "dos", "--list-types")
    numbers = {
        int(row[0], 16): row[1]
        for line in text.splitlines()
        if len(row := line.strip().split("  ", 1)) == 2 and row[0] != "Id"
    }
    assert set(OS_TYPES) <= set(numbers)
