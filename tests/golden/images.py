"""The pinned requests, and the sums of the images they give."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from imgwriter import Content, ImageSpec, build_image
from tests.golden import sample

SUMS = Path(__file__).with_name("sha256.json")

MiB = 1 << 20

REQUESTS: dict[str, dict[str, Any]] = {
    "legacy": {},
    "efi": {"partition_table": "efi", "esp_contents": [Content("tool", "/EFI/BOOT/BOOTX64.EFI")]},
    "efi-nixpkgs": {"partition_table": "efi", "compat": "nixpkgs", "time": sample.TIME},
    "hybrid-nixpkgs": {"partition_table": "hybrid", "compat": "nixpkgs"},
    "efixbootldr": {"partition_table": "efixbootldr", "boot_contents": [Content("tool", "/loader/tool")]},
    "legacy-boot": {"partition_table": "legacy+boot", "seed": "another"},
    "legacy-gpt-4096": {"partition_table": "legacy+gpt", "sector_size": 4096},
    "none-1k": {"partition_table": "none", "block_size": 1024},
    "none-features": {"partition_table": "none", "features": "metadata_csum_seed,orphan_file,large_dir"},
    "none-8g": {"partition_table": "none", "disk_size": 8 << 30, "additional_space": None},
    "ext3": {"partition_table": "none", "fs_type": "ext3", "block_size": 2048},
    "ext2": {"partition_table": "none", "fs_type": "ext2"},
    "qcow2": {"format": "qcow2"},
    "qcow2-0.10-4k": {"format": "qcow2", "qcow2_compat": "0.10", "cluster_size": 4096},
    "qcow2-zlib": {"format": "qcow2-compressed", "contents": [Content("text", "/text")]},
    "qcow2-zstd": {
        "format": "qcow2-compressed",
        "compression": "zstd",
        "contents": [Content("text", "/text")],
    },
    "vhd": {"format": "vpc"},
    "vhd-fixed-force-size": {
        "format": "vpc",
        "vhd_subformat": "fixed",
        "force_size": True,
        "disk_size": 64 * MiB,
        "additional_space": None,
    },
    "vdi": {"format": "vdi"},
    "vdi-static": {"format": "vdi", "vdi_subformat": "static"},
}
"""Each with the pinned tar as its tree, unless it says otherwise."""


def build(name: str, scratch: Path) -> str:
    """Build one of the requests in an empty directory and return the image's SHA-256."""
    tar = scratch / "tree.tar"
    sample.write_tar(tar)
    for source, content in (("tool", sample.files()["usr/bin/tool"]), ("text", sample.text(1 << 20, "text"))):
        (scratch / source).write_bytes(content)
        os.utime(scratch / source, (sample.TIME, sample.TIME))
    request = {"additional_space": 0, **REQUESTS[name]}
    for field in ("contents", "esp_contents", "boot_contents"):
        if field in request:
            request[field] = [c._replace(source=scratch / str(c.source)) for c in request[field]]
    result = build_image(ImageSpec(trees=[tar], output=scratch / "out", sha256=True, **request))
    assert result.sha256 is not None
    return result.sha256


def read() -> dict[str, str]:
    """Return the sums that are kept."""
    sums: dict[str, str] = json.loads(SUMS.read_text())
    return sums
