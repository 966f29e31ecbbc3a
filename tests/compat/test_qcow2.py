"""qcow2, plain and compressed, judged by QEMU and dissect.hypervisor; and codecs under other processors."""

from __future__ import annotations

import platform
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from dissect.hypervisor.disk.qcow2 import QCow2

from imgwriter import qcow2
from imgwriter.compression import codec
from imgwriter.extent import Bytes, Extent, Volume, extent
from imgwriter.qcow2 import Options
from imgwriter.qcow2_compressed import plan
from imgwriter.units import GiB, KiB, MiB, TiB, div_ceil
from tests.oracles import qemu_img
from tests.oracles.tools import CACHE, ROOT, attempt, require, require_file, run
from tests.unit.test_qcow2_compressed import assemble

pytestmark = pytest.mark.compat

SIZE = 21 * MiB + 512
NOISE = random.Random(6).randbytes(4 * MiB)
TEXT = b"".join(b"%d is a line of some text\n" % n for n in range(200_000))[: 4 * MiB]
CLUSTER_SIZES = (512, 4 * KiB, 64 * KiB, 2 * MiB)


class Kind(NamedTuple):
    """A way to make a qcow2: version, compression or None, and whether that leaves out zero clusters."""

    version: int
    compression: str | None
    sifted: bool = False

    def __str__(self) -> str:
        return f"v{self.version}-{self.compression or ('sifted' if self.sifted else 'plain')}"

    def make(self, disk: Volume, cluster_size: int, path: Path) -> Path:
        """Write the qcow2 of a disk."""
        options = Options(cluster_size, self.version)
        if self.compression is None and not self.sifted:
            return write(qcow2.encode(disk, options), path)
        chosen = codec(self.compression) if self.compression else None
        path.write_bytes(assemble(plan(disk, options, chosen)))
        return path


KINDS = (Kind(2, None), Kind(3, None), Kind(3, None, True), Kind(2, "zlib"), Kind(3, "zlib"), Kind(3, "zstd"))
every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)
every_cluster_size = pytest.mark.parametrize("cluster_size", CLUSTER_SIZES)


def write(volume: Volume, path: Path) -> Path:
    """Write a Volume as a sparse file."""
    with path.open("wb") as file:
        file.truncate(volume.size)
        for e in volume.extents:
            file.seek(e.start)
            for piece in e.data.chunks(e.data_start, e.data_start + e.length):
                file.write(piece)
    return path


def mixed() -> Volume:
    """Return a disk with text, noise, zeros, and pieces that share clusters or end at their edges."""
    middle = (TEXT[:40_000] + NOISE[:50_000]) * 30
    return Volume(
        SIZE,
        [
            extent(0, Bytes(TEXT[:1000]), "start"),
            extent(3000, Bytes(TEXT[5000:8000]), "near"),
            extent(2 * MiB - 1, Bytes(NOISE[:65538]), "across an edge, to one"),
            extent(4 * MiB, Bytes(TEXT), "text"),
            extent(8 * MiB, Bytes(bytes(MiB)), "zeros"),
            extent(9 * MiB + 4096, Bytes(NOISE[: 3 * MiB]), "noise"),
            extent(14 * MiB, Bytes(middle), "both"),
            Extent(SIZE - 100, 100, Bytes(NOISE), 17, "end"),
        ],
    )


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk as it is."""
    return write(mixed(), tmp_path_factory.mktemp("raw") / "disk.img")


def dissect_reads(path: Path) -> bytes:
    """Return the guest disk as dissect.hypervisor reads it."""
    with path.open("rb") as file:
        disk = QCow2(file)
        return bytes(disk.open().read(disk.size))


@every_cluster_size
@every_kind
def test_qemu_agrees(kind: Kind, cluster_size: int, raw: Path, tmp_path: Path) -> None:
    image = kind.make(mixed(), cluster_size, tmp_path / "disk.qcow2")
    qemu_img.check(image)
    qemu_img.compare(image, "qcow2", raw)
    back = qemu_img.convert(image, "qcow2", tmp_path / "back.img", "raw")
    assert back.read_bytes() == raw.read_bytes()
    info = qemu_img.info(image)
    specific = info["format-specific"]["data"]
    assert (info["format"], info["virtual-size"], info["cluster-size"]) == ("qcow2", SIZE, cluster_size)
    assert specific["compat"] == ("0.10" if kind.version == 2 else "1.1")
    assert specific["compression-type"] == (kind.compression or "zlib")
    assert specific["refcount-bits"] == 16
    assert not info["dirty-flag"] and not specific.get("corrupt") and not specific.get("extended-l2")
    if kind.compression != "zstd":  # the dissect.hypervisor that is installed reads none
        assert dissect_reads(image) == raw.read_bytes()


@every_cluster_size
@every_kind
def test_emulated_reads_at_the_edges_of_clusters(
    kind: Kind, cluster_size: int, raw: Path, tmp_path: Path
) -> None:
    image = kind.make(mixed(), cluster_size, tmp_path / "disk.qcow2")
    content = raw.read_bytes()
    for start, length in (
        (0, 512),
        (cluster_size - 1, 2),
        (2 * MiB - 3, 700),
        (2 * MiB + 64 * KiB - 3, 700),
        (4 * MiB - 2, 600),
        (9 * MiB + 4090, 600),
        (SIZE - 600, 600),
    ):
        assert qemu_img.read(image, "qcow2", start, length) == content[start : start + length]


@every_kind
def test_qemu_can_write_into_it(kind: Kind, raw: Path, tmp_path: Path) -> None:
    image = kind.make(mixed(), 64 * KiB, tmp_path / "disk.qcow2")
    qemu_img.io(
        image, "qcow2", "write -P 0x5a 5000000 200000", "write -P 0x5b 13000000 70000", "discard 9M 1M"
    )
    qemu_img.check(image)
    qemu_img.reads(image, "qcow2", 5_000_000, 200_000, 0x5A)
    qemu_img.reads(image, "qcow2", 13_000_000, 70_000, 0x5B)
    after = 14 * MiB
    assert qemu_img.read(image, "qcow2", after, 600) == raw.read_bytes()[after : after + 600]


@every_cluster_size
def test_map_has_what_is_touched_and_nothing_else(cluster_size: int, tmp_path: Path) -> None:
    disk = mixed()
    volume = qcow2.encode(disk, Options(cluster_size))
    image = write(volume, tmp_path / "disk.qcow2")
    moved = [e for e in volume.extents if not str(e.label).startswith("qcow2")]
    # A run that is present has a place; one may end where the file on the host has a hole.
    runs = [r for r in qemu_img.map_(image, "qcow2") if r["present"]]
    for old, new in zip(disk.extents, moved, strict=True):
        parts = [r for r in runs if r["start"] < old.end and old.start < r["start"] + r["length"]]
        assert parts and {r["offset"] - r["start"] for r in parts} == {new.start - old.start}
    touched = {
        cluster
        for e in disk.extents
        for cluster in range(e.start // cluster_size, div_ceil(e.end, cluster_size))
    }
    beyond = div_ceil(SIZE, cluster_size) * cluster_size - SIZE  # of the last cluster, which is touched
    assert sum(r["length"] for r in runs) == len(touched) * cluster_size - beyond


@pytest.mark.parametrize(
    ("cluster_size", "size"),
    # 64 TiB in smaller ones is more than QEMU makes.
    [(c, size) for c in CLUSTER_SIZES for size in (0, 512, 3 * GiB, 64 * TiB) if size < TiB or c > 4 * KiB],
)
@pytest.mark.parametrize("version", [2, 3])
def test_headers_equal_those_of_qemu_img_create(
    version: int, cluster_size: int, size: int, tmp_path: Path
) -> None:
    compat = "0.10" if version == 2 else "1.1"
    theirs = qemu_img.create(
        tmp_path / "theirs.qcow2", "qcow2", size, compat=compat, cluster_size=cluster_size
    )
    ours = qcow2.encode(Volume(size, []), Options(cluster_size, version))
    with theirs.open("rb") as file:
        expected = file.read(cluster_size)
    if cluster_size == 512 and size == 3 * GiB:
        # 1,536 clusters of L1 table need 7 refcount blocks. qemu-img has the first before the L1 table and
        # the others behind it; ours are all before it. Nothing else differs.
        fields, other = qcow2.HEADER.parse(ours.read(0, 72)), qcow2.HEADER.parse(expected)
        assert (fields.l1_table_offset, other.l1_table_offset) == (512 * 9, 512 * 3)
        expected = expected[:40] + fields.l1_table_offset.to_bytes(8, "big") + expected[48:]
    assert ours.read(0, cluster_size) == expected


@pytest.mark.parametrize(("cluster_size", "size"), [(512, 128 * GiB), (64 * KiB, 2048 * TiB)])
def test_qemu_refuses_what_we_refuse(cluster_size: int, size: int, tmp_path: Path) -> None:
    """The largest L1 table: QEMU opens ours, and makes none that is larger."""
    image = write(qcow2.encode(Volume(size, []), Options(cluster_size)), tmp_path / "ours.qcow2")
    assert qemu_img.info(image)["virtual-size"] == size
    arguments = ("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"cluster_size={cluster_size}")
    result = attempt(*arguments, tmp_path / "theirs.qcow2", str(size + 512))
    assert result.status != 0 and "too large" in result.err, result.text


@every_kind
@pytest.mark.parametrize("size", [0, 1, 512, 513, 64 * KiB, 64 * KiB + 1])
def test_small_disks(size: int, kind: Kind, tmp_path: Path) -> None:
    disk = Volume(size, [extent(0, Bytes(TEXT[:size]), "all")])
    image = kind.make(disk, 64 * KiB, tmp_path / "disk.qcow2")
    path = write(disk, tmp_path / "disk.img")
    qemu_img.check(image)
    qemu_img.compare(image, "qcow2", path)
    assert qemu_img.info(image)["virtual-size"] == -(-size // 512) * 512


def test_64_tib_with_two_pieces(tmp_path: Path) -> None:
    ends = [extent(0, Bytes(TEXT[:5000]), "first"), extent(64 * TiB - 5000, Bytes(NOISE[:5000]), "last")]
    for kind in KINDS:
        image = kind.make(Volume(64 * TiB, ends), 64 * KiB, tmp_path / "disk.qcow2")
        qemu_img.check(image)
        assert qemu_img.read(image, "qcow2", 64 * TiB - 600, 600) == NOISE[4400:5000]
        assert qemu_img.read(image, "qcow2", 4000, 600) == TEXT[4000:4600]


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
@every_cluster_size
def test_compressed_is_about_as_small_as_qemu_img_makes_it(
    cluster_size: int, compression: str, raw: Path, tmp_path: Path
) -> None:
    ours = Kind(3, compression).make(mixed(), cluster_size, tmp_path / "ours.qcow2")
    theirs = qemu_img.convert(
        raw,
        "raw",
        tmp_path / "theirs.qcow2",
        "qcow2",
        "-c",
        cluster_size=cluster_size,
        compression_type=compression,
    )
    assert ours.stat().st_size <= 1.05 * theirs.stat().st_size


def l2_entry(image: Path, guest_offset: int) -> int:
    """Return where in the file the L2 entry of a guest offset below the first L1 entry's end is."""
    with image.open("rb") as file:
        fields = qcow2.HEADER.parse(file.read(72))
        file.seek(fields.l1_table_offset)
        table = int.from_bytes(file.read(8), "big") & qcow2.L1E_OFFSET_MASK
    bits: int = fields.cluster_bits
    return table + 8 * (guest_offset >> bits)


def number(image: Path, offset: int) -> int:
    """Return a big-endian number of 64 bits from a file."""
    with image.open("rb") as file:
        file.seek(offset)
        return int.from_bytes(file.read(8), "big")


def change(image: Path, offset: int, change_of: Callable[[int], int], size: int = 8) -> None:
    """Change a big-endian number of a file."""
    with image.open("r+b") as file:
        file.seek(offset)
        value = change_of(int.from_bytes(file.read(size), "big"))
        file.seek(offset)
        file.write(value.to_bytes(size, "big"))


@every_kind
def test_judges_object_to_a_wrong_refcount(kind: Kind, tmp_path: Path) -> None:
    image = kind.make(mixed(), 64 * KiB, tmp_path / "disk.qcow2")
    block = number(image, number(image, 48))  # refcount_table_offset
    change(image, block, lambda _: 2, 2)
    result = qemu_img.raw_check(image)
    assert result.status == 3 and "Leaked cluster 0 refcount=2 reference=1" in result.text
    change(image, block, lambda _: 0, 2)
    result = qemu_img.raw_check(image)
    assert result.status == 2 and "ERROR cluster 0 refcount=0 reference=1" in result.text
    with pytest.raises(AssertionError):
        qemu_img.check(image)


@every_kind
def test_judges_object_to_a_cluster_used_twice(kind: Kind, raw: Path, tmp_path: Path) -> None:
    image = kind.make(mixed(), 64 * KiB, tmp_path / "disk.qcow2")
    at = l2_entry(image, 5 * MiB)
    other = number(image, l2_entry(image, 10 * MiB))
    change(image, at, lambda _: other)
    with pytest.raises(AssertionError):
        qemu_img.check(image)
    with pytest.raises(AssertionError):
        qemu_img.compare(image, "qcow2", raw)
    if kind.compression != "zstd":
        assert dissect_reads(image) != raw.read_bytes()


@every_kind
def test_judges_object_to_changed_data(kind: Kind, raw: Path, tmp_path: Path) -> None:
    image = kind.make(mixed(), 64 * KiB, tmp_path / "disk.qcow2")
    entry = number(image, l2_entry(image, 10 * MiB))
    assert not entry & qcow2.OFLAG_COMPRESSED, "noise is stored as it is"
    place = entry & qcow2.L2E_OFFSET_MASK
    change(image, place, lambda value: value ^ 1, 1)
    qemu_img.check(image)  # it looks at tables only
    assert qemu_img.raw_compare(image, "qcow2", raw).status == 1
    content = raw.read_bytes()
    with pytest.raises(AssertionError):
        qemu_img.reads(image, "qcow2", 10 * MiB, 1, content[10 * MiB])
    assert qemu_img.read(image, "qcow2", 10 * MiB, 8) != content[10 * MiB : 10 * MiB + 8]
    if kind.compression != "zstd":
        assert dissect_reads(image) != content


@pytest.mark.parametrize("kind", [k for k in KINDS if k.compression], ids=str)
def test_judges_object_to_a_changed_stream(kind: Kind, raw: Path, tmp_path: Path) -> None:
    image = kind.make(mixed(), 64 * KiB, tmp_path / "disk.qcow2")
    entry = number(image, l2_entry(image, 5 * MiB))
    place = qcow2.compressed_place(entry, 16)
    change(image, place.offset, lambda _: 0xFF, 1)
    assert qemu_img.raw_compare(image, "qcow2", raw).status != 0
    assert "failed" in qemu_img.raw_io(image, "qcow2", f"read {5 * MiB} 512").text


@every_kind
def test_judges_object_to_a_missing_cluster(kind: Kind, raw: Path, tmp_path: Path) -> None:
    image = kind.make(mixed(), 64 * KiB, tmp_path / "disk.qcow2")
    before = qemu_img.map_(image, "qcow2")
    change(image, l2_entry(image, 10 * MiB), lambda _: 0)
    assert qemu_img.map_(image, "qcow2") != before
    assert qemu_img.raw_check(image).status == 3, "its cluster is leaked"
    assert qemu_img.raw_compare(image, "qcow2", raw).status == 1


def test_judges_object_to_another_header(tmp_path: Path) -> None:
    image = Kind(3, None).make(mixed(), 64 * KiB, tmp_path / "disk.qcow2")
    info = qemu_img.info(image)
    change(image, 72, lambda value: value | qcow2.IncompatibleFeatures.DIRTY)
    assert qemu_img.info(image)["dirty-flag"] != info["dirty-flag"]
    change(image, 0, lambda value: value ^ 1, 4)
    assert qemu_img.info(image)["format"] == "raw"


SUMS = """
import hashlib, random
from imgwriter.compression import LEVELS, codec

chance = random.Random(7)
words = [bytes(chance.choices(range(97, 123), k=chance.randint(2, 11))) for _ in range(2000)]
noise = chance.randbytes(65536)
text = b" ".join(chance.choices(words, k=12000))[:65536]
# As machine code has it: short records that differ in some places.
code = b"".join(
    bytes((chance.randrange(8), 0x48, 0x8B, n & 255, n >> 8, 0, 0, 0)) + chance.randbytes(3)
    for n in range(5957)
)[:65536]
samples = (text, noise, code, noise[:700] * 93, bytes(65535) + b"x", text[:9000] + noise[:9000] + bytes(99))
for name in LEVELS:
    for level in (None, 1, 2, 3, 6, 9):
        compress = codec(name, level).compressor()
        print(name, level, *(hashlib.sha256(compress(sample)).hexdigest() for sample in samples))
"""
"""Run natively and under emulated processors."""


@pytest.fixture(scope="module")
def native_sums() -> str:
    """What this machine's processor makes of the samples."""
    done = subprocess.run([sys.executable, "-c", SUMS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(set(done.stdout.split())) > 50, "levels and samples differ"
    return done.stdout


@pytest.mark.parametrize(
    ("processor", "extensions"),
    # What glibc calls them: the first has nothing that the instruction set did not begin with, but SSE3.
    [("qemu64", []), ("Nehalem", ["x86-64-v2"]), ("Haswell", ["x86-64-v3", "x86-64-v2"])],
)
def test_the_codecs_give_the_same_bytes_on_other_processors(
    processor: str, extensions: list[str], native_sums: str
) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the interpreter is for another kind of processor")
    emulator = require("qemu-x86_64-static")
    libraries = run(emulator, "-cpu", processor, "/lib64/ld-linux-x86-64.so.2", "--help")
    found = [line.split()[0] for line in libraries.splitlines() if "(supported" in line]
    assert [name for name in found if name.startswith("x86-64-v")] == extensions, "it is another processor"
    emulated = subprocess.run(
        [emulator, "-cpu", processor, sys.executable, "-c", SUMS], cwd=ROOT, capture_output=True, text=True
    )
    assert emulated.stdout == native_sums, emulated.stderr


def test_the_codecs_give_the_same_bytes_on_another_architecture(native_sums: str) -> None:
    """The wheels for aarch64 under Debian's Python for arm64, emulated."""
    emulator = require("qemu-aarch64-static")
    place = require_file(CACHE / "arm64" / ".ready").parent
    python = place / "root" / "usr" / "bin" / "python3.11"
    script = f"import sys; sys.path[:0] = {[str(place / 'site'), str(ROOT)]!r}\n{SUMS}print(sys.platform)"
    script += "\nimport platform; print(platform.machine())"
    emulated = subprocess.run(
        [emulator, "-L", place / "root", python, "-I", "-c", script], capture_output=True, text=True
    )
    assert emulated.stdout == native_sums + "linux\naarch64\n", emulated.stderr
