"""Images built in each container and converted between them at the command line, judged by QEMU's tools."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.building import varied_tree
from tests.oracles import e2fsck, qemu_img, sgdisk
from tests.oracles.tools import run

pytestmark = pytest.mark.compat

MiB = 1 << 20
QEMU_NAMES = {"qcow2-compressed": "qcow2"}
SUFFIXES = {"raw": "img", "qcow2": "qcow2", "qcow2-compressed": "qcow2", "vpc": "vhd", "vdi": "vdi"}
VARIANTS: dict[str, tuple[str, ...]] = {
    "qcow2": ("--format", "qcow2"),
    "qcow2-0.10": ("--format", "qcow2", "--qcow2-compat", "0.10"),
    "qcow2-4k": ("--format", "qcow2", "--cluster-size", "4096"),
    "qcow2-2m": ("--format", "qcow2", "--cluster-size", "2MiB"),
    "zlib": ("--format", "qcow2-compressed"),
    "zlib-9": ("--format", "qcow2-compressed", "--compression-level", "9"),
    "zstd": ("--format", "qcow2-compressed", "--compression", "zstd"),
    "vhd": ("--format", "vpc"),
    "vhd-fixed": ("--format", "vpc", "--vhd-subformat", "fixed"),
    "azure": ("--format", "vpc", "--vhd-subformat", "fixed", "--force-size"),
    "vdi": ("--format", "vdi"),
    "vdi-static": ("--format", "vdi", "--vdi-subformat", "static"),
}


def imgwriter(*words: str | Path, **more: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-W", "error", "-m", "imgwriter", *words]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, **more)


def report(*words: str | Path) -> dict[str, Any]:
    done = imgwriter(*words, "--json")
    assert done.returncode == 0, done.stderr.decode()
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return varied_tree(tmp_path_factory.mktemp("containers") / "tree")


def build(tree: Path, output: Path, *words: str) -> dict[str, Any]:
    common = ("--partition-table", "efi", "--disk-size", "401M", "--owner", "preserve")
    return report("build", "--tree", tree, "--output", output, *common, *words)


@pytest.fixture(scope="module")
def raw(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same disk, raw."""
    return Path(build(tree, tmp_path_factory.mktemp("raw"))["image"]["path"])


def judged_as(words: tuple[str, ...]) -> str:
    return QEMU_NAMES.get(words[1], words[1])


def as_raw(image: Path, qemu_format: str, output: Path) -> Path:
    """QEMU's reading of an image."""
    run("qemu-img", "convert", "-f", qemu_format, "-O", "raw", image, output)
    return output


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_disk_built_in_a_container_is_the_raw_disk(
    variant: str, tree: Path, raw: Path, tmp_path: Path
) -> None:
    words = VARIANTS[variant]
    made = build(tree, tmp_path / "out", *words)
    image = Path(made["image"]["path"])
    assert image.name == f"nixos.{SUFFIXES[words[1]]}"
    assert image.stat().st_size == made["image"]["file_size"]
    qemu_format = judged_as(words)
    seen = as_raw(image, qemu_format, tmp_path / "seen.img")
    assert seen.stat().st_size == made["image"]["size"]
    assert qemu_img.info(image, qemu_format)["virtual-size"] == made["image"]["size"]
    if qemu_format in ("qcow2", "vdi"):
        qemu_img.check(image, qemu_format)
    sgdisk.verify(seen)
    e2fsck.check(seen, made["partitions"][1]["start"])
    if made["image"]["size"] == raw.stat().st_size:
        qemu_img.compare(image, qemu_format, raw)
    else:
        assert made["image"]["size"] > raw.stat().st_size, "as a VHD's cylinders round it up"


def test_no_sparse_space_is_lost(tree: Path, raw: Path, tmp_path: Path) -> None:
    """A container holds the bytes that the raw image holds, its tables, and what rounds them to clusters."""
    written = raw.stat().st_blocks * 512
    for variant in ("qcow2", "vdi", "vhd"):
        made = build(tree, tmp_path / variant, *VARIANTS[variant])
        assert Path(made["image"]["path"]).stat().st_blocks * 512 < written + 2 * MiB


@pytest.mark.parametrize("variant", ["qcow2", "zlib", "zstd", "vhd", "vhd-fixed", "vdi", "vdi-static"])
def test_standard_output_takes_the_same_bytes(variant: str, tree: Path, tmp_path: Path) -> None:
    words = VARIANTS[variant]
    image = Path(build(tree, tmp_path / "out", *words)["image"]["path"])
    common = ("--partition-table", "efi", "--disk-size", "401M", "--owner", "preserve")
    done = imgwriter("build", "--tree", tree, "--output", "-", *common, *words)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == image.read_bytes()
    assert b"standard output: 401" in done.stderr
    assert (b"through a temporary file" in done.stderr) is (variant in ("zlib", "zstd"))


@pytest.mark.parametrize("source", VARIANTS)
@pytest.mark.parametrize("target", ["raw", "qcow2", "qcow2-compressed", "vdi"])
def test_converted_is_the_same_disk(
    source: str, target: str, tmp_path: Path, variants: dict[str, Path]
) -> None:
    image = variants[source]
    qemu_format = judged_as(VARIANTS[source])
    seen = as_raw(image, qemu_format, tmp_path / "seen.img")
    output = tmp_path / f"out.{SUFFIXES[target]}"
    made = report("convert", image, output, "--format", target)
    assert made["source"]["format"] == qemu_format
    assert made["image"]["size"] == seen.stat().st_size
    if target == "raw":
        assert output.read_bytes() == seen.read_bytes()
    else:
        qemu_img.check(output, QEMU_NAMES.get(target, target))
        qemu_img.compare(output, QEMU_NAMES.get(target, target), seen)


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small disk in every container."""
    top = tmp_path_factory.mktemp("variants")
    (top / "tree").mkdir()
    (top / "tree" / "file").write_bytes(os.urandom(300_000) + b"text " * 100_000)
    found = {}
    for variant, words in VARIANTS.items():
        size = ("--disk-size", "12M", "--partition-table", "legacy")
        made = report("build", "--tree", top / "tree", "--output", top / variant, *size, *words)
        found[variant] = Path(made["image"]["path"])
    return found


@pytest.mark.parametrize(("words", "size"), [(("--force-size",), 12 * MiB), ((), 12_603_392)])
def test_converted_to_vhd(
    words: tuple[str, ...], size: int, variants: dict[str, Path], tmp_path: Path
) -> None:
    """Without a forced size as qemu-img convert -O vpc rounds 12 MiB, and with a warning."""
    output = tmp_path / "out.vhd"
    made = report("convert", variants["vdi"], output, *words)
    seen = as_raw(output, "vpc", tmp_path / "seen.img")
    expected = as_raw(variants["vdi"], "vdi", tmp_path / "expected.img")
    assert made["image"]["size"] == seen.stat().st_size == size
    assert seen.read_bytes() == expected.read_bytes().ljust(size, b"\0")
    assert bool(made["warnings"]) is not bool(words)


def test_zeros_become_holes(tmp_path: Path) -> None:
    zeros = tmp_path / "zeros.img"
    zeros.write_bytes(bytes(8 * MiB) + b"x" * MiB + bytes(7 * MiB))
    report("convert", zeros, tmp_path / "out.img")
    assert (tmp_path / "out.img").stat().st_blocks * 512 == MiB
    report("convert", zeros, tmp_path / "out.qcow2")
    # Source: docs/interop/qcow2.txt: header, refcount table and block, L1 and L2, a cluster each; the data.
    assert (tmp_path / "out.qcow2").stat().st_size == 5 * 65536 + MiB


def test_a_pinned_raw_image_is_never_taken_for_anything_else(
    variants: dict[str, Path], tmp_path: Path
) -> None:
    source = variants["qcow2"]
    made = report("convert", source, tmp_path / "out.img", "--input-format", "raw")
    assert made["source"]["format"] == "raw"
    assert (tmp_path / "out.img").read_bytes() == source.read_bytes()


def test_an_odd_size_is_filled_to_a_sector(tmp_path: Path) -> None:
    odd = tmp_path / "odd.img"
    odd.write_bytes(b"x" * 1000)
    made = report("convert", odd, tmp_path / "out.qcow2")
    assert (made["image"]["size"], len(made["warnings"])) == (1024, 1)
    seen = as_raw(tmp_path / "out.qcow2", "qcow2", tmp_path / "seen.img")
    assert seen.read_bytes() == b"x" * 1000 + bytes(24)
    report("convert", odd, tmp_path / "out.img")
    assert (tmp_path / "out.img").read_bytes() == b"x" * 1000


def test_a_conversion_into_itself(variants: dict[str, Path], tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    image.write_bytes(variants["zlib"].read_bytes())
    expected = as_raw(image, "qcow2", tmp_path / "expected.img")
    report("convert", image, image, "--format", "raw")
    assert image.read_bytes() == expected.read_bytes()


def test_a_dry_run_writes_nothing(variants: dict[str, Path], tmp_path: Path) -> None:
    done = imgwriter("convert", variants["zstd"], tmp_path / "out.vdi", "--dry-run")
    assert done.returncode == 0
    assert b"(qcow2) to" in done.stdout and b"a disk of 12 MiB" in done.stdout
    assert os.listdir(tmp_path) == []


def test_a_damaged_image_changes_nothing(variants: dict[str, Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.qcow2"
    damaged.write_bytes(variants["zlib"].read_bytes()[:-200_000])
    output = tmp_path / "out.img"
    output.write_bytes(b"old")
    done = imgwriter("convert", damaged, output)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"imgwriter: " in done.stderr and b"Traceback" not in done.stderr
    assert output.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["damaged.qcow2", "out.img"]


@pytest.mark.parametrize("words", [("--threads", "1"), ("--threads", "2"), ("--workers", "5")])
def test_the_bytes_do_not_depend_on_the_threads(words: tuple[str, ...], tree: Path, tmp_path: Path) -> None:
    expected = build(tree, tmp_path / "a", *VARIANTS["zlib"], "--sha256")["image"]["sha256"]
    assert build(tree, tmp_path / "b", *VARIANTS["zlib"], "--sha256", *words)["image"]["sha256"] == expected


def test_convert_to_standard_output(variants: dict[str, Path], tmp_path: Path) -> None:
    report("convert", variants["vhd"], tmp_path / "out.vdi")
    done = imgwriter("convert", variants["vhd"], "-", "--format", "vdi")
    assert done.stdout == (tmp_path / "out.vdi").read_bytes()
    assert b"temporary file" not in done.stderr
    done = imgwriter("convert", variants["zlib"], "-", "--format", "qcow2", "--cluster-size", "4096")
    assert b"temporary file" not in done.stderr
    (tmp_path / "plain.qcow2").write_bytes(done.stdout)
    qemu_img.check(tmp_path / "plain.qcow2", "qcow2")
    qemu_img.compare(
        tmp_path / "plain.qcow2", "qcow2", as_raw(variants["zlib"], "qcow2", tmp_path / "seen.img")
    )
    report("convert", variants["vhd"], tmp_path / "out.qcow2", "--format", "qcow2-compressed")
    done = imgwriter("convert", variants["vhd"], "-", "--format", "qcow2-compressed")
    assert done.stdout == (tmp_path / "out.qcow2").read_bytes()
    assert b"through a temporary file" in done.stderr
