"""imgwriter verify beside the tools: silent on what they make, and never silent where they object."""

from __future__ import annotations

import os
import random
import re
import shutil
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from imgwriter.fat.reader import read_file_system
from imgwriter.findings import Finding
from imgwriter.readers import open_image
from imgwriter.readers.hostfile import open_file
from imgwriter.readers.qcow2_header import Fields, read_fields
from imgwriter.units import MiB
from imgwriter.verify.image import Report, verify_image
from tests.building import build
from tests.compat.test_fat_reader import VOLUMES, filled
from tests.compat.test_table_readers import EVERY, made, write
from tests.oracles import fsck_fat, qemu_img
from tests.oracles.tools import run

pytestmark = pytest.mark.compat


def verify(path: Path, image_format: str | None = None) -> Report:
    return verify_image(bytes(path), image_format)


def texts(report: Report) -> list[str]:
    return [str(finding) for layer in report.layers for finding in layer.result.findings]


def silent(path: Path, image_format: str | None = None) -> Report:
    """Assert that there is no finding, and return the report."""
    report = verify(path, image_format)
    assert not texts(report), "\n".join(texts(report))
    assert not report.error
    return report


def spoken(report: Report) -> int:
    """Return how many findings and notes there are: a judge's objection may be either."""
    return report.findings + report.notes


# Silent on what is whole


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree") / "root"
    (folder / "directory").mkdir(parents=True)
    (folder / "directory" / "file").write_bytes(os.urandom(100_000))
    (folder / "link").symlink_to("directory/file")
    return folder


TABLES = ("legacy", "efi", "none", "legacy+boot", "legacy+gpt", "efixbootldr", "hybrid")
FORMATS = (
    ("raw",),
    ("qcow2",), ("qcow2", "--cluster-size", "512B"), ("qcow2", "--qcow2-compat", "0.10"),
    ("qcow2-compressed",), ("qcow2-compressed", "--compression", "zstd", "--cluster-size", "2MiB"),
    ("vpc",), ("vpc", "--force-size"), ("vpc", "--vhd-subformat", "fixed"),
    ("vdi",), ("vdi", "--vdi-subformat", "static"),
)  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_images_of_our_own_in_every_table(table: str, tree: Path, tmp_path: Path) -> None:
    report = silent(build(tree, tmp_path, "--partition-table", table, "--disk-size", "320MiB"))
    assert report.notes == 0


@pytest.mark.parametrize("sector_size", ["512", "4096"])
@pytest.mark.parametrize("fat_type", ["12", "16", "32"])
def test_images_of_our_own_in_every_fat(fat_type: str, sector_size: str, tree: Path, tmp_path: Path) -> None:
    end = {"12": "12MiB", "16": "80MiB", "32": "300MiB"}[fat_type]
    content = f"{tree / 'directory'}:/EFI/A directory"
    options = (
        "--partition-table",
        "efi",
        "--fat-type",
        fat_type,
        "--boot-end",
        end,
        "--sector-size",
        sector_size,
    )
    silent(build(tree, tmp_path, *options, "--disk-size", "320MiB", "--esp-content", content))


@pytest.mark.parametrize("image_format", FORMATS, ids=" ".join)
def test_images_of_our_own_in_every_container(
    image_format: Sequence[str], tree: Path, tmp_path: Path
) -> None:
    options = ("--partition-table", "efi", "--disk-size", "320MiB", "--format", *image_format)
    report = silent(build(tree, tmp_path, *options))
    assert report.notes == 0
    assert report.format == image_format[0].partition("-")[0]


@pytest.mark.parametrize(("tool", "variant"), EVERY)
def test_tables_by_others(tool: str, variant: str, tmp_path: Path) -> None:
    silent(made(tmp_path / "disk", tool, variant), "raw")


@pytest.mark.parametrize("kind", VOLUMES)
def test_fat_by_others(kind: str, tmp_path: Path) -> None:
    """mkfs.fat and mtools."""
    (tmp_path / "tree").mkdir()
    path = filled(tmp_path / "volume", kind, tmp_path / "tree")
    report = silent(path, "raw")
    assert report.layers[-1].kind == "fat"
    # It reads no more than two FATs.
    assert fsck_fat.raw(path).status == (1 if "three" in kind else 0)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw disk of 12 MiB and a bit: noise, text that compresses, holes."""
    path = tmp_path_factory.mktemp("disk") / "raw"
    noise = random.Random(1).randbytes(300_000)
    with path.open("wb") as file:
        file.truncate(12 * MiB + 512)
        for at, content in ((MiB, noise), (5 * MiB + 100, b"text " * 200_000), (12 * MiB, b"end")):
            file.seek(at)
            file.write(content)
    return path


QCOW2: list[Mapping[str, object]] = [
    *({"cluster_size": 1 << bits} for bits in (9, 10, 12, 14, 16, 18, 21)),
    *({"refcount_bits": 1 << order} for order in range(7)),
    *({"cluster_size": 512, "refcount_bits": 1 << order} for order in range(7)),
    {"compat": "0.10"},
    {"compat": "0.10", "cluster_size": 4096},
    {"extended_l2": "on"},
    {"lazy_refcounts": "on"},
    {"preallocation": "metadata"},
    {"preallocation": "falloc"},
    {"preallocation": "full"},
    {"compression_type": "zstd"},
]  # fmt: skip


# qemu-img refuses to compress what is preallocated.
COMPRESSED = [(options, True) for options in QCOW2 if "preallocation" not in options]


@pytest.mark.parametrize(
    ("options", "compressed"), [*((options, False) for options in QCOW2), *COMPRESSED], ids=str
)
def test_qcow2_by_qemu_img(
    options: Mapping[str, object], compressed: bool, disk: Path, tmp_path: Path
) -> None:
    arguments = ("-c",) if compressed else ()
    path = qemu_img.convert(disk, "raw", tmp_path / "image", "qcow2", *arguments, **options)
    qemu_img.check(path)
    report = silent(path)
    assert report.layers[0] == ("container", "qcow2", ((), ()))


def test_qcow2_with_a_life(disk: Path, tmp_path: Path) -> None:
    """Writes, discards, bitmaps and snapshots; the references of each are counted."""
    path = qemu_img.convert(disk, "raw", tmp_path / "image", "qcow2", "-c", cluster_size=4096)
    qemu_img.io(path, "qcow2", "write 5M 100k", "discard 6M 64k", "write -z 1M 8k", "write 4097 10")
    for _ in range(2):
        qemu_img.check(path)
        assert silent(path).layers[0].result.notes == ()
        run("qemu-img", "bitmap", "--add", "-g", "512", path, f"b{_}")
    run("qemu-img", "snapshot", "-c", "one", path)
    qemu_img.io(path, "qcow2", "write 5M 1M")
    run("qemu-img", "snapshot", "-c", "two", path)
    qemu_img.check(path)
    container = verify(path).layers[0]
    assert container.result.findings == ()
    assert [note.field for note in container.result.notes] == ["nb_snapshots"]
    for name in ("one", "two"):
        run("qemu-img", "snapshot", "-d", name, path)
    assert silent(path).layers[0].result.notes == ()


@pytest.mark.parametrize("options", [{}, {"data_file_raw": "on"}, {"extended_l2": "on"}], ids=str)
def test_qcow2_with_an_external_data_file(options: Mapping[str, object], tmp_path: Path) -> None:
    """Its clusters are not in the file: what is there is checked, and its refcounts are compared."""
    size = 16384 if "extended_l2" in options else 4096
    path = qemu_img.create(
        tmp_path / "image", "qcow2", 24 * MiB, cluster_size=size, data_file=tmp_path / "data", **options
    )
    qemu_img.io(path, "qcow2", "write 0 3M", "write 20M 1M", "write -z 1M 64k", "discard 2M 64k")
    run("qemu-img", "bitmap", "--add", path, "b")
    qemu_img.check(path)
    report = verify(path)
    assert report.layers[0].result.findings == ()
    assert [note.field for note in report.layers[0].result.notes] == ["incompatible_features"]
    assert "external data file" in report.error
    header = fields_of(path)
    write(path, number(path, header.refcount_table_offset), bytes(8))
    assert qemu_img.raw_check(path).status == 2
    assert {f.field for f in verify(path).layers[0].result.findings} >= {"refcount"}


OTHERS = [
    ("vpc", {}), ("vpc", {"subformat": "fixed"}), ("vpc", {"force_size": "on"}),
    ("vpc", {"subformat": "fixed", "force_size": "on"}), ("vdi", {}), ("vdi", {"static": "on"}),
]  # fmt: skip


@pytest.mark.parametrize(("image_format", "options"), OTHERS, ids=str)
def test_vhd_and_vdi_by_qemu_img(
    image_format: str, options: Mapping[str, object], disk: Path, tmp_path: Path
) -> None:
    path = qemu_img.convert(disk, "raw", tmp_path / "image", image_format, **options)
    assert silent(path).layers[0] == ("container", image_format, ((), ()))
    path = qemu_img.create(tmp_path / "empty", image_format, 40 * MiB, **options)
    qemu_img.io(path, image_format, "write 33M 64k", "write 2M 512")
    assert silent(path, image_format).layers[0] == ("container", image_format, ((), ()))


# Never silent where fsck.fat objects


@pytest.fixture(scope="module", params=[12, 16, 32])
def fat(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bits: int = request.param
    folder = tmp_path_factory.mktemp(f"fat{bits}")
    (folder / "tree").mkdir()
    return filled(folder / "volume", str(bits), folder / "tree")


def test_whatever_fsck_fat_objects_to_is_found(fat: Path, tmp_path: Path) -> None:
    """One random byte of a structure at a time: in boot sectors, FATs, the root, and directories."""
    volume = read_file_system(open_image(bytes(fat), "raw").volume)
    layout = volume.layout
    node = volume.tree()
    assert node.entries is not None
    places = [(0, 90), (510, 512), (layout.fat_start, layout.fat_start + 900)]
    root = layout.root_start if layout.bits != 32 else layout.cluster_offset(layout.root_cluster)
    places += [
        (root, root + 40 * 32),
        (layout.fat_start + layout.fat_size, layout.fat_start + layout.fat_size + 900),
    ]
    for name in (b"EFI", b"loader"):
        entry = node.entries[name]
        first = entry.details.first_cluster  # type: ignore[attr-defined]  # a Node
        places.append((layout.cluster_offset(first), layout.cluster_offset(first) + 5 * 32))
    if layout.bits == 32:
        places += [(512, 1024), (6 * 512, 6 * 512 + 90), (1024 - 28, 1024 - 16)]
    chance = random.Random(layout.bits)
    path = Path(shutil.copy(fat, tmp_path / "volume"))
    objected = 0
    for _ in range(120):
        low, high = chance.choice(places)
        at = chance.randrange(low, high)
        with path.open("r+b") as file:
            file.seek(at)
            before = file.read(1)
            file.seek(at)
            file.write(bytes([before[0] ^ 1 << chance.randrange(8)]))
        judged = fsck_fat.raw(path)
        if judged.status:
            objected += 1
            assert spoken(verify(path, "raw")), f"{at}: {judged.text}"
        write(path, at, before)
    assert objected > 30


# Never silent where qemu-img check objects


def fields_of(path: Path) -> Fields:
    return read_fields(open_file(bytes(path)))


def number(path: Path, at: int) -> int:
    with path.open("rb") as file:
        file.seek(at)
        value: int = struct.unpack(">Q", file.read(8))[0]
        return value


@pytest.mark.parametrize(
    "options", [{}, {"compat": "0.10"}, {"extended_l2": "on"}, {"refcount_bits": 1}], ids=str
)
def test_whatever_qemu_img_check_objects_to_is_found(
    options: Mapping[str, object], disk: Path, tmp_path: Path
) -> None:
    """One random bit of a table at a time; errors are findings, leaks alone are notes."""
    size = 16384 if "extended_l2" in options else 4096
    arguments = ("-c",) if options == {} else ()
    path = qemu_img.convert(
        disk, "raw", tmp_path / "image", "qcow2", *arguments, cluster_size=size, **options
    )
    header = fields_of(path)
    mask = 0x00FFFFFFFFFFFE00
    block = number(path, header.refcount_table_offset)
    tables = [number(path, header.l1_table_offset + 8 * i) & mask for i in range(header.l1_size)]
    places = [(header.l1_table_offset, 8 * header.l1_size), (header.refcount_table_offset, 16), (block, 200)]
    places += [(table, size) for table in tables if table]
    chance = random.Random(len(str(options)))
    errors = leaks = 0
    for _ in range(150):
        low, length = chance.choice(places)
        at = low + chance.randrange(length)
        with path.open("r+b") as file:
            file.seek(at)
            before = file.read(1)
            file.seek(at)
            file.write(bytes([before[0] ^ 1 << chance.randrange(8)]))
        judged = qemu_img.raw_check(path)
        if judged.status:
            report = verify(path, "qcow2")
            # 3 is "leaks, but no errors"; 1 that the image cannot be checked or opened.
            errors, leaks = errors + (judged.status != 3), leaks + (judged.status == 3)
            what = f"{at}: {judged.text}"
            assert report.findings if judged.status != 3 else spoken(report), what
        write(path, at, before)
    assert errors > 10
    # With one bit a refcount that is set is 1: of a cluster in use it cannot be too high.
    assert leaks > 0 or "refcount_bits" in options


_OF_CLUSTER = re.compile(r"(ERROR|Leaked) cluster (\d+) refcount=\d+ reference=\d+")
_OF_CLUSTERS = re.compile(r"references to clusters? ([\d,]+)(?: to ([\d,]+))?$")


def by_qemu(text: str) -> tuple[set[int], set[int]]:
    """Return the clusters whose refcounts qemu-img check calls errors, and leaks."""
    said = {"ERROR": set[int](), "Leaked": set[int]()}
    for kind, cluster in _OF_CLUSTER.findall(text):
        said[kind].add(int(cluster))
    return said["ERROR"], said["Leaked"]


def by_verify(remarks: Sequence[Finding]) -> set[int]:
    """Return the clusters whose references are not as many as their refcounts."""
    clusters: set[int] = set()
    for found in filter(None, (_OF_CLUSTERS.search(remark.expected) for remark in remarks)):
        low = int(found[1].replace(",", ""))
        clusters |= set(range(low, int((found[2] or found[1]).replace(",", "")) + 1))
    return clusters


@pytest.mark.parametrize(
    ("table", "index", "bit"),
    [("L1", 8, 40), ("L1", 9, 40), *(("refcount", index, bit) for index in (0, 1) for bit in (9, 40))],
)
def test_what_an_entry_that_leads_nowhere_leaves_to_be_compared(
    table: str, index: int, bit: int, disk: Path, tmp_path: Path
) -> None:
    """The refcounts that qemu-img check calls errors, but for those of a block that cannot be read.

    It takes those for 0, or says that it cannot get them. What it calls leaks are the clusters of an L2 table
    that it cannot read. (One that is not aligned it reads all the same: what it says is of other bytes.)
    """
    path = qemu_img.convert(disk, "raw", tmp_path / "image", "qcow2", cluster_size=1024, refcount_bits=64)
    header = fields_of(path)
    per_block = 1024 // 8
    blocks = [number(path, header.refcount_table_offset + 8 * i) for i in range(2)]
    for block in blocks:
        # Clusters 100 and 228 are of tables or of data: in use.
        assert number(path, block + 8 * 100) == 1
        write(path, block + 8 * 100, bytes(8))
    at = (header.l1_table_offset if table == "L1" else header.refcount_table_offset) + 8 * index
    assert number(path, at)
    write(path, at, struct.pack(">Q", number(path, at) ^ 1 << bit))
    judged = qemu_img.raw_check(path).text
    errors, leaks = by_qemu(judged)
    unread = set(range(index * per_block, (index + 1) * per_block)) if table == "refcount" else set()
    result = verify(path, "qcow2").layers[0].result
    assert by_verify(result.findings) == errors - unread
    # Nothing is called a leak.
    assert not by_verify(result.notes)
    doubtful = [note.found for note in result.notes if note.field == "refcount"]
    assert len(leaks - unread) == sum(int(found.split()[0]) for found in doubtful)
    if table == "L1":
        assert leaks
    else:
        assert errors & unread or f"Can't get refcount for cluster {min(unread):d}" in judged


@pytest.mark.parametrize("duplicate", [0, 2, 500])
def test_what_qemu_img_check_says_of_a_vdi(duplicate: int, disk: Path, tmp_path: Path) -> None:
    path = qemu_img.convert(disk, "raw", tmp_path / "image", "vdi")
    write(path, 512 + 4 * 5, struct.pack("<I", duplicate))
    assert qemu_img.raw_check(path, "vdi").status == 2
    assert verify(path).findings
