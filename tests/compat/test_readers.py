"""The readers on images that qemu-img and qemu-io made, compared with what qemu-img reads in them.

QEMU is writer and judge: the disk that is read has to be the bytes of ``qemu-img convert -O raw``.
"""

from __future__ import annotations

import os
import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imgwriter.errors import FormatError
from imgwriter.readers import Image
from imgwriter.zeros import drop_zeros
from tests.oracles import qemu_img
from tests.oracles.tools import attempt, run
from tests.unit.readers.images import (
    COMPRESSED,
    DYNAMIC_HEADER_FIELDS,
    FOOTER_FIELDS,
    QCOW2_FIELDS,
    VDI_FIELDS,
    KiB,
    MiB,
    content,
    digest,
    in_file,
    offset_of,
    opened,
    put,
    qcow2,
    vhd_checksum,
)

pytestmark = pytest.mark.compat

SIZE = 9 * MiB + 512


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a disk of text, noise, zeros and holes, whose pieces begin and end anywhere."""
    path = tmp_path_factory.mktemp("raw") / "disk.raw"
    dice = random.Random(7)
    disk = bytearray(SIZE)
    for _ in range(40):
        length = dice.choice([1, 511, 512, 4096, 70_000, 300_000])
        offset = dice.randrange(SIZE - length)
        piece = dice.choice([dice.randbytes(length), b"some text " * (length // 10 + 1), bytes(length)])
        disk[offset : offset + length] = piece[:length]
    disk[-1] = 1
    path.write_bytes(disk)
    return path


def judged(image: Path, image_format: str) -> bytes:
    """Return the disk that qemu-img reads in an image."""
    target = image.with_suffix(".judged")
    disk = qemu_img.convert(image, image_format, target, "raw").read_bytes()
    target.unlink()
    return disk


def agree(image: Path, image_format: str) -> Image:
    """Assert that QEMU and the reader see the same disk, and return what the reader sees."""
    found = opened(image)
    assert found.format == image_format
    assert found.volume.size == qemu_img.info(image, image_format)["virtual-size"]
    disk = content(found.volume)
    assert disk == judged(image, image_format)
    assert content(drop_zeros(found.volume)) == disk
    return found


QCOW2 = [
    *[{"compat": "0.10"}, {"lazy_refcounts": "on"}, {"preallocation": "metadata"}],
    *[{"preallocation": "falloc"}, {"preallocation": "full"}],
    *[{"refcount_bits": 1 << order} for order in range(7)],
    *[{"cluster_size": size} for size in (512, 1024, 4096, 65536, 2 * MiB)],
    *[{"compat": "0.10", "cluster_size": size} for size in (512, 2 * MiB)],
    *[{"extended_l2": "on", "cluster_size": size} for size in (16384, 65536, 2 * MiB)],
    {"extended_l2": "on", "preallocation": "metadata"},
    {"compression_type": "zstd"},
]
CLUSTERS = (512, 4096, 65536, 2 * MiB)
PACKED = [
    {},
    {"compat": "0.10"},
    {"extended_l2": "on"},
    *[{"cluster_size": size, "compression_type": kind} for size in CLUSTERS for kind in ("zlib", "zstd")],
]
VPC = [{}, {"force_size": "on"}, {"subformat": "fixed"}, {"subformat": "fixed", "force_size": "on"}]
VDI: list[dict[str, object]] = [{}, {"static": "on"}]
MADE: list[tuple[str, tuple[str, ...], dict[str, object]]] = [
    *[("qcow2", (), dict(options)) for options in QCOW2],
    *[("qcow2", ("-c",), dict(options)) for options in PACKED],
    *[("vpc", (), dict(options)) for options in VPC],
    *[("vdi", (), dict(options)) for options in VDI],
]


def name_of(case: tuple[str, tuple[str, ...], dict[str, object]]) -> str:
    return " ".join([case[0], *case[1], *(f"{name}={value}" for name, value in case[2].items())])


@pytest.mark.parametrize("case", MADE, ids=name_of)
def test_converted(raw: Path, tmp_path: Path, case: tuple[str, tuple[str, ...], dict[str, object]]) -> None:
    image_format, arguments, options = case
    image = qemu_img.convert(raw, "raw", tmp_path / "image", image_format, *arguments, **options)
    found = agree(image, image_format)
    disk = raw.read_bytes()
    assert content(found.volume)[: len(disk)] == disk


@pytest.mark.parametrize("case", MADE, ids=name_of)
def test_empty(tmp_path: Path, case: tuple[str, tuple[str, ...], dict[str, object]]) -> None:
    image_format, _, options = case
    for size in (512, 5 * MiB + 512):
        found = agree(qemu_img.create(tmp_path / "image", image_format, size, **options), image_format)
        assert not any(content(found.volume))


WRITTEN = [
    "write -P 0x11 0 3M",
    "write -P 0x22 1000K 70K",
    "write -P 0x33 5M 512",
    "write -P 0x44 5300000 100000",
    "write -z 256K 512K",
    "write -z -u 1536K 256K",
    "discard 2M 128K",
    "write -P 0x55 2100K 4K",
    "write -P 0x66 7M 512K",
    "write -P 0x77 4096K 2K",
    "write -P 0x88 4102K 2K",
    "write -z 4102K 1K",
    "write -P 0x99 8M 512",
]


@pytest.mark.parametrize("options", QCOW2, ids=str)
def test_written_by_a_guest(tmp_path: Path, options: dict[str, object]) -> None:
    image = qemu_img.create(tmp_path / "image", "qcow2", SIZE, **options)
    qemu_img.io(image, "qcow2", *WRITTEN)
    agree(image, "qcow2")


@pytest.mark.parametrize(
    ("image_format", "options"), [*(("vpc", o) for o in VPC), *(("vdi", o) for o in VDI)], ids=str
)
def test_other_formats_written_by_a_guest(
    tmp_path: Path, image_format: str, options: dict[str, object]
) -> None:
    image = qemu_img.create(tmp_path / "image", image_format, SIZE, **options)
    qemu_img.io(image, image_format, *(c for c in WRITTEN if "discard" not in c))
    agree(image, image_format)


def test_deflate_with_a_window_larger_than_qemus(tmp_path: Path) -> None:
    """QEMU writes with a window of 4 KiB, and reads any, since it inflates a cluster into one buffer."""
    cluster = 64 * KiB
    disk = random.Random(2).randbytes(20 * KiB) * 4
    compressor = zlib.compressobj(wbits=-15)
    packed = compressor.compress(disk[:cluster]) + compressor.flush()
    assert len(packed) < 30 * KiB  # so it refers back by 20 KiB
    entry = COMPRESSED | (len(packed) - 1) // 512 << 54 | 4 * cluster
    image = tmp_path / "image"
    image.write_bytes(qcow2({0: entry}, cluster, data={4 * cluster: packed}))
    assert content(agree(image, "qcow2").volume) == disk[:cluster]


@pytest.mark.parametrize("options", PACKED, ids=str)
def test_compressed_and_overwritten(raw: Path, tmp_path: Path, options: dict[str, object]) -> None:
    image = qemu_img.convert(raw, "raw", tmp_path / "image", "qcow2", "-c", **options)
    qemu_img.io(
        image, "qcow2", "write -P 0x11 200K 100K", "write -z 3M 1M", "write -P 0x22 6M 512", "discard 7M 512K"
    )
    agree(image, "qcow2")


def test_scattered_clusters(tmp_path: Path) -> None:
    """Clusters written in any order lie in the file in that order."""
    image = qemu_img.create(tmp_path / "image", "qcow2", 64 * MiB)
    places = list(range(0, 1024, 3)) + list(range(1, 512))
    random.Random(3).shuffle(places)
    qemu_img.io(image, "qcow2", *(f"write -P {n % 255 + 1} {n * 64}K 64K" for n in places))
    found = agree(image, "qcow2")
    assert len(found.volume.extents) < len(places)  # neighbours on the disk are read together


def test_many_runs_of_subclusters(tmp_path: Path) -> None:
    """Every second subcluster, in clusters side by side, of which the last ends with the disk."""
    image = qemu_img.create(
        tmp_path / "image", "qcow2", MiB - 3 * KiB, extended_l2="on", cluster_size=64 * KiB
    )
    parts = [n for n in range(0, 510, 2) if n // 32 not in (3, 4)]
    random.Random(6).shuffle(parts)
    qemu_img.io(image, "qcow2", *(f"write -P {n % 255 + 1} {n * 2}K 2K" for n in parts))
    found = agree(image, "qcow2")
    assert len(found.volume.extents) == 2  # around clusters 3 and 4


def test_resized_and_used_snapshots_and_bitmaps(tmp_path: Path) -> None:
    image = qemu_img.create(tmp_path / "image", "qcow2", 600 * MiB)
    qemu_img.io(image, "qcow2", "write -P 0x11 0 1M", "write -P 0x22 590M 1M")
    run("qemu-img", "resize", "-q", "-f", "qcow2", "--shrink", image, "1M")
    agree(image, "qcow2")
    run("qemu-img", "resize", "-q", "-f", "qcow2", image, "3G")
    qemu_img.io(image, "qcow2", "write -P 0x33 2G 1M")
    run("qemu-img", "snapshot", "-c", "before", image)
    with pytest.raises(FormatError, match="has 1 internal snapshot; delete them"):
        opened(image)
    qemu_img.io(image, "qcow2", "write -P 0x44 512K 1M")
    run("qemu-img", "snapshot", "-d", "before", image)
    run("qemu-img", "bitmap", "-f", "qcow2", "--add", image, "changes")
    qemu_img.check(image)
    qemu_img.reads(image, "qcow2", 2 << 30, MiB, 0x33)
    found = opened(image)
    assert found.volume.size == 3 << 30
    assert found.volume.read(2 << 30, MiB) == b"\x33" * MiB
    assert found.volume.read(512 * KiB, MiB) == b"\x44" * MiB


@pytest.mark.parametrize("size", [0, 512, 64 << 40])
@pytest.mark.parametrize("cluster_size", [65536, 2 * MiB])
def test_sizes(tmp_path: Path, size: int, cluster_size: int) -> None:
    image = qemu_img.create(tmp_path / "image", "qcow2", size, cluster_size=cluster_size)
    assert opened(image).volume.size == qemu_img.info(image)["virtual-size"] == size
    if size > MiB:
        qemu_img.io(image, "qcow2", f"write -P 0x11 {size - 512} 512")
        assert opened(image).volume.read(size - 1024, 1024) == bytes(512) + b"\x11" * 512


def test_the_comparison_objects(raw: Path, tmp_path: Path) -> None:
    image = qemu_img.convert(raw, "raw", tmp_path / "image", "qcow2", cluster_size=2 * MiB)
    at = in_file(opened(image).volume)[0][1] + MiB
    damaged = bytearray(image.read_bytes())
    damaged[at] ^= 1
    image.write_bytes(damaged)
    assert content(opened(image).volume) != raw.read_bytes()
    with pytest.raises(AssertionError):
        qemu_img.compare(image, "qcow2", raw)


# What is refused, made by QEMU itself.


def refused(image: Path, words: str) -> None:
    with pytest.raises(FormatError, match=re.escape(words)):
        opened(image)


def test_backing_file(raw: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", image)
    refused(image, f"names a backing file ({raw})")


@pytest.mark.parametrize("name", ["vhdx", "vmdk", "qed", "parallels"])
def test_containers_that_are_not_read(tmp_path: Path, name: str) -> None:
    image = tmp_path / "image"
    run("qemu-img", "create", "-q", "-f", name, image, "64M")
    with pytest.raises(FormatError, match=rf"(?i)a {name}, which is not read"):
        opened(image)


def test_a_vmdk_that_is_a_description(tmp_path: Path) -> None:
    image = tmp_path / "image.vmdk"
    run("qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", image, "1M")
    refused(image, "a VMDK, which is not read")


def test_luks(tmp_path: Path) -> None:
    image = tmp_path / "image"
    options = ("-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10")
    command = ("create", "-q", "--object", "secret,id=key,data=key", "-f", "qcow2", *options, image, "1M")
    for _ in range(20):  # QEMU measures the CPU for the key, and gives up where it measures nothing
        result = attempt("qemu-img", *command)
        if result.status == 0:
            break
    assert result.status == 0, result.text
    refused(image, "has encryption (LUKS)")


def test_external_data_file(tmp_path: Path) -> None:
    image = qemu_img.create(tmp_path / "image", "qcow2", MiB, data_file=tmp_path / "data")
    refused(image, "keeps its clusters in an external data file")


@pytest.mark.parametrize(
    ("bit", "words", "qemu"),
    [
        (1, "is marked corrupt", None),
        (5, "not known here: bit 5", "Unsupported qcow2 feature(s): Unknown incompatible feature: 20"),
    ],
)
def test_feature_bits(tmp_path: Path, bit: int, words: str, qemu: str | None) -> None:
    image = qemu_img.create(tmp_path / "image", "qcow2", MiB)
    patched = bytearray(image.read_bytes())
    put(patched, 72, ">Q", 1 << bit)
    image.write_bytes(patched)
    refused(image, words)
    if qemu:
        assert qemu in attempt("qemu-img", "info", image).err.replace("\n", " ")


def test_dirty_bit_of_a_writer_that_was_killed(tmp_path: Path) -> None:
    image = qemu_img.create(tmp_path / "image", "qcow2", MiB, lazy_refcounts="on")
    attempt("qemu-io", "-f", "qcow2", "-c", "write -P 0x11 0 64K", "-c", "flush", "-c", "abort", image)
    refused(image, "is marked dirty")
    run("qemu-img", "check", "-q", "-r", "all", image)
    agree(image, "qcow2")


def test_a_cluster_of_two_uses(tmp_path: Path) -> None:
    image = qemu_img.create(tmp_path / "image", "qcow2", MiB)
    qemu_img.io(image, "qcow2", "write -P 0x11 0 128K")
    patched = bytearray(image.read_bytes())
    l1_offset = struct.unpack_from(">Q", patched, 40)[0]
    l2_offset = struct.unpack_from(">Q", patched, l1_offset)[0] & ~(1 << 63)
    patched[l2_offset + 8 : l2_offset + 16] = patched[l2_offset : l2_offset + 8]
    image.write_bytes(patched)
    refused(image, "of the file twice")
    assert qemu_img.raw_check(image).status != 0


# VHD's decisions.


def patch_footers(image: Path, **fields: object) -> None:
    """Set fields of both footers of a dynamic VHD, or of the one of a fixed, with new checksums."""
    patched = bytearray(image.read_bytes())
    for at in (0, len(patched) - 512):
        if patched[at : at + 8] == b"conectix":
            for name, value in fields.items():
                put(patched, at + offset_of(FOOTER_FIELDS, name), f">{FOOTER_FIELDS[name]}", value)
            put(patched, at + 64, ">I", vhd_checksum(patched[at : at + 512], 64))
    image.write_bytes(patched)


@pytest.mark.parametrize("subformat", ["dynamic", "fixed"])
@pytest.mark.parametrize("creator", [b"qemu", b"vpc ", b"qem2", b"win ", b"d2v ", b"tap\0", b"CTXS"])
def test_size_of_a_vhd_by_its_maker(raw: Path, tmp_path: Path, creator: bytes, subformat: str) -> None:
    image = qemu_img.convert(raw, "raw", tmp_path / "image", "vpc", subformat=subformat)
    size = opened(image).volume.size
    patch_footers(image, creator_application=creator, current_size=size - 4096)
    found = opened(image)
    assert found.volume.size == qemu_img.info(image, "vpc")["virtual-size"]
    assert found.volume.size == (size if creator in (b"qemu", b"vpc ") else size - 4096)


def test_makers_that_qemu_7_does_not_know_mean_their_size(raw: Path, tmp_path: Path) -> None:
    """QEMU 7.2 would cut such a disk to its geometry, 10.0 does as the reader here."""
    image = qemu_img.convert(raw, "raw", tmp_path / "image", "vpc")
    size = opened(image).volume.size
    patch_footers(image, creator_application=b"vbox", cylinder=100)
    assert opened(image).volume.size == size


def test_sectors_that_a_bitmap_says_are_not_there(tmp_path: Path) -> None:
    """By the specification they are zeros; QEMU reads what is there, and never writes such a file."""
    image = qemu_img.create(tmp_path / "image", "vpc", 4 * MiB)
    qemu_img.io(image, "vpc", "write -P 0x11 0 4K")
    patched = bytearray(image.read_bytes())
    table = struct.unpack_from(">Q", patched, 512 + offset_of(DYNAMIC_HEADER_FIELDS, "table_offset"))[0]
    block = struct.unpack_from(">I", patched, table)[0] * 512
    assert patched[block : block + 512] == b"\xff" * 512
    patched[block] = 0xFB  # sector 5
    image.write_bytes(patched)
    qemu_img.reads(image, "vpc", 5 * 512, 512, 0x11)
    assert opened(image).volume.read(0, 4 * KiB) == b"\x11" * 5 * 512 + bytes(512) + b"\x11" * 1024


def test_damaged_footer_at_the_end(raw: Path, tmp_path: Path) -> None:
    image = qemu_img.convert(raw, "raw", tmp_path / "image", "vpc", force_size="on")
    whole = content(opened(image).volume)
    with image.open("r+b") as file:
        file.truncate(image.stat().st_size - 512)
    found = agree(image, "vpc")
    assert content(found.volume) == whole
    assert found.details["footer"] == "copy at the start"


# Damage: whatever is changed in an image of QEMU's, the answer is a disk or a FormatError.

DAMAGED = {
    "qcow2": (QCOW2_FIELDS, ">", 0, ("-c",), {"cluster_size": 4096}),
    "qcow2 zstd": (QCOW2_FIELDS, ">", 0, ("-c",), {"cluster_size": 512, "compression_type": "zstd"}),
    "qcow2 extended": (QCOW2_FIELDS, ">", 0, (), {"extended_l2": "on", "cluster_size": 16384}),
    "vpc": (DYNAMIC_HEADER_FIELDS, ">", 512, (), {"force_size": "on"}),
    "vdi": (VDI_FIELDS, "<", 0, (), {}),
}


@pytest.fixture(scope="module", params=DAMAGED)
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """Return the name and the bytes of a small image that QEMU made."""
    folder = tmp_path_factory.mktemp("victim")
    name = str(request.param)
    _, _, _, arguments, options = DAMAGED[name]
    source = folder / "raw"
    dice = random.Random(5)
    source.write_bytes(b"text " * 20_000 + bytes(500_000) + dice.randbytes(50_000) + b"more " * 20_000)
    source.write_bytes(source.read_bytes().ljust(MiB, b"\0"))
    image = qemu_img.convert(source, "raw", folder / "image", name.split()[0], *arguments, **options)
    return name, image.read_bytes()


def values(code: str) -> Iterator[int]:
    """Yield integers for a field: its limits, and what is near to the powers of two."""
    most = (1 << 8 * struct.calcsize(f">{code}")) - 1
    yield most
    for bit in range(most.bit_length()):
        yield from {(1 << bit) - 1, 1 << bit, min((1 << bit) + 1, most)}


def test_every_value_of_every_field(victim: tuple[str, bytes], tmp_path: Path) -> None:
    name, whole = victim
    fields, order, base, _, _ = DAMAGED[name]
    path = tmp_path / "image"
    for field, code in fields.items():
        if code.endswith("s"):
            continue
        for value in values(code):
            damaged = bytearray(whole)
            put(damaged, base + offset_of(fields, field, order), f"{order}{code}", value)
            if name == "vpc":
                put(damaged, 512 + 36, ">I", vhd_checksum(damaged[512:1536], 36))
            path.write_bytes(damaged)
            digest(path)


def test_any_damage(victim: tuple[str, bytes], tmp_path: Path) -> None:
    _, whole = victim
    dice = random.Random(11)
    path = tmp_path / "image"
    changes: list[Callable[[bytearray], object]] = [
        lambda image: put(image, dice.randrange(2048), "B", dice.randrange(256)),
        lambda image: put(image, dice.randrange(len(image)), "B", dice.randrange(256)),
        lambda image: put(
            image, dice.randrange(len(image) // 8) * 8, ">Q", dice.getrandbits(dice.randrange(1, 65))
        ),
        lambda image: put(
            image, dice.randrange(len(image) // 4) * 4, "<I", dice.getrandbits(dice.randrange(1, 33))
        ),
        lambda image: image.__delitem__(slice(dice.randrange(len(image)), None)),
        lambda image: image.__setitem__(
            slice(512 * dice.randrange(8), None), dice.randbytes(len(image) // 8)
        ),
    ]
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(dice.choice([1, 1, 1, 20])):
            if len(damaged) > 4096:
                dice.choice(changes)(damaged)
        path.write_bytes(damaged)
        digest(path)


# A file of which the end is missing

CUT: list[tuple[str, tuple[str, ...], dict[str, object]]] = [
    ("qcow2", (), {}),
    ("qcow2", ("-c",), {}),
    ("qcow2", ("-c",), {"compression_type": "zstd", "cluster_size": 4096}),
    ("qcow2", (), {"cluster_size": 512, "refcount_bits": 1}),
    ("qcow2", (), {"cluster_size": 512, "refcount_bits": 64}),
    ("qcow2", (), {"compat": "0.10"}),
    ("qcow2", (), {"extended_l2": "on", "cluster_size": 16384}),
    ("vpc", (), {}),
    ("vdi", (), {}),
    ("vdi", (), {"static": "on"}),
]  # fmt: skip


@pytest.mark.parametrize(("image_format", "arguments", "options"), CUT, ids=str)
def test_what_is_cut_off_is_not_called_damaged(
    image_format: str, arguments: tuple[str, ...], options: dict[str, object], raw: Path, tmp_path: Path
) -> None:
    """Wherever the end is: the message never sends anybody to repair what is not there."""
    path = qemu_img.convert(raw, "raw", tmp_path / "image", image_format, *arguments, **options)
    dice, size = random.Random(3), path.stat().st_size
    said = 0
    for length in sorted((dice.randrange(512, size) for _ in range(60)), reverse=True):
        os.truncate(path, length)
        try:
            # Of the last cluster or block only a part need be there.
            content(opened(path, image_format).volume)
        except FormatError as error:
            said += 1
            assert "the image is cut off" in str(error), f"{length} of {size}: {error}"
            assert "repair" not in str(error)
    assert said > 40
