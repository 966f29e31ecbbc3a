"""Images for 64-bit Arm, with the boot loader installed in a guest, and without one: they boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.building import build
from tests.oracles import boot, efi_variables
from tests.oracles.tools import CACHE, require, require_file

pytestmark = [pytest.mark.guest, pytest.mark.slow]

# EFI_LOAD_OPTION: attributes, FilePathListLength, "A", an end-of-device-path node (UEFI 2.10, 3.1.3).
GRUB = r"""
set -e
grub-install --target=arm64-efi --removable --no-nvram --efi-directory=/efi
{
    printf 'linux /boot/%s root=LABEL=nixos console=ttyAMA0\n' "$(cd /boot && echo vmlinuz-*)"
    printf 'initrd /boot/%s\nboot\n' "$(cd /boot && echo initrd.img-*)"
} >/boot/grub/grub.cfg
printf '\007\000\000\000\001\000\000\000\004\000A\000\000\000\177\377\004\000' \
    >/sys/firmware/efi/efivars/Boot0007-8be4df61-93ca-11d2-aa0d-00e098032b8c
"""
TABLE = ("--partition-table", "efi", "--esp-mount", "/efi", "--owner", "0:0", "--additional-space", "32M")


@pytest.fixture(scope="module")
def tree() -> Path:
    return require_file(CACHE / "arm64-boot-tree" / ".ready").parent / "root"


def test_grub_installed_in_a_guest_boots_and_two_builds_are_equal(tree: Path, tmp_path: Path) -> None:
    """AAVMF's template of variables is blank: what the firmware makes of it is the template."""
    require("qemu-system-aarch64")
    require_file(Path("/usr/share/AAVMF/AAVMF_VARS.fd"))
    options = (*TABLE, "--boot-command", GRUB, "--touch-efi-vars")
    first, second = (build(tree, tmp_path / name, *options) for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    text = boot.check(first, "raw", "efi", "aarch64")
    assert "Linux version" in text and "boot-test login:" in text
    kept, again = (image.parent / "efi-vars.fd" for image in (first, second))
    assert kept.read_bytes() == again.read_bytes()
    assert kept.stat().st_size == 64 << 20 and kept.stat().st_blocks * 512 < 4 << 20
    found = efi_variables.read(kept)
    assert found["Boot0007"].endswith("010000000400410000007fff0400") and "MTC" not in found


def test_systemd_boot_installed_without_a_guest_boots(tree: Path, tmp_path: Path) -> None:
    options = (
        "--boot-loader",
        "systemd-boot",
        "--boot-timeout",
        "0",
        "--kernel-parameters",
        "console=ttyAMA0",
    )
    text = boot.check(build(tree, tmp_path, *TABLE, *options), "raw", "efi", "aarch64")
    assert "Linux version" in text and "boot-test login:" in text
