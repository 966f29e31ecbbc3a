"""What is asked of a container: contradictions are refused by name, with a remedy."""

from __future__ import annotations

from typing import Any

import pytest

from imgwriter import encoder
from imgwriter.container import FORMATS, SUFFIXES, ContainerOptions
from imgwriter.convert import INPUT_FORMATS, ConvertSpec, format_of
from imgwriter.errors import SpecError
from imgwriter.units import MiB


@pytest.mark.parametrize("size", [512, 65536, 2 * MiB])
def test_cluster_sizes_at_the_limits(size: int) -> None:
    assert ContainerOptions(format="qcow2", cluster_size=size).cluster_size == size


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_alone_makes_sense(name: str) -> None:
    assert ContainerOptions(format=name).suffix == SUFFIXES[name]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"format": "iso"}, "format 'iso' is unknown; use one of raw, qcow2"),
        ({"format": "vhd"}, "called 'vpc'"),
        ({"format": "vmdk"}, "not written by imgwriter"),
        ({"cluster_size": 512}, "a cluster size is given, but format 'raw' has none"),
        ({"format": "qcow2", "compression": "zstd"}, "a compression is given"),
        ({"format": "qcow2", "compression_level": 0}, "a compression level is given"),
        ({"format": "qcow2", "cluster_size": 256}, "power of two from 512 B to 2 MiB"),
        ({"format": "qcow2", "cluster_size": 0}, "power of two"),
        ({"format": "qcow2", "cluster_size": 65537}, "power of two"),
        ({"format": "qcow2-compressed", "cluster_size": 4 * MiB}, "power of two"),
        ({"format": "qcow2-compressed", "compression_level": 10}, "zlib has no level 10"),
        ({"format": "qcow2-compressed", "compression": "zstd", "compression_level": 23}, "no level 23"),
        ({"format": "qcow2-compressed", "compression_level": 0}, "no level 0"),
        ({"format": "qcow2-compressed", "compression": "lz4"}, "compression 'lz4' is unknown"),
        ({"format": "qcow2", "qcow2_compat": "2"}, "use one of 1.1, 0.10"),
        ({"format": "qcow2", "force_size": True}, "a forced size is given"),
        ({"format": "vdi", "vhd_subformat": "fixed"}, "a VHD subformat is given"),
        ({"format": "vpc", "vdi_subformat": "static"}, "a VDI subformat is given"),
        ({"format": "vpc", "vhd_subformat": "static"}, "use one of dynamic, fixed"),
        ({"format": "vdi", "vdi_subformat": "fixed"}, "use one of dynamic, static"),
        ({"format": "qcow2-compressed", "compression": "zstd", "qcow2_compat": "0.10"}, "zstd is unknown"),
    ],
)
def test_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(SpecError, match=why):
        ContainerOptions(**given)


@pytest.mark.parametrize(
    ("given", "asked", "planned"),
    [
        ({}, 777 * MiB, 777 * MiB),
        ({"format": "qcow2"}, 777 * MiB, 777 * MiB),
        # Source: qemu-img 7.2 convert -O vpc of 777 MiB.
        ({"format": "vpc"}, 777 * MiB, 814_915_584),
        ({"format": "vpc", "vhd_subformat": "fixed"}, 777 * MiB, 814_915_584),
        ({"format": "vpc", "force_size": True}, 777 * MiB, 777 * MiB),
    ],
)
def test_the_disk_is_planned_at_the_containers_size(given: dict[str, Any], asked: int, planned: int) -> None:
    assert encoder.disk_size(ContainerOptions(**given), asked) == planned


@pytest.mark.parametrize("size", [777 * MiB - 512, 777 * MiB + 512])
def test_a_forced_size_is_whole_mib(size: int) -> None:
    with pytest.raises(SpecError, match="MiB"):
        encoder.disk_size(ContainerOptions(format="vpc", force_size=True), size)


# Conversions


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.img", "raw"),
        ("x.raw", "raw"),
        ("x.qcow2", "qcow2"),
        ("x.vhd", "vpc"),
        ("x.vpc", "vpc"),
        (b"\xff.vdi", "vdi"),
    ],
)
def test_a_name_tells_the_format(name: str | bytes, expected: str) -> None:
    assert format_of(name) == expected


@pytest.mark.parametrize("name", ["x", "-", "qcow2", "x.vmdk"])
def test_a_name_that_tells_none(name: str) -> None:
    with pytest.raises(SpecError, match=r"name a format: raw, qcow2"):
        format_of(name)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"source": "-"}, "save it to a file"),
        ({"input_format": "vmdk"}, f"use one of {', '.join(INPUT_FORMATS)}"),
        ({"workers": 0}, "not a positive number"),
        ({"output": "-", "sha256": True}, "leave checksum and sync out"),
        ({"output": "-", "sync": True}, "leave checksum and sync out"),
        ({"format": "vhdx"}, "not written"),
    ],
)
def test_conversions_that_are_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(SpecError, match=why):
        ConvertSpec(**{"source": "in", "output": "out", **given})
