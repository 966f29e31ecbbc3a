"""The options of ``imgwriter build``, in the groups of its help."""

from __future__ import annotations

import argparse

from imgwriter.commands.parser import (
    add_container,
    add_report,
    add_time,
    add_writing,
    one_of,
    output_format,
    positive,
    typed,
    words,
)
from imgwriter.units import parse_size
from imgwriter.values import (
    parse_content,
    parse_disk_size,
    parse_hex32,
    parse_owner,
    parse_partition_guid,
    parse_uuid,
    parse_version,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add them all, in the order of the help."""
    for add in (
        _add_input,
        _add_nixos,
        _add_disk,
        _add_file_system,
        _add_boot,
        _add_boot_loader,
        _add_guest,
        _add_identifiers,
        _add_output,
        _add_container,
        add_report,
    ):
        add(parser)


def _add_input(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what goes in")
    add = group.add_argument
    add(
        "--tree",
        dest="trees",
        action="append",
        metavar="DIR|TAR",
        help="a directory, a tar (plain, gz, bz2, xz, zst) or - for a tar on standard input; may be repeated,"
        " later ones lie on top",
    )
    add(
        "--exclude",
        dest="excludes",
        action="append",
        metavar="PATTERN",
        help="leave out of the trees, as in .gitignore",
    )
    add(
        "--content",
        dest="contents",
        action="append",
        type=typed(parse_content),
        metavar="SOURCE:TARGET[:MODE[:USER:GROUP]]",
        help="graft a host path, or what a pattern with * matches, at a path of the image; a backslash makes"
        " a colon part of a path",
    )
    add(
        "--content-nest",
        action=argparse.BooleanOptionalAction,
        help="put a directory into its target, not at it, as rsync does without a trailing slash",
    )
    add("--overrides", metavar="FILE", help="owners, modes and devices by path: an mtree or a table")
    add(
        "--owner",
        type=typed(parse_owner),
        metavar="preserve|UID:GID",
        help="owner of what comes from directories (default 0:0); tars keep theirs",
    )
    add(
        "--xattrs",
        metavar="RULES",
        help="extended attributes to keep: all, none, +PATTERN, -PATTERN, by commas",
    )
    add(
        "--holes",
        **words("keep", "fill", "detect"),
        help="holes of files: the source's, none, or every block of zeros (default keep)",
    )
    add(
        "--hard-links",
        **words("error", "break"),
        help="a file of more than 65,000 names: refuse it, or make several of it (default error)",
    )
    add_time(add)


def _add_nixos(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a NixOS system", "What its parts are is in docs/nix.md.")
    add = group.add_argument
    add("--toplevel", metavar="STORE_PATH", help="the system that the root is prepared for")
    add(
        "--closure",
        dest="closures",
        action="append",
        metavar="FILE|DIR",
        help="which store paths go in: exportReferencesGraph, closureInfo, nix-store --dump-db or --export;"
        " may be repeated",
    )
    add("--store-root", metavar="DIR", help="where the store is on the host: in DIR/nix/store (default /)")
    add(
        "--verify-nar",
        action=argparse.BooleanOptionalAction,
        help="hash the store paths whose hash is known (default yes)",
    )
    add("--channel", metavar="STORE_PATH", help="the channel of the image's root user")
    add("--nixpkgs", metavar="DIR", help="a nixpkgs to make the channel from")
    add(
        "--copy-channel",
        action=argparse.BooleanOptionalAction,
        help="put the channel that is given into the image (default yes)",
    )
    add(
        "--additional-path",
        dest="additional_paths",
        action="append",
        metavar="STORE_PATH",
        help="a store path beside the toplevel's closure; may be repeated",
    )
    add("--shell", metavar="STORE_PATH", help="what /bin/sh points to (default: the system's own)")
    add("--config-file", metavar="FILE", help="what /etc/nixos/configuration.nix is")
    add(
        "--only-nix-store",
        action=argparse.BooleanOptionalAction,
        help="an image whose root is /nix/store, and nothing else",
    )
    add(
        "--root-variant",
        **words("prepare-root", "install"),
        help="prepare the root as nixos-prepare-root (default) or as today's nixos-install",
    )
    add(
        "--nix-version",
        type=typed(parse_version),
        metavar="MAJOR.MINOR",
        help="the Nix whose database is written (default: a recent one)",
    )


def _add_boot_loader(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "a boot loader",
        "Installed by imgwriter alone where one is named; by the image's own programs,\n"
        "in a guest under QEMU, for a NixOS system or a boot command: docs/boot.md.",
    )
    add = group.add_argument
    add(
        "--boot-loader",
        type=one_of("guest", "grub", "grub-bios", "grub-efi", "systemd-boot", "none"),
        metavar="NAME",
        help="grub, grub-bios, grub-efi or systemd-boot, from the tree's own files; guest; or none",
    )
    add(
        "--boot-command",
        metavar="TEXT",
        help="what the image's /bin/sh runs in the guest: 'grub-install /dev/vda'",
    )
    add(
        "--install-boot-loader",
        action=argparse.BooleanOptionalAction,
        help="install one (default: where one is named, and with --toplevel)",
    )
    add("--kernel-parameters", metavar="TEXT", help="what a named loader's entries have besides the root")
    add("--boot-timeout", type=int, metavar="SECONDS", help="how long its menu waits (default 5)")
    add("--grub-config", metavar="FILE", help="its grub.cfg (default: the tree's, or made of its kernels)")
    add(
        "--grub-module",
        dest="grub_modules",
        action="append",
        metavar="NAME",
        help="a module for GRUB's core image beside those that reach the root; may be repeated",
    )
    add("--esp-mount", metavar="PATH", help="where the ESP is in the image's system (default /boot, or /efi)")
    add("--boot-mount", metavar="PATH", help="where the other boot partition is (default /boot)")


def _add_guest(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the guest that installs it").add_argument
    add(
        "--activate", action=argparse.BooleanOptionalAction, help="run the toplevel's activation script first"
    )
    add(
        "--installer-noise",
        metavar="RULES",
        help="what an installer leaves behind and is dropped: default, none, +PATTERN, -PATTERN, by commas",
    )
    add(
        "--keep-guest-image",
        action=argparse.BooleanOptionalAction,
        help="keep the disk that the guest wrote to; its bytes do not repeat",
    )
    add("--vm-kernel", metavar="FILE", help="what it boots (default: the tree's own kernel)")
    add("--vm-modules", metavar="DIR", help="that kernel's modules: lib/modules/VERSION")
    add("--vm-busybox", metavar="FILE", help="a static busybox (default: the tree's, or the host's)")
    add("--vm-qemu", metavar="FILE", help="QEMU (default: qemu-system-x86_64 or -aarch64 from PATH)")
    add("--vm-timeout", type=float, metavar="SECONDS", help="how long it may take (default 600)")
    add(
        "--accel",
        **words("tcg", "kvm", "auto"),
        help="software (default), KVM, or KVM where a guest boots with it",
    )
    add("--qemu-sandbox", **words("on", "off"), help="let QEMU give up system calls (default on)")
    add("--mem-size", type=typed(positive), metavar="MIB", help="its memory (default 1024)")
    add(
        "--touch-efi-vars",
        action=argparse.BooleanOptionalAction,
        help="write the EFI variables that the installer sets to efi-vars.fd beside the image",
    )
    add("--efi-firmware", metavar="FILE", help="its firmware for that (default: OVMF's code, where found)")
    add("--efi-variables", metavar="FILE", help="the template of its variables (default: OVMF's)")


def _add_disk(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the disk").add_argument
    add(
        "--partition-table",
        type=one_of("legacy", "legacy+boot", "legacy+gpt", "efi", "efixbootldr", "hybrid", "none"),
        metavar="KIND",
        help="legacy (default), efi, none, legacy+boot, legacy+gpt, efixbootldr or hybrid",
    )
    add(
        "--compat",
        **words("seed", "nixpkgs"),
        help="nixpkgs: current nixpkgs' exact boundaries and identifiers",
    )
    add(
        "--disk-size",
        type=typed(parse_disk_size),
        metavar="SIZE|auto",
        help="size of the whole disk (default auto)",
    )
    add(
        "--additional-space",
        type=typed(lambda text: parse_size(text, "additional space")),
        metavar="SIZE",
        help="room left for files in a disk of size auto (default 512 MiB)",
    )
    add(
        "--boot-end",
        type=typed(lambda text: parse_size(text, "boot end")),
        metavar="SIZE",
        help="where the ESP or boot partition ends, from the disk's start (default 256 MiB)",
    )
    add(
        "--size-formula",
        **words("closed", "nixpkgs"),
        help="the smallest disk (default), or as large as current nixpkgs makes it",
    )
    add("--sector-size", **words(512, 4096), help="bytes in a sector (default 512)")


def _add_file_system(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the root file system").add_argument
    add(
        "--fs-type",
        type=one_of("ext4", "ext3", "ext2", "vfat", explain=_explain_fs_type),
        metavar="TYPE",
        help="ext4 (default); ext3, ext2 and vfat only with --partition-table none",
    )
    add("--label", help="its label (default nixos)")
    add("--block-size", **words(1024, 2048, 4096), help="bytes in a block (default 4096)")
    add(
        "--features",
        metavar="LIST",
        help="changes to the features, as mke2fs -O has them: orphan_file,^64bit",
    )
    add(
        "--inodes",
        type=typed(positive),
        metavar="N",
        help="inodes, at least (default: as mke2fs, or what the tree needs and 5 %%)",
    )
    add("--inode-ratio", type=typed(positive), metavar="BYTES", help="one inode for so many bytes")


def _explain_fs_type(text: str) -> None:
    from imgwriter.spec.image_spec import check_fs_type

    check_fs_type(text)


def _add_boot(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("boot partitions").add_argument
    add(
        "--esp-content",
        dest="esp_contents",
        action="append",
        type=typed(parse_content),
        metavar="SOURCE:TARGET",
        help="a path for the EFI system partition, as --content; a tree's own /boot stays in the root",
    )
    add(
        "--boot-content",
        dest="boot_contents",
        action="append",
        type=typed(parse_content),
        metavar="SOURCE:TARGET",
        help="a path for the other boot partition, of legacy+boot and efixbootldr",
    )
    add("--fat-type", **words(12, 16, 32), help="FAT width (default 32, less where too small for it)")


def _add_identifiers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("identifiers", "All derive from the seed unless given.")
    add = group.add_argument
    add("--seed", metavar="TEXT", help="what identifiers derive from (a stable default)")
    add("--disk-guid", type=typed(parse_uuid), metavar="GUID", help="of a GPT")
    add(
        "--partition-guid",
        dest="partition_guids",
        action="append",
        type=typed(parse_partition_guid),
        metavar="N=GUID",
        help="of a partition of a GPT",
    )
    add("--root-gpuid", type=typed(parse_uuid), metavar="GUID", help="of the root's partition of a GPT")
    add("--disk-signature", type=typed(parse_hex32), metavar="HEX", help="of an MBR, 8 digits")
    add("--root-uuid", type=typed(parse_uuid), metavar="UUID", help="of the root file system")
    add("--hash-seed", type=typed(parse_uuid), metavar="UUID", help="of its directory hashes")
    add(
        "--fat-volume-id",
        type=typed(parse_hex32),
        metavar="HEX",
        help="of the first FAT file system, 8 digits",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the image").add_argument
    add(
        "--output",
        metavar="DIR|-",
        help="where it goes, made when missing (default: --name); - for standard output",
    )
    add("--name", help="the directory where no --output is given (default nixos-disk-image)")
    add("--base-name", metavar="NAME", help="its name without the suffix (default nixos)")
    add(
        "--format",
        type=output_format(),
        metavar="FORMAT",
        help="raw (default), qcow2, qcow2-compressed, vpc or vdi: .img, .qcow2, .qcow2, .vhd, .vdi",
    )
    add("--manifest", metavar="FILE", help="write each extent's offset, length and path as JSON lines")
    add(
        "--bmap",
        action=argparse.BooleanOptionalAction,
        help="write a block map beside a raw image, for bmaptool",
    )
    add("--sha256", action=argparse.BooleanOptionalAction, help="write the image's checksum beside it")
    add_writing(add)


def _add_container(parser: argparse.ArgumentParser) -> None:
    add_container(parser.add_argument_group("its container").add_argument)
