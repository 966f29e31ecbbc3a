"""ImageSpec: every contradiction is refused when the request is made, by name and with a remedy."""

from __future__ import annotations

from typing import Any, get_args
from uuid import UUID

import pytest

from imgwriter import disk
from imgwriter.errors import SpecError
from imgwriter.spec import BOOT_TABLES, ESP_TABLES, Content, ImageSpec, TableKind, boot
from imgwriter.units import MiB

SOME_UUID = UUID("12345678-1234-5678-1234-567812345678")
ESP_FILE = (Content("loader.efi", "/EFI/BOOT/BOOTX64.EFI"),)
TOPLEVEL = "/nix/store/0p1cg7g7n9s1jvpxmk5ylv3wmpvqbpgl-nixos-system"
SYSTEM = {"trees": (), "toplevel": TOPLEVEL, "closures": ["registration"], "install_boot_loader": False}


def spec(**given: Any) -> ImageSpec:
    return ImageSpec(**{"trees": ["rootfs"], **given})


def test_defaults_are_the_seed_scripts() -> None:
    """Source: make-disk-image.nix as its author wrote it: the parameters, and mkfs's ``-L nixos``."""
    made = spec()
    assert (made.partition_table, made.fs_type, made.format) == ("legacy", "ext4", "raw")
    assert (made.root_label, made.directory, made.base_name) == ("nixos", "nixos-disk-image", "nixos")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"trees": []}, "nothing is given"),
    ({"trees": ["-", b"-"]}, "standard input"),
    ({"partition_table": "bsd"}, "partition table 'bsd' is unknown; use one of legacy"),
    ({"compat": "debian"}, "compatibility 'debian'"),
    ({"holes": "dig"}, "holes 'dig'"),
    ({"hard_links": "keep"}, "hard links 'keep'"),
    *(({"format": name}, f"format '{name}' is not written by imgwriter") for name in ("vhdx", "vmdk")),
    ({"format": "vhd"}, "format 'vhd' is called 'vpc' here"),
    ({"bmap": True, "format": "qcow2"}, "a block map is for writing a raw image"),
    ({"sector_size": 4096, "format": "vpc"}, "a VHD has sectors of 512 bytes"),
    ({"output": "-", "sha256": True}, "a checksum is given, but the image goes to standard output"),
    ({"output": "-", "bmap": True}, "a block map is given"),
    ({"output": b"-", "sync": True}, "a sync is given"),
    ({"format": "iso"}, "format 'iso' is unknown; use one of raw"),
    *(
        ({"fs_type": name}, f"'{name}' is not written by imgwriter")
        for name in ("xfs", "btrfs", "f2fs", "zfs")
    ),
    ({"fs_type": "ext5"}, "file system type 'ext5' is unknown"),
    *(({"fs_type": name}, "needs partition table 'none'") for name in ("ext3", "ext2", "vfat")),
    ({"fs_type": "vfat", "partition_table": "efi"}, "not 'efi'"),
    ({"sector_size": 520}, "sector size 520"),
    ({"block_size": 8192}, "block size 8192"),
    ({"block_size": 1024, "sector_size": 4096}, "less than the sector size 4096"),
    ({"block_size": 2048, "sector_size": 4096}, "less than the sector size 4096"),
    ({"fat_type": 64, "partition_table": "efi"}, "FAT type 64"),
    ({"label": "seventeen letters"}, "17 bytes"),
    ({"label": "neuf lettres é à é"}, "21 bytes"),
    ({"label": "twelve-chars", "fs_type": "vfat", "partition_table": "none"}, "room for 11"),
    ({"label": "a\0b"}, "NUL"),
    ({"disk_size": 0}, "disk size 0 B"),
    ({"boot_end": 0, "partition_table": "efi"}, "boot end 0 B"),
    ({"additional_space": -1}, "less than nothing"),
    ({"additional_space": MiB, "disk_size": 100 * MiB}, "has no meaning with the fixed disk size 100 MiB"),
    ({"inodes": 0}, "inodes: 0"),
    ({"workers": 0}, "workers: 0"),
    ({"inodes": 100, "inode_ratio": 4096}, "leave one of them out"),
    ({"time": -1}, "time -1"),
    ({"time": 15032385536}, "time 15032385536"),
    ({"owner": (0, 1 << 32)}, "owner 0:4294967296"),
    ({"contents": [Content("", "/etc")]}, "lacks one of them"),
    ({"contents": [Content("motd", "")]}, "lacks one of them"),
    ({"contents": [Content("motd", "/etc/motd", None, "root")]}, "a user or a group alone"),
    ({"esp_contents": ESP_FILE}, "partition table 'legacy' has none"),
    ({"esp_contents": ESP_FILE, "partition_table": "legacy+boot"}, "use one of efi, efixbootldr, hybrid"),
    ({"boot_contents": ESP_FILE, "partition_table": "efi"}, "use one of legacy+boot, efixbootldr"),
    ({"esp_contents": [Content("a", "/a", "0644")], "partition_table": "efi"}, "FAT has neither"),
    ({"esp_contents": [Content("a", "/a", None, "0", "0")], "partition_table": "efi"}, "FAT has neither"),
    ({"fat_type": 16}, "a FAT type is given"),
    ({"fat_volume_id": 1}, "a FAT volume ID is given"),
    ({"fat_volume_id": 1 << 32, "partition_table": "efi"}, "not a number of 32 bits"),
    *(
        ({"fs_type": "vfat", "partition_table": "none", **more}, "vfat' has no such setting")
        for more in (
            {"block_size": 4096},
            {"features": "^64bit"},
            {"inodes": 10},
            {"inode_ratio": 4096},
            {"root_uuid": SOME_UUID},
            {"hash_seed": SOME_UUID},
        )
    ),
    ({"name": "a/b"}, "name 'a/b'"),
    ({"trees": ["-"], "closures": ["-"]}, "standard input is given as a tree or closure twice"),
    (
        {"root_variant": "nixos-enter"},
        "root variant 'nixos-enter' is unknown; use one of prepare-root, install",
    ),
    ({"size_formula": "du"}, "size formula 'du' is unknown; use one of closed, nixpkgs"),
    ({"size_formula": "nixpkgs", "disk_size": MiB}, "a size formula has no meaning"),
    ({**SYSTEM, "toplevel": "result"}, "toplevel: result is not in the store /nix/store"),
    ({**SYSTEM, "toplevel": TOPLEVEL + "/init"}, "is no store path"),
    ({**SYSTEM, "additional_paths": [TOPLEVEL, "/bin"]}, "additional path: /bin is not in the store"),
    ({**SYSTEM, "channel": "/nix/store/x"}, "channel: /nix/store/x is no store path"),
    ({**SYSTEM, "channel": TOPLEVEL, "nixpkgs": "."}, "both a channel and the nixpkgs"),
    ({**SYSTEM, "nix_version": (2, -1)}, "Nix version (2, -1)"),
    *(
        ({**SYSTEM, "closures": (), **more}, "no closure says which store paths go in; give one")
        for more in ({}, {"toplevel": None, "store_root": "/mnt"}, {"toplevel": None, "verify_nar": False})
    ),
    *(
        ({**SYSTEM, "toplevel": None, **more}, "there is no toplevel to prepare a root for; give one")
        for more in (
            {"channel": TOPLEVEL},
            {"nixpkgs": "."},
            {"config_file": "c"},
            {"root_variant": "install"},
            {"shell": TOPLEVEL},
        )
    ),
    *(
        ({**SYSTEM, "only_nix_store": True, **more}, "in an image of the Nix store alone the contents must")
        for more in (
            {"trees": ["rootfs"]},
            {"contents": [Content("a", "/a")]},
            {"config_file": "c"},
            {"install_boot_loader": True},
        )
    ),
    ({"install_boot_loader": True}, "nothing says which; name one"),
    ({"boot_loader": "lilo"}, "boot loader 'lilo' is unknown; use one of guest, grub, grub-bios, grub-efi"),
    ({"boot_loader": "guest"}, "nothing says how; give a boot command"),
    ({"boot_command": " "}, "the boot command is empty"),
    ({"boot_command": "x", "boot_loader": "grub-bios"}, "which needs none; leave one of them out"),
    (
        {"boot_command": "x", "install_boot_loader": False},
        "a boot command is given, but no boot loader is to",
    ),
    ({"boot_loader": "grub-efi", "install_boot_loader": False}, "'grub-efi' is given, but no boot loader is"),
    ({"boot_command": "x", "mem_size": 63}, "does not start in 63 MiB"),
    (
        {"boot_command": "x", "fs_type": "vfat", "partition_table": "none"},
        "no system runs from a root of vfat",
    ),
    ({"boot_command": "x", "vm_timeout": 0.0}, "correct --vm-timeout"),
    ({"boot_command": "x", "accel": "hvf"}, "accelerator 'hvf' is unknown; use one of tcg, kvm, auto"),
    ({"boot_command": "x", "qemu_sandbox": "yes"}, "QEMU sandbox 'yes' is unknown; use one of on, off"),
    ({"boot_command": "x", "esp_mount": "boot"}, "the ESP cannot be mounted at 'boot'"),
    ({"boot_command": "x", "esp_mount": "/"}, "the ESP cannot be mounted at '/'"),
    ({"boot_command": "x", "boot_mount": "/a/../b"}, "the boot partition cannot be mounted at '/a/../b'"),
    (
        {"boot_command": "x", "partition_table": "efixbootldr", "esp_mount": "/boot//"},
        "the ESP and the boot partition are both to be mounted at '/boot'",
    ),
    (
        {"boot_command": "x", "kernel_parameters": "quiet"},
        "only a boot loader that is installed without a guest",
    ),
    ({"boot_loader": "grub-bios", "kernel_parameters": "a 'b"}, "No closing quotation"),
    ({"boot_loader": "grub-bios", "kernel_parameters": "a\nb"}, "more than one line"),
    ({"boot_loader": "grub-bios", "boot_timeout": -1}, "not -1; give 0 to 86400"),
    ({"boot_loader": "grub-bios", "grub_modules": ["../x"]}, "no name of a module"),
    ({"boot_loader": "grub-bios", "keep_guest_image": True}, "no guest is run for this image"),
    ({"activate": True}, "an activation is given, but no guest is run"),
    ({"installer_noise": "none"}, "no guest is run for this image"),
    ({"touch_efi_vars": True}, "only with a partition table of hybrid, efi, efixbootldr, legacy+gpt"),
    ({"touch_efi_vars": True, "partition_table": "efi"}, "no guest is run for this image"),
    (
        {"touch_efi_vars": True, "partition_table": "efi", "boot_command": "x", "output": "-"},
        "a file beside the image, which goes to standard output",
    ),
    ({"mem_size": 0}, "memory of 0 MiB"),
    ({"post_vm": "rm -r $out"}, "postVM is shell code, and imgwriter runs no other program"),
    ({"deterministic": False}, "imgwriter's images are deterministic always"),
    ({"base_name": ""}, "base name ''"),
    ({"base_name": "a/b"}, "base name 'a/b'"),
    ({"base_name": ".."}, "base name '..'"),
]


@pytest.mark.parametrize(("given", "words"), REFUSED, ids=[str(given) for given, _ in REFUSED])
def test_refuses(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec(**given)
    message = str(caught.value)
    assert words in message
    # One sentence with a remedy: what is wrong, a semicolon, what to do.
    assert "; " in message and "\n" not in message and not message.endswith(".")


@pytest.mark.parametrize(
    "given",
    [
        {"label": "sixteen--letters"},
        {"label": "eleven-char", "fs_type": "vfat", "partition_table": "none"},
        {"fs_type": "ext2", "partition_table": "none", "block_size": 1024},
        {"sector_size": 4096, "block_size": 4096},
        {"additional_space": 0},
        {"time": 0},
        {"time": 15032385535},
        {"owner": (0, (1 << 32) - 1)},
        {"owner": None},
        {"trees": [], "contents": [Content("motd", "/etc/motd", "0644", "root", "root")]},
        {"esp_contents": ESP_FILE, "boot_contents": ESP_FILE, "partition_table": "efixbootldr"},
        {"fat_volume_id": (1 << 32) - 1, "partition_table": "hybrid"},
        {"fat_type": 12, "fs_type": "vfat", "partition_table": "none"},
        SYSTEM,
        {**SYSTEM, "toplevel": None},
        {**SYSTEM, "only_nix_store": True, "install_boot_loader": None},
        {**SYSTEM, "copy_channel": False, "channel": TOPLEVEL, "config_file": "c", "nix_version": (2, 8)},
        {"mem_size": 1, "post_vm": "", "size_formula": "nixpkgs", "install_boot_loader": False},
    ],
    ids=str,
)
def test_accepts(given: dict[str, Any]) -> None:
    spec(**given)


def test_facts_about_the_tables_are_what_disk_lays_out() -> None:
    """The spec knows by name which tables have boot partitions; the layouts are the disk's."""
    for kind in get_args(TableKind):
        layout = disk.plan(kind, disk.disk_size_for(kind, MiB), identifiers=disk.DiskIdentifiers())
        roles = {partition.role for partition in layout.partitions}
        assert ("esp" in roles) == (kind in ESP_TABLES)
        assert ("boot" in roles) == (kind in BOOT_TABLES)


def test_the_label_of_a_store_is_nixpkgs() -> None:
    """Source: make-disk-image.nix: ``label ? if onlyNixStore then "nix-store" else "nixos"``."""
    assert spec(**SYSTEM, only_nix_store=True).root_label == "nix-store"
    assert spec(**SYSTEM, only_nix_store=True, label="x").root_label == "x"


def test_the_name_is_the_directory_where_no_output_is_given() -> None:
    assert spec(name="image").directory == "image"
    assert spec(name="image", output="out").directory == "out"


def test_who_installs_a_boot_loader() -> None:
    nixos = {**SYSTEM, "install_boot_loader": None}
    assert spec().boot_choice.loader == "none"
    assert spec(**SYSTEM).boot_choice.loader == "none"
    assert spec(**{**nixos, "only_nix_store": True}).boot_choice.loader == "none"
    assert spec(**nixos).boot_choice == (
        "guest",
        "the NixOS system's own installer knows which boot loader it has",
    )
    assert spec(boot_command="grub-install /dev/vda").boot_choice.loader == "guest"
    assert spec(**nixos, boot_loader="systemd-boot").boot_choice == ("systemd-boot", "")
    assert spec(**nixos, boot_loader="none").boot_choice == ("none", "")


@pytest.mark.parametrize(
    ("table", "halves"),
    [
        ("legacy", ("grub-bios",)),
        ("legacy+boot", ("grub-bios",)),
        ("legacy+gpt", ("grub-bios",)),
        ("efi", ("grub-efi",)),
        ("efixbootldr", ("grub-efi",)),
        ("hybrid", ("grub-bios", "grub-efi")),
    ],
)
def test_grub_is_installed_for_every_firmware_that_the_table_has_a_place_for(
    table: TableKind, halves: tuple[str, ...]
) -> None:
    assert boot.without_guest(spec(boot_loader="grub", partition_table=table)) == halves


def test_where_the_esp_is_mounted() -> None:
    assert boot.esp_mount(spec(partition_table="efi")) == b"/boot"
    assert boot.esp_mount(spec(partition_table="efixbootldr")) == b"/efi"
    assert (
        boot.esp_mount(spec(partition_table="efi", boot_command="x", esp_mount="/boot/efi")) == b"/boot/efi"
    )


def test_has_fat() -> None:
    assert spec(partition_table="efi").has_fat and spec(partition_table="legacy+boot").has_fat
    assert spec(partition_table="none", fs_type="vfat").has_fat
    assert not spec().has_fat and not spec(partition_table="legacy+gpt").has_fat
