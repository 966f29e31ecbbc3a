"""The files beside an image: their syntax, and that they vouch for what is on the disk."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from imgwriter import sidecar, sink
from imgwriter.errors import OutputError
from imgwriter.extent import CHUNK, Bytes, Extent, Generated, Volume, extent
from imgwriter.filedata import Packed, part


def made(tmp_path: Path, volume: Volume, name: str = "nixos.img") -> Path:
    path = tmp_path / name
    sink.write(volume, path)
    return path


VOLUME = Volume(
    5 * 4096 + 100,
    [
        extent(4096, Bytes(b"a" * 4096), "a"),
        extent(8192, Bytes(b"b"), "b"),
        extent(4 * 4096 + 4095, Bytes(b"cd"), "cd"),
    ],
)


@pytest.mark.parametrize("size", [0, 1, 3 << 20])
def test_the_sum_is_of_the_whole_file(tmp_path: Path, size: int) -> None:
    """FIPS 180-4 gives e3b0...b855 for no bytes; the others are hashlib's over the file."""
    volume = Volume(size, [extent(size // 2, Bytes(b"x" * min(size, 1)), "x")])
    path = made(tmp_path, volume)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert size or digest == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sum_of(volume, path) == f"{digest}  nixos.img\n"


def sum_of(volume: Volume, path: Path) -> str:
    return sidecar.sha256(volume.size, [(e.start, e.end) for e in volume.extents], path)


def test_the_sum_is_of_what_is_on_the_disk(tmp_path: Path) -> None:
    data = Generated(2 * CHUNK + 1, lambda start, stop: bytes(range(256)) * ((stop - start) // 256 + 1))
    volume = Volume(3 * CHUNK, [Extent(5, CHUNK, Bytes(bytes(range(256)) * (CHUNK // 256)), 0, "x")])
    path = made(tmp_path, volume)
    with path.open("r+b") as damaged:
        damaged.seek(77)
        damaged.write(b"!")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert sum_of(volume, path).startswith(digest)
    assert len(data) > CHUNK


def test_a_name_with_a_newline_is_escaped_as_sha256sum_does(tmp_path: Path) -> None:
    path = made(tmp_path, Volume(0, []), "a\nb\\c")
    assert sum_of(Volume(0, []), path).split("  ")[1] == "a\\nb\\\\c\n"
    assert sum_of(Volume(0, []), path).startswith("\\e3b0c442")


def test_a_block_map_has_each_block_that_holds_a_byte(tmp_path: Path) -> None:
    path = made(tmp_path, VOLUME)
    root = ElementTree.fromstring(sidecar.bmap(VOLUME, path))
    text = {child.tag: (child.text or "").strip() for child in root}
    assert root.attrib == {"version": "2.0"}
    assert (text["ImageSize"], text["BlockSize"], text["BlocksCount"]) == ("20580", "4096", "6")
    assert (text["MappedBlocksCount"], text["ChecksumType"]) == ("4", "sha256")
    content = path.read_bytes()
    assert [((r.text or "").strip(), r.attrib["chksum"]) for r in root.findall("BlockMap/Range")] == [
        ("1-2", hashlib.sha256(content[4096 : 3 * 4096]).hexdigest()),
        ("4-5", hashlib.sha256(content[4 * 4096 :]).hexdigest()),
    ]


def test_a_block_map_vouches_for_itself(tmp_path: Path) -> None:
    text = sidecar.bmap(VOLUME, made(tmp_path, VOLUME))
    checksum = text.split("<BmapFileChecksum> ")[1][:64]
    assert hashlib.sha256(text.replace(checksum, "0" * 64).encode()).hexdigest() == checksum


def test_a_single_block_is_one_number(tmp_path: Path) -> None:
    volume = Volume(8192, [extent(5000, Bytes(b"x"), "x")])
    assert "> 1 </Range>" in sidecar.bmap(volume, made(tmp_path, volume))
    assert "Range" not in sidecar.bmap(Volume(8192, []), made(tmp_path, Volume(8192, [])))


def test_an_image_that_cannot_be_read_back(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be read back: No such file"):
        sum_of(VOLUME, tmp_path / "missing")
    (tmp_path / "short").write_bytes(b"")
    with pytest.raises(OutputError, match="it is shorter than it was written"):
        sidecar.bmap(VOLUME, tmp_path / "short")


class Located(NamedTuple):
    path: bytes


def test_the_manifest_has_a_line_for_each_run() -> None:
    pack = Packed(
        0, 4103, [part(0, Bytes(b"12345"), b"etc/a"), part(4096, Bytes(b"1234567"), Located(b"etc/\xff"))]
    )
    volume = Volume(
        1 << 20,
        [
            extent(0, Bytes(b"M" * 512), "MBR"),
            extent(4096, pack, "pack"),
            Extent(16384, 10, Bytes(bytes(100)), 50, b"usr/lib\\x\n"),
            Extent(32768, 4095, pack, 3, "part of a pack"),
        ],
    )
    assert [json.loads(line) for line in sidecar.manifest(volume).splitlines()] == [
        {"offset": 0, "length": 512, "label": "MBR"},
        {"offset": 4096, "length": 5, "path": "etc/a", "path_offset": 0},
        {"offset": 8192, "length": 7, "path": "etc/\\xff", "path_offset": 0},
        {"offset": 16384, "length": 10, "path": "usr/lib\\\\x\n", "path_offset": 50},
        {"offset": 32768, "length": 2, "path": "etc/a", "path_offset": 3},
        {"offset": 36861, "length": 2, "path": "etc/\\xff", "path_offset": 0},
    ]


@pytest.mark.parametrize(
    "path", [b"usr/bin/bash", "naïve/日本".encode(), b"\\xff", b"\xff\\", b"a\\\\x41", b"\0\n"]
)
def test_every_name_can_be_had_back(path: bytes) -> None:
    assert sidecar.unescape(json.loads(json.dumps(sidecar.escape(path), ensure_ascii=False))) == path
