"""What is said about a boot loader before its files are placed."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgwriter import ImageSpec, plan_image, report
from imgwriter.boot_files import _unread


# GRUB 2.06, grub-core/fs/ext2.c: neither EXT2_DRIVER_SUPPORTED_INCOMPAT nor ..._IGNORED_INCOMPAT has them.
@pytest.mark.parametrize(
    ("loader", "features", "named"),
    [
        ("grub-bios", "metadata_csum_seed", "metadata_csum_seed;"),
        ("grub-efi", "large_dir,metadata_csum_seed", "metadata_csum_seed and large_dir;"),
        ("grub-bios", "", None),
        ("grub-bios", "orphan_file", None),
        ("systemd-boot", "large_dir", None),
    ],
)
def test_what_grub_cannot_read_is_warned_of(loader: str, features: str, named: str | None) -> None:
    table = "legacy" if loader == "grub-bios" else "efi"
    spec = ImageSpec(trees=["t"], boot_loader=loader, features=features, partition_table=table)
    said = list(_unread(spec))
    assert said == [] if named is None else named in said[0]


def test_what_a_loader_put_where_is_told(tmp_path: Path) -> None:
    """systemd-boot needs no more than its own program, which is copied, and a kernel."""
    for name, content in {
        "usr/lib/systemd/boot/efi/systemd-bootx64.efi": b"MZ",
        "boot/vmlinuz-6.1": b"MZ",
        "etc/os-release": b"ID=debian\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    spec = ImageSpec(trees=[tmp_path], boot_loader="systemd-boot", partition_table="efi")
    assert report.boot_loader(plan_image(spec)) == [
        "boot loader: systemd-boot: made /boot/EFI, /boot/debian, /boot/loader"
    ]
