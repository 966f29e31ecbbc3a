"""verify.image: layers from the file inwards, what a damaged magic number was, and the command around it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from imgwriter import cli
from imgwriter.errors import SourceError, SpecError
from imgwriter.units import MiB
from imgwriter.verify import report
from imgwriter.verify.image import Report, verify_image
from tests.building import build
from tests.oracles.tools import ROOT
from tests.unit.readers.images import footer, put, qcow2, vdi
from tests.unit.verify.volumes import FatVolume

SIZE = 32 * MiB


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    (folder / "file").write_bytes(b"content" * 1000)
    (folder / "directory").mkdir()
    return folder


@pytest.fixture(scope="module")
def images(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Return the bytes of an image with a partition table; each is made once."""
    folder = tmp_path_factory.mktemp("images")
    made: dict[str, bytes] = {}

    def image(kind: str, fs_type: str = "ext4") -> bytes:
        name = f"{kind}-{fs_type}"
        if name not in made:
            options = ["--partition-table", kind, "--disk-size", "32MiB", "--fs-type", fs_type]
            if kind in ("efi", "hybrid"):
                options += ["--boot-end", "10MiB"]
            made[name] = build(tree, folder / name, *options).read_bytes()
        return made[name]

    return image


def verified(path: Path, content: bytes | bytearray, **options: object) -> Report:
    path.write_bytes(content)
    return verify_image(bytes(path), **options)  # type: ignore[arg-type]  # keyword arguments


def layers(result: Report) -> list[tuple[str, str]]:
    return [(layer.name, layer.kind) for layer in result.layers]


def findings(result: Report, name: str) -> list[tuple[str, str]]:
    (layer,) = [layer for layer in result.layers if layer.name == name]
    return [(f.structure, f.field) for f in layer.result.findings]


LAYERS = {
    "legacy": [("partition table", "mbr"), ("partition 1", "ext4")],
    "efi": [("partition table", "gpt"), ("partition 1", "fat"), ("partition 2", "ext4")],
    "none": [("partition table", ""), ("the disk", "ext4")],
    "hybrid": [("partition table", "gpt"), ("partition 1", "fat"), ("partition 2", ""),
               ("partition 3", "ext4")],
}  # fmt: skip


@pytest.mark.parametrize("kind", LAYERS)
def test_every_layer_is_looked_at(images: Callable[..., bytes], kind: str, tmp_path: Path) -> None:
    result = verified(tmp_path / "image", images(kind))
    assert layers(result) == LAYERS[kind]
    assert (result.findings, result.notes, result.error) == (0, 0, "")
    assert (result.format, result.size) == ("raw", SIZE)


@pytest.mark.parametrize("number", [1, 2])
def test_one_partition_alone(images: Callable[..., bytes], number: int, tmp_path: Path) -> None:
    image = bytearray(images("efi"))
    image[510] = 0  # the MBR's signature, which is not looked at
    image[SIZE - 512] ^= 1
    result = verified(tmp_path / "image", image, partition=number)
    assert layers(result) == [LAYERS["efi"][number]]
    assert result.findings == 0
    assert verified(tmp_path / "image", image).findings > 0


def test_a_disk_without_a_table_is_partition_0(images: Callable[..., bytes], tmp_path: Path) -> None:
    assert layers(verified(tmp_path / "image", images("none"), partition=0)) == [("the disk", "ext4")]
    with pytest.raises(SpecError, match="no partition 1"):
        verified(tmp_path / "image", images("none"), partition=1)


def test_a_damaged_layer_keeps_none_from_being_looked_at(
    images: Callable[..., bytes], tmp_path: Path
) -> None:
    image = bytearray(images("efi"))
    image[512 + 16] ^= 1  # GPT header_crc32
    image[8 * MiB + 21] = 0  # BPB_Media
    result = verified(tmp_path / "image", image)
    assert ("GPT primary header", "header_crc32") in findings(result, "partition table")
    assert ("FAT boot sector", "BPB_Media") in findings(result, "partition 1")
    assert layers(result) == LAYERS["efi"]


# What is told by all but its magic number


@pytest.mark.parametrize("bit", range(32))
def test_a_qcow2_without_its_magic_is_no_raw_disk(bit: int, tmp_path: Path) -> None:
    image = qcow2({}, MiB, cluster_bits=12)
    image[bit // 8] ^= 1 << bit % 8
    result = verified(tmp_path / "image", image)
    assert result.format == "qcow2"
    assert findings(result, "container") == [("qcow2 header", "")]
    assert result.error


@pytest.mark.parametrize("bit", range(32))
def test_a_vdi_without_its_signature_is_no_raw_disk(bit: int, tmp_path: Path) -> None:
    image = vdi([0], MiB, length=1024 + MiB)
    image[64 + bit // 8] ^= 1 << bit % 8
    assert findings(verified(tmp_path / "image", image), "container") == [("VDI header", "signature")]


@pytest.mark.parametrize("byte", range(0, 512, 5))
def test_a_fixed_vhd_without_its_footer_is_no_raw_disk(byte: int, tmp_path: Path) -> None:
    image = bytearray(MiB) + footer(MiB, cylinder=30, heads=4, sectors_per_track=17, unique_id=b"u" * 16)
    image[MiB + byte] ^= 1 << byte % 8
    result = verified(tmp_path / "image", image)
    assert "VHD footer" in {structure for structure, _ in findings(result, "container")}


def test_a_raw_disk_may_be_pinned(tmp_path: Path) -> None:
    result = verified(tmp_path / "image", qcow2({}, MiB, cluster_bits=12), input_format="raw")
    assert layers(result) == [("partition table", ""), ("the disk", "")]
    assert result.findings == 0


@pytest.mark.parametrize("bit", range(16))
def test_ext4_without_its_magic(images: Callable[..., bytes], bit: int, tmp_path: Path) -> None:
    image = bytearray(images("none"))
    image[1024 + 56 + bit // 8] ^= 1 << bit % 8
    result = verified(tmp_path / "image", image)
    assert layers(result)[1] == ("the disk", "ext4")
    assert result.findings > 0


@pytest.mark.parametrize("option", [("--features", "^metadata_csum"), ("--fs-type", "ext2")])
def test_ext4_without_its_magic_and_without_checksums(
    option: tuple[str, str], tree: Path, tmp_path: Path
) -> None:
    options = ("--partition-table", "none", "--disk-size", "16MiB", *option)
    image = bytearray(build(tree, tmp_path, *options).read_bytes())
    image[1024 + 56 : 1024 + 58] = bytes(2)
    result = verified(tmp_path / "image", image)
    assert layers(result)[1] == ("the disk", "ext4")
    assert result.findings > 0


def test_fat32_of_which_the_copy_alone_is_left(tmp_path: Path) -> None:
    volume = FatVolume(32)
    volume.image[:512] = bytes(512)
    result = verified(tmp_path / "image", volume.image)
    assert layers(result)[-1] == ("the disk", "fat")
    assert "FAT boot sector" in {structure for structure, _ in findings(result, "the disk")}


# BPB_BytsPerSec, BPB_SecPerClus, BPB_NumFATs, BPB_Media, jump: what a probe asks for.
@pytest.mark.parametrize("byte", [0, 11, 12, 13, 16, 21])
@pytest.mark.parametrize("mask", [0x10, 0xFF])
def test_fat_with_a_damaged_boot_sector(byte: int, mask: int, tmp_path: Path) -> None:
    volume = FatVolume(12).flip(byte, mask)
    result = verified(tmp_path / "image", volume.image)
    assert layers(result)[-1] == ("the disk", "fat")
    assert "FAT boot sector" in {structure for structure, _ in findings(result, "the disk")}


def test_fat_in_a_partition_of_its_type(images: Callable[..., bytes], tmp_path: Path) -> None:
    """What begins with anything but zeros on an EFI system partition is taken for FAT."""
    image = bytearray(images("efi"))
    image[8 * MiB : 8 * MiB + 512] = b"x" * 512
    assert findings(verified(tmp_path / "image", image), "partition 1")
    image[8 * MiB : 8 * MiB + 512] = bytes(512)
    result = verified(tmp_path / "image", image)
    assert layers(result)[1] == ("partition 1", "")
    assert (result.findings, result.notes) == (0, 1)


# The table against the disk


@pytest.mark.parametrize("at", [510, 511])
def test_an_mbr_without_its_signature(images: Callable[..., bytes], at: int, tmp_path: Path) -> None:
    image = bytearray(images("legacy"))
    image[at] = 0
    result = verified(tmp_path / "image", image)
    assert findings(result, "partition table") == [("MBR", "signature")]


def test_sector_0_may_be_a_boot_sector_too(tmp_path: Path) -> None:
    volume = FatVolume(12)
    put(volume.image, 446, "<B3sB3sII", 0, bytes(3), 0x83, bytes(3), 1000, 500)
    result = verified(tmp_path / "image", volume.image)
    assert [n.found for n in result.layers[0].result.notes] == ["the boot sector of a FAT file system, too"]


def test_nothing_but_zeros_is_no_damage(tmp_path: Path) -> None:
    for content in (b"", b"x", bytes(511), bytes(512), bytes(MiB), b"\x55" * 4096):
        result = verified(tmp_path / "image", content)
        assert (result.findings, result.notes) == (0, 1)


def test_a_hybrid_record_is_a_partition_of_the_gpt(images: Callable[..., bytes], tmp_path: Path) -> None:
    image = bytearray(images("efi"))
    for start, expected in ((16384, []), (16385, [("MBR record 2", "starting_lba")])):
        put(image, 446 + 16, "<B3sB3sII", 0, bytes(3), 0x0C, bytes(3), start, 4096)
        result = verified(tmp_path / "image", image)
        assert findings(result, "partition table") == expected
        assert "hybrid" in result.layers[0].result.notes[0].found


def test_an_efi_system_partition_holds_fat(images: Callable[..., bytes], tmp_path: Path) -> None:
    image = bytearray(images("legacy"))
    image[446 + 4] = 0xEF
    result = verified(tmp_path / "image", image)
    assert findings(result, "partition table") == [("partition 1", "")]
    image[446 + 4] = 0x0C
    result = verified(tmp_path / "image", image)
    assert (result.findings, result.notes) == (0, 1)


def test_what_is_not_read_is_a_note(images: Callable[..., bytes], tmp_path: Path) -> None:
    image = bytearray(images("efi"))
    image[10 * MiB : 12 * MiB] = bytes(2 * MiB)
    image[10 * MiB : 10 * MiB + 4] = b"XFSB"
    result = verified(tmp_path / "image", image)
    assert layers(result)[-1] == ("partition 2", "xfs")
    assert [n.found for n in result.layers[-1].result.notes] == ["xfs, which is not verified"]


@pytest.mark.parametrize("begin", [b"", bytes(0xFF6) + b"SWAPSPACE2"])
def test_that_nothing_is_known_of_an_area_is_no_complaint(
    images: Callable[..., bytes], begin: bytes, tmp_path: Path
) -> None:
    image = bytearray(images("efi"))
    image[10 * MiB : 12 * MiB] = begin.ljust(2 * MiB, b"\0")
    result = verified(tmp_path / "image", image)
    (note,) = result.layers[-1].result.notes
    assert note.expected == "anything; of file systems, ext4, ext3, ext2 and FAT are verified"
    assert note.found == ("swap, which is not verified" if begin else "no file system that is known")


@pytest.mark.parametrize("fs_type", ["ext4", "ext3", "ext2"])
def test_which_of_the_three_it_is(images: Callable[..., bytes], fs_type: str, tmp_path: Path) -> None:
    result = verified(tmp_path / "image", images("none", fs_type))
    assert layers(result)[-1] == ("the disk", fs_type)
    assert f"the disk ({fs_type})" in report.text(result)


# A disk of which the end is missing


@pytest.mark.parametrize("size", [9 * MiB, 9 * MiB + 100, 12 * MiB, 20 * MiB + 512])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_disk_that_is_cut_off_is_one_finding(
    images: Callable[..., bytes], kind: str, size: int, tmp_path: Path
) -> None:
    result = verified(tmp_path / "image", images(kind)[:size])
    (finding,) = [f for layer in result.layers for f in layer.result.findings]
    assert "get the whole of the image" in finding.expected
    assert "missing" in finding.found
    assert [name for name, _ in layers(result)] == [name for name, _ in LAYERS[kind]]


def test_a_gpt_that_is_cut_off_names_what_is_missing(images: Callable[..., bytes], tmp_path: Path) -> None:
    table, *_ = verified(tmp_path / "image", images("efi")[: 9 * MiB]).layers
    (finding,) = table.result.findings
    assert (finding.structure, finding.field, finding.offset) == (
        "GPT primary header",
        "alternate_lba",
        512 + 32,
    )
    assert finding.found == (
        f"65,535, of a disk of {SIZE:,} bytes, which is cut off; from byte {9 * MiB:,} on are missing:"
        f" partition 1 from its byte {MiB:,} on, partition 2, the backup GPT"
    )


@pytest.mark.parametrize("missing", [1, 512, 33 * 512])
def test_a_gpt_without_its_last_sectors_is_cut_off(
    images: Callable[..., bytes], missing: int, tmp_path: Path
) -> None:
    result = verified(tmp_path / "image", images("efi")[:-missing])
    assert findings(result, "partition table") == [("GPT primary header", "alternate_lba")]
    assert result.findings == 1
    assert result.layers[0].result.findings[0].found.endswith("are missing: the backup GPT")


@pytest.mark.parametrize(
    ("size", "found"),
    [
        (512, "the end of the disk, which is cut off after 512 bytes"),
        (513, "the end of the disk, which is cut off after 513 bytes"),
        (1023, "the end of the disk, which is cut off after 1,023 bytes"),
        (1024, "from byte 1,024 on are missing: entries of the GPT, the backup GPT"),
        (1025, "are missing: entries of the GPT from their byte 1 on, the backup GPT"),
        (1024 + 200, "entries of the GPT from their byte 200 on, partition 1, partition 2, the backup GPT"),
        (
            34 * 512 - 1,
            "entries of the GPT from their byte 16,383 on, partition 1, partition 2, the backup GPT",
        ),
        (34 * 512, "are missing: partition 1, partition 2, the backup GPT"),
    ],
)
def test_a_gpt_that_is_cut_off_within_itself_is_one_finding(
    images: Callable[..., bytes], size: int, found: str, tmp_path: Path
) -> None:
    """UEFI 2.10, 5.3.2: the header is at LBA 1, its 128 entries of 128 bytes are at LBA 2 here."""
    result = verified(tmp_path / "image", images("efi")[:size])
    assert result.findings == 1
    (finding,) = result.layers[0].result.findings
    assert finding.structure == "GPT primary header"
    assert finding.found.endswith(found)
    assert finding.expected.endswith("get the whole of the image")


def test_an_mbr_that_is_cut_off_names_the_record(images: Callable[..., bytes], tmp_path: Path) -> None:
    result = verified(tmp_path / "image", images("legacy")[: 9 * MiB])
    assert findings(result, "partition table") == [("MBR record 1", "size_in_lba")]
    assert result.layers[0].result.findings[0].found.endswith(f"partition 1 from its byte {8 * MiB:,} on")


def test_a_whole_gpt_whose_header_names_a_place_beyond_the_disk_is_not_cut_off(
    images: Callable[..., bytes], tmp_path: Path
) -> None:
    image = bytearray(images("efi"))
    put(image, 512 + 32, "<Q", 70_000)
    header = image[512 : 512 + 92]
    header[16:20] = bytes(4)
    put(image, 512 + 16, "<I", zlib.crc32(header))
    result = verified(tmp_path / "image", image)
    assert findings(result, "partition table") == [("GPT primary header", "alternate_lba")]
    assert "cut off" not in result.layers[0].result.findings[0].found


def test_a_partition_of_a_disk_that_is_cut_off(images: Callable[..., bytes], tmp_path: Path) -> None:
    """What the table says is not among the layers: the file system says it."""
    result = verified(tmp_path / "image", images("efi")[: 12 * MiB], partition=2)
    assert findings(result, "partition 2") == [("ext4 superblock", "s_blocks_count")]


def test_a_partition_of_which_nothing_is_there(images: Callable[..., bytes], tmp_path: Path) -> None:
    """There is no file system that says it."""
    result = verified(tmp_path / "image", images("efi")[: 9 * MiB], partition=2)
    assert findings(result, "partition 2") == [("GPT primary header", "alternate_lba")]
    assert "partition 2, the backup GPT" in result.layers[0].result.findings[0].found


def test_fat_that_is_cut_off_is_one_finding(tmp_path: Path) -> None:
    volume = FatVolume(12)
    for sectors in (2047, 100, 2):
        result = verified(tmp_path / "image", volume.image[: sectors * 512])
        assert findings(result, "the disk") == [("FAT boot sector", "BPB_TotSec16")]
        assert f"from byte {sectors * 512:,} on" in result.layers[-1].result.findings[0].found


# The command


def run(capsysbinary: pytest.CaptureFixture[bytes], *arguments: str | Path) -> tuple[int, str, str]:
    status = cli.main(["verify", *map(str, arguments)])
    out, err = capsysbinary.readouterr()
    return status, out.decode(), err.decode()


def test_the_exit_status_and_the_last_line(
    images: Callable[..., bytes], tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = tmp_path / "image"
    image = bytearray(images("efi"))
    path.write_bytes(image)
    status, out, err = run(capsysbinary, path)
    assert (status, err, out.splitlines()[-1]) == (0, "", "no findings")
    image[8 * MiB + 510] = 0
    path.write_bytes(image)
    status, out, _ = run(capsysbinary, path)
    lines = out.splitlines()
    assert (status, lines[-1]) == (1, "1 finding, 0 notes")
    at = lines.index("partition 1 (FAT)")
    assert lines[at + 1] == f"  FAT boot sector, Signature_word, at {8 * MiB + 510:,}"
    assert lines[at + 3].endswith("[FAT specification, 3.1]")
    assert run(capsysbinary, path, "--quiet") == (1, "", "")


def test_the_json_document(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    path = tmp_path / "image"
    path.write_bytes(FatVolume(12).link(100, 0xFFF).image)
    status, out, _ = run(capsysbinary, path, "--json")
    document = json.loads(out)
    assert status == 1
    assert (document["schema"], document["format"], document["findings"]) == (1, "raw", 1)
    (table, disk) = document["layers"]
    assert (table["name"], table["kind"], disk["name"], disk["kind"]) == (
        "partition table",
        None,
        "the disk",
        "fat",
    )
    (finding,) = disk["findings"]
    assert finding == {
        "structure": "FAT",
        "field": "FAT[100]",
        "offset": FatVolume(12).fat_at + 150,
        "expected": "0, or in a chain",
        "found": "cluster 100 lost",
        "section": "FAT specification, 4",
    }


def test_the_json_document_is_described(tmp_path: Path) -> None:
    document = report.document(verified(tmp_path / "image", FatVolume(12).link(100, 0xFFF).image), "0")
    manual = (ROOT / "docs/command-line.md").read_text().partition("## imgwriter verify")[2]
    layer = document["layers"][1]
    for name in (*document, *layer, *layer["findings"][0]):
        assert f"`{name}" in manual or f".{name}" in manual, name


def test_what_cannot_be_read_has_status_2(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    status, out, err = run(capsysbinary, tmp_path / "absent")
    assert (status, out) == (2, "")
    assert "name an image that can be read" in err
    path = tmp_path / "image"
    path.write_bytes(bytes(MiB))
    assert run(capsysbinary, path, "--partition", "1")[0] == 2
    with pytest.raises(SystemExit, match="2"):
        run(capsysbinary, path, "--input-format", "vmdk")
    capsysbinary.readouterr()
    assert run(capsysbinary, path, "--sector-size", "513")[0] == 2
    # Only a part of the disk is in the file: nothing is damaged, but the disk cannot be read.
    image = qcow2({}, MiB, cluster_bits=12, backing_file_offset=512, backing_file_size=4)
    put(image, 4096, ">Q", 15 * 4096)
    put(image, 15 * 4096, ">16H", 1, 1, 1, 1, *[0] * 11, 1)
    path.write_bytes(image)
    status, out, err = run(capsysbinary, path)
    assert (status, out.splitlines()[-1]) == (2, "no findings, 1 note")
    assert "backing file" in err


@pytest.mark.parametrize(
    ("features", "compression", "named"),
    [
        (1 << 20, 0, "incompatible features that are not known here: bit 20"),
        (1 << 3, 2, "compression_type 2"),
    ],
)
def test_a_feature_of_a_container_that_is_not_known_keeps_the_disk_from_being_read(
    features: int, compression: int, named: str, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Spec: qcow2.txt, "Header": such an image must not be opened; its header and tables are checked."""
    image = qcow2(
        {}, MiB, cluster_bits=12, header_length=112, incompatible_features=features,
        compression_type=compression,
    )  # fmt: skip
    put(image, 4096, ">Q", 15 * 4096)
    put(image, 15 * 4096, ">16H", 1, 1, 1, 1, *[0] * 11, 1)
    path = tmp_path / "image"
    path.write_bytes(image)
    status, out, err = run(capsysbinary, path)
    assert (status, out.splitlines()[-1].split(",")[0]) == (2, "no findings")
    assert f"the qcow2 has {named}" in err
    assert "its disk cannot be read: convert it with a qemu-img that can" in err
    assert json.loads(run(capsysbinary, path, "--json")[1])["error"] in err
    # Of one partition the same is said.
    for number in ("0", "1"):
        assert run(capsysbinary, path, "--partition", number)[::2] == (2, err)
    # Refcounts are compared where nothing that is not known can have some of them.
    put(image, 15 * 4096, ">H", 0)
    path.write_bytes(image)
    assert run(capsysbinary, path)[0] == (1 if compression else 2)


def test_errors_are_raised_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="input format"):
        verify_image(bytes(tmp_path), "vmdk")
    with pytest.raises(SourceError):
        verify_image(bytes(tmp_path))


def test_numbers_of_words() -> None:
    empty = Report(b"image", "raw", 0, ())
    assert report.summary(empty) == "no findings"
    assert report.text(empty) == "image: raw, a disk of 0 B\n\nno findings"
