"""The wrapper of qemu-img and qemu-io: it reads what was written, wherever that is, and it objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.oracles import qemu_img

pytestmark = pytest.mark.compat

GiB = 1 << 30


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """8 GiB by qemu-img, with 40 bytes across 4 GiB, where qemu-io's addresses get a ninth digit."""
    image = qemu_img.create(tmp_path / "image.qcow2", "qcow2", 8 * GiB)
    qemu_img.io(image, "qcow2", f"write -P 0x61 {4 * GiB - 20} 40", f"write -P 0x62 {8 * GiB - 7} 7")
    return image


def test_bytes_are_read_across_4_gib(image: Path) -> None:
    assert qemu_img.read(image, "qcow2", 4 * GiB - 23, 46) == bytes(3) + b"a" * 40 + bytes(3)
    assert qemu_img.read(image, "qcow2", 4 * GiB, 1) == b"a"
    assert qemu_img.read(image, "qcow2", 8 * GiB - 8, 8) == b"\0bbbbbbb"


def test_more_than_there_is(image: Path) -> None:
    with pytest.raises(AssertionError, match="read -v"):
        qemu_img.read(image, "qcow2", 8 * GiB - 8, 9)


def test_another_pattern(image: Path) -> None:
    qemu_img.reads(image, "qcow2", 4 * GiB - 20, 40, 0x61)
    with pytest.raises(AssertionError, match="Pattern verification failed"):
        qemu_img.reads(image, "qcow2", 4 * GiB - 20, 41, 0x61)


def test_a_leaked_cluster(image: Path) -> None:
    qemu_img.check(image)
    size = image.stat().st_size
    # docs/interop/qcow2.txt: refcount_table_offset is at 48; the table's first entry says where the block is.
    content = bytearray(image.read_bytes())
    table = int.from_bytes(content[48:56], "big")
    block = int.from_bytes(content[table : table + 8], "big")
    unused = size // 65536
    content[block + 2 * unused : block + 2 * unused + 2] = b"\x00\x01"
    image.write_bytes(content.ljust((unused + 1) * 65536, b"\0"))
    with pytest.raises(AssertionError, match="1 leaked clusters"):
        qemu_img.check(image)


def test_another_byte(image: Path, tmp_path: Path) -> None:
    raw = qemu_img.convert(image, "qcow2", tmp_path / "raw", "raw")
    qemu_img.compare(image, "qcow2", raw)
    qemu_img.io(image, "qcow2", f"write -P 0x63 {4 * GiB} 1")
    with pytest.raises(AssertionError, match="Content mismatch at offset"):
        qemu_img.compare(image, "qcow2", raw)
