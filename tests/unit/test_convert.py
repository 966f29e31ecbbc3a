"""Conversions by the Python API: progress, and what is left when one fails."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from imgwriter import ConvertSpec, convert_image, plan_conversion
from imgwriter.errors import FormatError, OutputError, SourceError, SpecError
from imgwriter.filedata import Amount

MiB = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.img"
    path.write_bytes(os.urandom(9 * MiB) + bytes(3 * MiB) + b"x" * MiB)
    return path


@pytest.mark.parametrize("name", ["raw", "qcow2", "qcow2-compressed", "vpc", "vdi"])
def test_progress_goes_up_to_all_of_it(name: str, image: Path, tmp_path: Path) -> None:
    seen: list[tuple[Amount, Amount]] = []
    spec = ConvertSpec(source=image, output=tmp_path / "out", format=name)
    converted = convert_image(plan_conversion(spec), lambda done, total: seen.append((done, total)))
    done, total = seen[-1]
    assert done == total and done.bytes >= 10 * MiB and done.files == 0
    assert [d.bytes for d, _ in seen] == sorted(d.bytes for d, _ in seen)
    assert converted.size == (tmp_path / "out").stat().st_size


@pytest.mark.parametrize("name", ["raw", "qcow2", "qcow2-compressed", "vpc", "vdi"])
def test_an_exception_from_progress_leaves_nothing(name: str, image: Path, tmp_path: Path) -> None:
    def cancel(done: Amount, total: Amount) -> None:
        raise RuntimeError("cancelled")

    spec = ConvertSpec(source=image, output=tmp_path / "out", format=name)
    with pytest.raises(RuntimeError, match="cancelled"):
        convert_image(plan_conversion(spec), cancel)
    assert sorted(os.listdir(tmp_path)) == ["image.img"]


def test_a_checksum_is_written_beside(image: Path, tmp_path: Path) -> None:
    spec = ConvertSpec(source=image, output=tmp_path / "out.vdi", format="vdi", sha256=True)
    converted = convert_image(plan_conversion(spec))
    assert converted.sha256 is not None
    assert (tmp_path / "out.vdi.sha256").read_text() == f"{converted.sha256}  out.vdi\n"


def test_nothing_is_replaced_where_the_checksum_cannot_be_written(image: Path, tmp_path: Path) -> None:
    (tmp_path / "out.vdi").write_bytes(b"before")
    (tmp_path / "out.vdi.sha256").mkdir()
    spec = ConvertSpec(source=image, output=tmp_path / "out.vdi", format="vdi", sha256=True)
    with pytest.raises(OutputError, match=r"out\.vdi\.sha256 is a directory"):
        convert_image(plan_conversion(spec))
    assert (tmp_path / "out.vdi").read_bytes() == b"before"


def test_a_source_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="missing"):
        plan_conversion(ConvertSpec(source=tmp_path / "missing.img", output=tmp_path / "out", format="vdi"))


def test_a_source_that_changes_meanwhile(image: Path, tmp_path: Path) -> None:
    conversion = plan_conversion(ConvertSpec(source=image, output=tmp_path / "out", format="raw"))
    with image.open("r+b") as file:
        file.truncate(10 * MiB)
    with pytest.raises(SourceError, match=r"image\.img"):
        convert_image(conversion)
    assert sorted(os.listdir(tmp_path)) == ["image.img"]


def test_an_output_that_cannot_be(image: Path, tmp_path: Path) -> None:
    spec = ConvertSpec(source=image, output=tmp_path / "none" / "out", format="qcow2")
    with pytest.raises(OutputError, match="make the directory first"):
        convert_image(plan_conversion(spec))


def test_a_damaged_image_is_named(image: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.qcow2"
    convert_image(plan_conversion(ConvertSpec(source=image, output=damaged, format="qcow2-compressed")))
    content = bytearray(damaged.read_bytes())
    content[104] = 77  # compression_type
    damaged.write_bytes(content)
    with pytest.raises(FormatError, match=r"damaged\.qcow2: "):
        plan_conversion(ConvertSpec(source=damaged, output=tmp_path / "out", format="raw"))
    content[104] = 0
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    damaged.write_bytes(content)
    with pytest.raises(FormatError, match=r"damaged\.qcow2: "):
        convert_image(plan_conversion(ConvertSpec(source=damaged, output=tmp_path / "out", format="raw")))


@pytest.mark.parametrize(
    ("extra", "remedy"), [(0, "--force-size keeps the size"), (512, "fill a raw image up")]
)
def test_a_vhd_that_grows_says_what_helps(extra: int, remedy: str, tmp_path: Path) -> None:
    source = tmp_path / "image.img"
    source.write_bytes(bytes(12 * MiB + extra))
    (warning,) = plan_conversion(ConvertSpec(source=source, output=tmp_path / "out", format="vpc")).warnings
    assert remedy in warning
    forced = ConvertSpec(source=source, output=tmp_path / "out", format="vpc", force_size=True)
    if extra:
        with pytest.raises(SpecError, match="truncate -s 13631488"):
            plan_conversion(forced)
    else:
        assert plan_conversion(forced).size == 12 * MiB


@pytest.mark.parametrize(
    ("os_type", "headers", "left_behind"),
    [
        (0xEE, (512, -512), True),
        (0xEE, (512,), True),
        (0xEE, (-512,), True),
        (0xEE, (4096,), True),
        (0xEE, (), False),
        (0x83, (), False),
        (0x83, (512, -512), False),
    ],
    ids=["gpt", "primary", "backup", "primary_4k", "protective_alone", "mbr", "mbr_over_an_old_gpt"],
)
def test_only_a_gpt_has_a_backup_that_a_growing_disk_leaves_behind(
    os_type: int, headers: tuple[int, ...], left_behind: bool, tmp_path: Path
) -> None:
    """UEFI 2.10: types of partitions in table 5.4 (Linux has its own), a header's signature in 5.5."""
    content = bytearray(13 * MiB)
    content[446 + 4] = os_type
    content[446 + 8 : 446 + 16] = struct.pack("<II", 1, 2048)
    content[510:512] = b"\x55\xaa"
    for offset in headers:
        offset %= len(content)
        content[offset : offset + 8] = b"EFI PART"
    disk = tmp_path / "disk.img"
    disk.write_bytes(content)
    conversion = plan_conversion(ConvertSpec(source=disk, output=tmp_path / "out", format="vpc"))
    (warning,) = conversion.warnings
    says = "the backup GPT is not at its end any more" if left_behind else "zeros follow it"
    assert says in warning and "--force-size" in warning
    assert warning.count("GPT") == left_behind
    same = ConvertSpec(source=disk, output=tmp_path / "out", format="vpc", force_size=True)
    assert not plan_conversion(same).warnings
