"""Opening an image: which format it has, which paths are refused, raw disks and their holes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from imgwriter.errors import FormatError, SourceChangedError, SourceError, SpecError
from imgwriter.filedata import HandleSlice
from imgwriter.readers import open_image, raw
from tests.unit.readers.images import KiB, MiB, content, dynamic_vhd, footer, in_file, opened, put, qcow2, vdi

EXAMPLES = {
    "qcow2": qcow2({}, MiB),
    "vpc": dynamic_vhd([], 0),
    "vdi": vdi([], 0),
    "raw": bytearray(b"\xeb\x3c\x90" + bytes(1021)),
}


def saved(tmp_path: Path, image: bytes | bytearray) -> Path:
    path = tmp_path / "image"
    path.write_bytes(image)
    return path


@pytest.mark.parametrize("image_format", EXAMPLES)
def test_format_is_told_by_the_content(tmp_path: Path, image_format: str) -> None:
    path = saved(tmp_path, EXAMPLES[image_format])
    assert opened(path).format == image_format
    assert opened(path, image_format).format == image_format


@pytest.mark.parametrize("image_format", EXAMPLES)
def test_raw_when_said_is_raw(tmp_path: Path, image_format: str) -> None:
    found = opened(saved(tmp_path, EXAMPLES[image_format]), "raw")
    assert found.format == "raw"
    assert content(found.volume) == EXAMPLES[image_format]


@pytest.mark.parametrize("said", ["qcow2", "vpc", "vdi"])
@pytest.mark.parametrize("image_format", EXAMPLES)
def test_another_format_than_said(tmp_path: Path, image_format: str, said: str) -> None:
    if said != image_format:
        with pytest.raises(FormatError):
            opened(saved(tmp_path, EXAMPLES[image_format]), said)


@pytest.mark.parametrize(
    ("magic", "name"),
    # QEMU's block/vhdx.h, block/vmdk.c, block/qed.h, block/parallels.c.
    [
        (b"vhdxfile", "VHDX"),
        (b"KDMV", "VMDK"),
        (b"COWD", "VMDK"),
        (b"# Disk DescriptorFile", "VMDK"),
        (b"QED\0", "QED"),
        (b"WithoutFreeSpace", "Parallels"),
        (b"WithouFreSpacExt", "Parallels"),
    ],
)
def test_a_container_that_is_not_read_is_no_raw_disk(tmp_path: Path, magic: bytes, name: str) -> None:
    path = saved(tmp_path, magic.ljust(4096, b"\0"))
    with pytest.raises(FormatError, match=f"a {name}, which is not read") as refused:
        opened(path)
    assert refused.value.where == "magic" and refused.value.offset == 0
    assert opened(path, "raw").format == "raw"
    assert opened(saved(tmp_path, b"x" + magic.ljust(4096, b"\0"))).format == "raw"


def test_damaged_images_are_not_taken_for_raw_disks(tmp_path: Path) -> None:
    version_1 = qcow2({}, MiB, version=1)
    truncated = EXAMPLES["vdi"][:100]
    wrong_checksum = bytearray(b"conectix" + bytes(1016))
    for image in (version_1, truncated, wrong_checksum):
        with pytest.raises(FormatError):
            opened(saved(tmp_path, image))


def test_a_cookie_alone_at_the_end_is_no_footer(tmp_path: Path) -> None:
    disk = bytearray(1024)
    put(disk, 512, "8s", b"conectix")
    assert opened(saved(tmp_path, disk)).format == "raw"
    disk[512:] = footer(512)
    assert opened(saved(tmp_path, disk)).format == "vpc"


@pytest.mark.parametrize("size", [0, 1, 3, 7, 63, 511, 512, 513, 4097, 5 * MiB + 1])
def test_raw_of_any_size(tmp_path: Path, size: int) -> None:
    disk = bytes(range(1, 251)) * (size // 250 + 1)
    found = opened(saved(tmp_path, disk[:size]))
    assert (found.format, found.volume.size, dict(found.details)) == ("raw", size, {})
    assert content(found.volume) == disk[:size]


def test_holes_of_a_raw_disk(tmp_path: Path) -> None:
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(1 << 40)
        for offset in (MiB, 512 << 30):
            file.seek(offset)
            file.write(b"x" * 64 * KiB)
    assert in_file(opened(path).volume) == [(MiB, MiB, 64 * KiB), (512 << 30, 512 << 30, 64 * KiB)]
    path.write_bytes(b"")
    os.truncate(path, 1 << 40)
    assert opened(path).volume.extents == []


def test_holes_of_a_fixed_vhd(tmp_path: Path) -> None:
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.seek(8 * MiB)
        file.write(footer(8 * MiB))
        file.seek(MiB)
        file.write(b"x" * 64 * KiB)
    assert in_file(opened(path).volume) == [(MiB, MiB, 64 * KiB)]


def test_a_map_of_holes_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "MOST_EXTENTS", 2)
    path = tmp_path / "image"
    with path.open("wb") as file:
        for index in range(5):
            file.seek(index * MiB)
            file.write(b"x" * 64 * KiB)
    volume = opened(path).volume
    assert [(start, length) for start, _, length in in_file(volume)] == [
        (0, 64 * KiB),
        (MiB, 64 * KiB),
        (MiB + 64 * KiB, 3 * MiB),
    ]
    assert content(volume) == path.read_bytes()


def test_unknown_format() -> None:
    with pytest.raises(SpecError, match="'vmdk' is not read; use one of raw, qcow2, vpc, vdi"):
        open_image(b"/", "vmdk")


def test_paths_that_are_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(".", os.O_RDONLY)
        os.chdir(tmp_path)  # a socket's path has at most 107 bytes
        try:
            listener.bind("socket")
        finally:
            os.fchdir(here)
            os.close(here)
    os.symlink("nowhere", tmp_path / "dangling")
    expected = {
        tmp_path: "is a directory; to make an image of a tree, build it",
        tmp_path / "pipe": "is a pipe; write it to a file first",
        tmp_path / "socket": "is a socket; write what it gives to a file first",
        tmp_path / "absent": "No such file or directory; name an image that can be read",
        tmp_path / "dangling": "No such file or directory; name an image that can be read",
        Path("/dev/null"): "is a character device; give a file or a disk",
    }
    for path, words in expected.items():
        with pytest.raises(SourceError, match=words) as caught:
            opened(path)
        assert caught.value.path == bytes(path)


def test_symlinks_are_followed(tmp_path: Path) -> None:
    os.symlink(saved(tmp_path, b"disk"), tmp_path / "link")
    assert content(opened(tmp_path / "link").volume) == b"disk"


def test_descriptors_are_closed(tmp_path: Path) -> None:
    def descriptors() -> list[Path]:
        return [link for link in Path("/proc/self/fd").iterdir() if link.exists() and link.samefile(path)]

    path = saved(tmp_path, b"disk")
    found = opened(path)
    assert len(descriptors()) == 1
    del found
    path.write_bytes(b"QFI\xfb")
    with pytest.raises(FormatError):
        opened(path)
    assert descriptors() == []


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_image_that_changes_after_it_was_opened(tmp_path: Path, image_format: str) -> None:
    cluster = 64 * KiB
    image = qcow2({0: 4 * cluster, 2: 5 * cluster, 3: 7 * cluster}, 4 * cluster)
    path = saved(tmp_path, image)
    volume = opened(path, image_format).volume
    with path.open("r+b") as file:
        file.truncate(len(image) - 1)
    with pytest.raises(SourceChangedError):
        content(volume)


def test_extents_are_slices_of_one_open_file(tmp_path: Path) -> None:
    volume = opened(saved(tmp_path, vdi([0, 2, 1], 3 * MiB, length=1024 + 3 * MiB))).volume
    shared = {e.data.file for e in volume.extents if isinstance(e.data, HandleSlice)}
    assert len(volume.extents) == 3 and len(shared) == 1
