"""Whole images from the command line, judged by e2fsck, debugfs, sgdisk, parted, fsck.fat and mtools."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.oracles import debugfs, dumpe2fs, e2fsck, fsck_fat, mtools, parted, sgdisk
from tests.oracles.tools import attempt, run

pytestmark = pytest.mark.compat

MiB = 1 << 20
GUID = UUID("01234567-89ab-cdef-0123-456789abcdef")
LOADER = bytes(range(256)) * 300
TABLES = ("legacy", "efi", "none", "legacy+boot", "legacy+gpt", "efixbootldr", "hybrid")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One of each kind of file that needs no root, and a few hundred files in one directory."""
    root = tmp_path / "tree"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("root:x:0:0:::\nann:x:1000:100:::\n")
    (root / "etc" / "group").write_text("root:x:0:\nusers:x:100:\n")
    (root / "etc" / "link").symlink_to("passwd")
    (root / "etc" / "long").symlink_to("x" * 300)
    (root / "many").mkdir(mode=0o1777)
    (root / "many").chmod(0o1777)
    for number in range(400):
        (root / "many" / f"file-{number:04}").write_bytes(b"%d\n" % number)
    os.link(root / "many" / "file-0000", root / "hard")
    (root / "blob").write_bytes(os.urandom(3 * MiB + 17))
    with (root / "sparse").open("wb") as file:
        file.seek(64 * MiB)
        file.write(b"end")
    os.mkfifo(root / "fifo")
    (root / "naïve \udcff".encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")).write_text(
        "x"
    )
    os.setxattr(root / "blob", "user.note", b"\x00\xff")
    return root


@pytest.fixture
def loader(tmp_path: Path) -> Path:
    path = tmp_path / "loader.efi"
    path.write_bytes(LOADER)
    return path


def build(output: Path, *words: str | Path, **more: Any) -> dict[str, Any]:
    """Run imgwriter and return its JSON report."""
    command = [sys.executable, "-m", "imgwriter", "build", "--json", "--output", output, *words]
    done = subprocess.run(command, capture_output=True, **more)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def judge(report: dict[str, Any], scratch: Path) -> None:
    """Let the judges look at the table and at every file system of an image."""
    image = Path(report["image"]["path"])
    assert image.stat().st_size == report["image"]["size"]
    if report["disk"]["scheme"] == "gpt":
        if (report["disk"]["partition_table"], report["disk"]["compat"]) == ("hybrid", "nixpkgs"):
            # nixpkgs' partition 2 ends in the middle of nowhere, and sgdisk remarks on it.
            assert "No problems found." in sgdisk.raw(image).out
        else:
            sgdisk.verify(image)
        assert sgdisk.disk_guid(image).lower() == report["disk"]["guid"]
    if report["disk"]["scheme"] != "none" and report["disk"]["sector_size"] == 512:
        found = {p.number: p for p in parted.table(image).partitions}
        for partition in report["partitions"]:
            seen = found.pop(partition["number"])
            assert (seen.first_lba, seen.last_lba) == (partition["first_lba"], partition["last_lba"])
        assert found == {}
    for partition in report["partitions"]:
        file_system = partition["file_system"]
        if file_system is None:
            continue
        if file_system["type"] == "vfat":
            _judge_fat(image, partition, scratch)
        else:
            _judge_ext(image, partition)


def _judge_ext(image: Path, partition: dict[str, Any]) -> None:
    file_system = partition["file_system"]
    summary = e2fsck.check(image, partition["start"])
    block = file_system["block_size"]
    assert summary.blocks * block <= partition["size"] < summary.blocks * block + 128 * MiB
    assert (summary.blocks - summary.blocks_used) * block == file_system["free"]
    assert summary.inodes == file_system["inodes"]
    assert summary.inodes - summary.inodes_used == file_system["free_inodes"]
    header = dumpe2fs.header(image, partition["start"])
    assert header["Filesystem UUID"] == file_system["uuid"]
    assert header["Filesystem volume name"] == file_system["label"]
    assert sorted(header["Filesystem features"].split()) == sorted(file_system["features"].split())


def _judge_fat(image: Path, partition: dict[str, Any], scratch: Path) -> None:
    volume = cut(image, partition, scratch / "fat")
    fsck_fat.check(volume)
    assert mtools.label(image, partition["start"]) == partition["file_system"]["label"]
    volume.unlink()


def cut(image: Path, partition: dict[str, Any], target: Path) -> Path:
    """Copy a partition to a sparse file of its own: fsck.fat knows no offsets."""
    skip, count = partition["start"] // MiB, partition["size"] // MiB
    run("dd", "bs=1M", "conv=sparse", f"if={image}", f"of={target}", f"skip={skip}", f"count={count}")
    os.truncate(target, partition["size"])
    return target


def root_offset(report: dict[str, Any]) -> int:
    return int(next(p["start"] for p in report["partitions"] if p["role"] == "root"))


def compare(source: Path, image: Path, offset: int, scratch: Path) -> None:
    """Compare names, types, modes, sizes, times, targets and bytes with what debugfs finds in an image."""
    dumped = scratch / "dumped"
    dumped.mkdir()
    debugfs.rdump(image, "/", dumped, offset)
    for directory, names, files in os.walk(source):
        for name in (*names, *files):
            path = Path(directory) / name
            _compare_one(path, dumped / path.relative_to(source))
    seen = {str(p.relative_to(dumped)) for p in dumped.rglob("*")} - {"lost+found"}
    assert seen == {str(p.relative_to(source)) for p in source.rglob("*")} - {"fifo"}
    shutil.rmtree(dumped)


def _compare_one(path: Path, copy: Path) -> None:
    status = path.lstat()
    if stat.S_ISFIFO(status.st_mode):  # rdump makes none
        return
    assert stat.S_IFMT(copy.lstat().st_mode) == stat.S_IFMT(status.st_mode), path
    if path.is_symlink():
        assert os.readlink(copy) == os.readlink(path)
        return
    # rdump gives a file its nine permission bits.
    assert copy.lstat().st_mode & 0o777 == status.st_mode & 0o777, path
    assert int(copy.lstat().st_mtime) == int(status.st_mtime), path
    if path.is_file():
        assert copy.read_bytes() == path.read_bytes(), path


# Tables


@pytest.mark.parametrize("compat", ["seed", "nixpkgs"])
@pytest.mark.parametrize("table", TABLES)
def test_each_table(table: str, compat: str, tree: Path, tmp_path: Path) -> None:
    words = ("--tree", tree, "--partition-table", table, "--compat", compat, "--additional-space", "0")
    report = build(tmp_path / "out", *words)
    judge(report, tmp_path)
    root = next(p for p in report["partitions"] if p["role"] == "root")
    nixpkgs = root["file_system"]["uuid"] == "f222513b-ded1-49fa-b591-20ce86a2fe7f"
    assert nixpkgs == (compat == "nixpkgs")


def test_the_tree_is_in_the_image(tree: Path, tmp_path: Path) -> None:
    report = build(tmp_path / "out", "--tree", tree)
    image, offset = Path(report["image"]["path"]), root_offset(report)
    compare(tree, image, offset, tmp_path)
    assert debugfs.xattr(image, "/blob", "user.note", offset) == b"\x00\xff"
    assert debugfs.stat(image, "/many", offset).mode == 0o1777
    assert debugfs.stat(image, "/hard", offset).links == 2
    assert debugfs.stat(image, "/fifo", offset).type.upper() == "FIFO"
    assert debugfs.stat(image, "/sparse", offset).blocks < 64


def test_the_judges_object_to_a_damaged_image(tree: Path, tmp_path: Path) -> None:
    report = build(tmp_path / "out", "--tree", tree, "--partition-table", "efi", "--additional-space", "0")
    image = Path(report["image"]["path"])
    sound = {
        offset: image.read_bytes()[offset] for offset in (512 + 16, 8 * MiB + 11, 256 * MiB + 1024 + 0x78)
    }
    for offset, byte in sound.items():
        with image.open("r+b") as file:
            file.seek(offset)
            file.write(bytes([byte ^ 0xFF]))
            file.flush()
            with pytest.raises(AssertionError):
                judge(report, tmp_path)
            file.seek(offset)
            file.write(bytes([byte]))
    judge(report, tmp_path)


# Sizes


def test_auto_is_minimal(tree: Path, tmp_path: Path) -> None:
    """A disk one MiB smaller is refused, and the smallest one has its journal."""
    words = ("--tree", tree, "--partition-table", "efi")
    report = build(tmp_path / "out", *words, "--additional-space", "0")
    image = Path(report["image"]["path"])
    assert "has_journal" in dumpe2fs.features(image, root_offset(report))
    size = report["image"]["size"] // MiB
    assert build(tmp_path / "out", *words, "--disk-size", str(size))["image"]["size"] == size * MiB
    before = image.stat()
    command = (sys.executable, "-m", "imgwriter", "build", "--output", tmp_path / "out", *words)
    done = subprocess.run((*command, "--disk-size", str(size - 1)), capture_output=True, text=True)
    assert done.returncode == 1 and "partition 2 'root': ext4 needs" in done.stderr
    assert image.stat() == before


@pytest.mark.parametrize("table", ["none", "legacy", "legacy+gpt"])
def test_nixpkgs_size_is_that_of_du_and_find(table: str, tree: Path, tmp_path: Path) -> None:
    """The blocks and names that nixpkgs' builder counts in its directory, which holds the root alone."""
    (tmp_path / "builder").mkdir()
    staged = tree.rename(tmp_path / "builder" / "root")
    block = ("--apparent-size", "--count-links", "--block-size", "4096")
    listed = run(
        "sh", "-c", f"cd {staged.parent} && find . ! -type d -print0 | du --files0-from=- {' '.join(block)}"
    )
    blocks = sum(int(line.split()[0]) for line in listed.splitlines())
    names = len(run("find", staged.parent, "-printf", "x\\n").splitlines())
    usage = (blocks + 2 * names) * 4096
    reserved = {"none": 0, "legacy": MiB, "legacy+gpt": 512 * 34 + 2 * MiB}[table]
    file_system = ((usage + usage * 52 // 1000) // 4096 + 1) * 4096
    expected = ((file_system + 512 * MiB + reserved) // MiB + 1) * MiB
    words = ("--size-formula", "nixpkgs", "--partition-table", table, "--owner", "preserve", "--dry-run")
    assert build(tmp_path / "out", "--tree", staged, *words)["image"]["size"] == expected


@pytest.mark.parametrize("space", ["1", "64", "512"])
def test_additional_space_is_free(space: str, tree: Path, tmp_path: Path) -> None:
    report = build(tmp_path / "out", "--tree", tree, "--additional-space", space)
    judge(report, tmp_path)
    assert report["partitions"][0]["file_system"]["free"] >= int(space) * MiB


def test_a_large_disk_is_sparse(tree: Path, tmp_path: Path) -> None:
    report = build(tmp_path / "out", "--tree", tree, "--partition-table", "efi", "--disk-size", "20GiB")
    judge(report, tmp_path)
    assert Path(report["image"]["path"]).stat().st_blocks * 512 < 24 * MiB


# File systems


@pytest.mark.parametrize("fs_type", ["ext4", "ext3", "ext2"])
@pytest.mark.parametrize("block_size", ["1024", "2048", "4096"])
def test_each_type_and_block_size(fs_type: str, block_size: str, tree: Path, tmp_path: Path) -> None:
    table = ("--partition-table", "none", "--fs-type", fs_type, "--block-size", block_size)
    report = build(tmp_path / "out", "--tree", tree, *table, "--additional-space", "8")
    judge(report, tmp_path)
    features = dumpe2fs.features(Path(report["image"]["path"]))
    assert ("extent" in features) == (fs_type == "ext4")
    assert ("has_journal" in features) == (fs_type != "ext2")


def test_features_inodes_and_labels(tree: Path, tmp_path: Path) -> None:
    words = (
        "--features",
        "metadata_csum_seed,orphan_file,^huge_file",
        "--inodes",
        "5000",
        "--label",
        "système",
    )
    report = build(tmp_path / "out", "--tree", tree, "--partition-table", "none", *words)
    judge(report, tmp_path)
    features = dumpe2fs.features(Path(report["image"]["path"]))
    assert features >= {"metadata_csum_seed", "orphan_file"} and "huge_file" not in features
    assert report["partitions"][0]["file_system"]["inodes"] >= 5000


def test_inode_ratio(tree: Path, tmp_path: Path) -> None:
    words = ("--partition-table", "none", "--disk-size", "128", "--inode-ratio", "65536")
    report = build(tmp_path / "out", "--tree", tree, *words)
    judge(report, tmp_path)
    assert report["partitions"][0]["file_system"]["inodes"] == 128 * MiB // 65536


def test_a_vfat_root(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    (plain / "sub").mkdir(parents=True)
    (plain / "sub" / "A long name.txt").write_bytes(LOADER)
    words = (
        "--partition-table",
        "none",
        "--fs-type",
        "vfat",
        "--label",
        "DATA",
        "--fat-volume-id",
        "12AB-34CD",
    )
    report = build(tmp_path / "out", "--tree", plain, *words, "--additional-space", "40")
    judge(report, tmp_path)
    image = Path(report["image"]["path"])
    assert mtools.names(image) == {"sub/", "sub/A long name.txt"}
    assert mtools.read(image, "sub/A long name.txt") == LOADER
    assert report["partitions"][0]["file_system"]["uuid"] == "12AB-34CD"
    assert "12AB-34CD" in run("blkid", "-p", image)


def test_sectors_of_4096_bytes(tree: Path, loader: Path, tmp_path: Path) -> None:
    words = (
        "--partition-table",
        "efi",
        "--sector-size",
        "4096",
        "--esp-content",
        f"{loader}:/EFI/BOOT/BOOTX64.EFI",
    )
    report = build(tmp_path / "out", "--tree", tree, *words)
    image = Path(report["image"]["path"])
    esp, root = report["partitions"]
    assert (esp["first_lba"], root["first_lba"]) == (2048, 65536)
    e2fsck.check(image, root["start"])
    fsck_fat.check(cut(image, esp, tmp_path / "fat"))


# Boot partitions


@pytest.mark.parametrize(("fat_type", "boot_end"), [("12", "100"), ("16", "256"), ("32", "256")])
def test_esp_contents(fat_type: str, boot_end: str, tree: Path, loader: Path, tmp_path: Path) -> None:
    words = (
        "--esp-content",
        f"{loader}:/EFI/BOOT/BOOTX64.EFI",
        "--fat-type",
        fat_type,
        "--boot-end",
        boot_end,
    )
    report = build(tmp_path / "out", "--tree", tree, "--partition-table", "efi", *words)
    judge(report, tmp_path)
    esp = report["partitions"][0]
    assert esp["file_system"]["fat_type"] == int(fat_type)
    assert mtools.read(Path(report["image"]["path"]), "EFI/BOOT/BOOTX64.EFI", esp["start"]) == LOADER


def test_boot_contents(tree: Path, loader: Path, tmp_path: Path) -> None:
    words = (
        "--esp-content",
        f"{loader}:/a.efi",
        "--boot-content",
        f"{loader}:/loader/b.efi",
        "--boot-end",
        "300",
    )
    report = build(tmp_path / "out", "--tree", tree, "--partition-table", "efixbootldr", *words)
    judge(report, tmp_path)
    image, (esp, boot, _) = Path(report["image"]["path"]), report["partitions"]
    assert mtools.names(image, esp["start"]) == {"a.efi"}
    assert mtools.names(image, boot["start"]) == {"loader/", "loader/b.efi"}
    assert boot["start"] + boot["size"] == 300 * MiB


# Identifiers


def test_identifiers_are_those_asked_for(tree: Path, tmp_path: Path) -> None:
    other = UUID(int=GUID.int + 1)
    words = ("--disk-guid", GUID, "--partition-guid", f"2={other}", "--root-uuid", GUID, "--hash-seed", other)
    gpt = ("--partition-table", "efi", "--fat-volume-id", "C44C7503")
    report = build(tmp_path / "out", "--tree", tree, *gpt, *map(str, words))
    judge(report, tmp_path)
    image = Path(report["image"]["path"])
    assert sgdisk.disk_guid(image) == str(GUID).upper()
    assert sgdisk.partition(image, 2).unique_guid == str(other).upper()
    header = dumpe2fs.header(image, root_offset(report))
    assert (header["Filesystem UUID"], header["Directory Hash Seed"]) == (str(GUID), str(other))
    assert report["partitions"][0]["file_system"]["uuid"] == "C44C-7503"


def test_a_disk_signature(tree: Path, tmp_path: Path) -> None:
    report = build(tmp_path / "out", "--tree", tree, "--disk-signature", "1234ABCD")
    judge(report, tmp_path)
    # blkid's PTUUID is what PARTUUID of an MBR partition begins with.
    assert 'PTUUID="1234abcd"' in run("blkid", "-p", report["image"]["path"])
    assert report["partitions"][0]["partuuid"] == "1234abcd-01"


def test_another_seed_is_another_disk_of_the_same_files(tree: Path, tmp_path: Path) -> None:
    words = ("--tree", tree, "--partition-table", "efi")
    first, second = (build(tmp_path / seed, *words, "--seed", seed) for seed in "ab")
    judge(second, tmp_path)
    for one, other in zip(first["partitions"], second["partitions"], strict=True):
        assert one["partuuid"] != other["partuuid"]
        assert one["file_system"]["uuid"] != other["file_system"]["uuid"]
    assert first["disk"]["guid"] != second["disk"]["guid"]


# What goes in


def test_layers_contents_and_owners(tree: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.tar.gz"
    with tarfile.open(overlay, "w:gz") as archive:
        member = tarfile.TarInfo("./etc/hostname")
        member.uid, member.gid, member.size = 7, 8, 4
        archive.addfile(member, io.BytesIO(b"123\n"))
    motd = tmp_path / "motd:1"
    motd.write_text("hello")
    escaped = str(motd).replace(":", r"\:")
    words = ("--tree", tree, "--tree", overlay, "--content", f"{escaped}:/etc/motd:0600:ann:users")
    report = build(tmp_path / "out", *words, "--exclude", "file-00*", "--owner", "5:6")
    judge(report, tmp_path)
    image, offset = Path(report["image"]["path"]), root_offset(report)
    hostname, motd_seen = (debugfs.stat(image, f"/etc/{n}", offset) for n in ("hostname", "motd"))
    assert (hostname.uid, hostname.gid) == (7, 8)
    assert (motd_seen.uid, motd_seen.gid, motd_seen.mode) == (1000, 100, 0o600)
    assert debugfs.stat(image, "/etc/passwd", offset).uid == 5
    names = debugfs.listing(image, "/many", offset).keys()
    assert "file-0100" in names and "file-0099" not in names


def test_a_tar_on_standard_input(tree: Path, tmp_path: Path) -> None:
    tar = tmp_path / "tree.tar"
    run("tar", "-C", tree, "--sparse", "-cf", tar, ".")
    with tar.open("rb") as file:
        report = build(tmp_path / "out", "--tree", "-", stdin=file)
    judge(report, tmp_path)
    compare(tree, Path(report["image"]["path"]), root_offset(report), tmp_path)


def test_times(tree: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1500000000"}
    words = ("--tree", tree, "--partition-table", "none", "--time", "1400000000")
    report = build(tmp_path / "out", *words, env=environment)
    judge(report, tmp_path)
    image = Path(report["image"]["path"])
    seen = debugfs.stat(image, "/etc/passwd")
    assert seen.mtime_ns == seen.atime_ns == seen.ctime_ns == seen.crtime_ns == 1500000000 * 10**9
    assert debugfs.stat(image, "/lost+found").mtime_ns == 1400000000 * 10**9


# Beside the image


def test_sidecars(tree: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    words = ("--sha256", "--bmap", "--manifest", manifest, "--base-name", "disk", "--sync")
    report = build(tmp_path / "out", "--tree", tree, *words)
    image = tmp_path / "out" / "disk.img"
    assert report["image"]["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
    line = (tmp_path / "out" / "disk.img.sha256").read_text()
    assert line == f"{report['image']['sha256']}  disk.img\n"
    assert f"<ImageSize> {image.stat().st_size} <" in (tmp_path / "out" / "disk.img.bmap").read_text()
    content = (tree / "etc" / "passwd").read_bytes()
    entries = [json.loads(line) for line in manifest.read_text().splitlines()]
    (entry,) = (e for e in entries if e.get("path") == "etc/passwd")
    assert image.read_bytes()[entry["offset"] :][: entry["length"]] == content
    assert {Path(p).name for p in report["sidecars"].values()} == {
        *("disk.img.sha256", "disk.img.bmap", "manifest.jsonl")
    }


def test_the_mode_is_that_of_any_new_file(tree: Path, tmp_path: Path) -> None:
    os.umask(0o027)
    report = build(tmp_path / "out", "--tree", tree)
    assert stat.S_IMODE(Path(report["image"]["path"]).stat().st_mode) == 0o640


def test_resize2fs_asks_for_no_check(tree: Path, tmp_path: Path) -> None:
    report = build(tmp_path / "out", "--tree", tree, "--partition-table", "none")
    image = Path(report["image"]["path"])
    done = attempt("resize2fs", image, "2G")
    assert done.status == 0, done.text
    e2fsck.check(image)
