"""``imgwriter build``: its options, and how they become an ImageSpec."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from imgwriter.errors import SpecError
from imgwriter.options.parser import (
    Formatter,
    add_container,
    add_report,
    add_time,
    add_writing,
    container_options,
    typed,
)
from imgwriter.units import parse_size
from imgwriter.values import (
    parse_content,
    parse_disk_size,
    parse_hex32,
    parse_owner,
    parse_partition_guid,
    parse_uuid,
    source_date_epoch,
)

if TYPE_CHECKING:
    from uuid import UUID

    from imgwriter.spec import Content, ImageSpec

USAGE = "imgwriter build (--tree DIR|TAR | --content SOURCE:TARGET)... [options]"

DESCRIPTION = """\
Make a disk image out of directories, tar files and single paths: partition
table, ext4 root and, where the table has one, an EFI system partition. No
root, no loop device, no other program is needed, and the same input gives the
same bytes.
"""

EPILOG = """\
sizes
  A bare number is MiB; B, KiB, MiB, GiB and TiB may follow: 1200, 64KiB, 2GiB.

examples
  imgwriter build --tree rootfs
      a legacy (MBR) image of a directory: nixos-disk-image/nixos.img
  imgwriter build --tree debian.tar.zst --partition-table efi \\
                  --esp-content boot/EFI:/EFI --disk-size 4GiB
      a tar becomes the root of an EFI disk of 4 GiB, with a loader on its ESP
  imgwriter build --tree base.tar --tree overlay \\
                  --content motd:/etc/motd:0644 --dry-run
      two layers and a file: show the plan and write nothing

exit status
  0    done
  1    refused: the sentence on standard error says what, and what to change;
       the image that was there, if any, is untouched
  2    the command line could not be understood
  3    imgwriter broke a rule of its own: a bug, please report it
  130  after Ctrl-C, 143 after SIGTERM; nothing is left behind

docs/command-line.md has each option at length, and the schema of --json.
"""


def add_build(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "build",
        help="make a disk image",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    for add in (
        _add_input,
        _add_disk,
        _add_file_system,
        _add_boot,
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
        action="append",
        default=[],
        metavar="DIR|TAR",
        help="a directory, a tar (plain, gz, xz, zst) or - for a tar on standard input; may be repeated,"
        " later ones lie on top",
    )
    add(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out of the trees, as in .gitignore",
    )
    add(
        "--content",
        action="append",
        default=[],
        type=typed(parse_content),
        metavar="SOURCE:TARGET[:MODE[:USER:GROUP]]",
        help="graft a host path, or what a pattern with * matches, at a path of the image; a backslash makes"
        " a colon part of a path",
    )
    add(
        "--content-nest",
        action="store_true",
        help="put a directory into its target, not at it, as rsync does without a trailing slash",
    )
    add("--overrides", metavar="FILE", help="owners, modes and devices by path: an mtree or a table")
    add(
        "--owner",
        type=typed(parse_owner),
        default=(0, 0),
        metavar="preserve|UID:GID",
        help="owner of what comes from directories (default 0:0); tars keep theirs",
    )
    add(
        "--xattrs",
        default="default",
        metavar="RULES",
        help="extended attributes to keep: all, none, +PATTERN, -PATTERN, by commas",
    )
    add(
        "--holes",
        choices=("keep", "fill", "detect"),
        default="keep",
        help="holes of files: the source's, none, or every block of zeros (default keep)",
    )
    add(
        "--hard-links",
        choices=("error", "break"),
        default="error",
        help="a file of more than 65,000 names: refuse it, or make several of it (default error)",
    )
    add_time(add)


def _add_disk(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the disk").add_argument
    add(
        "--partition-table",
        default="legacy",
        metavar="KIND",
        help="legacy (default), efi, none, legacy+boot, legacy+gpt, efixbootldr or hybrid",
    )
    add(
        "--compat",
        default="seed",
        metavar="seed|nixpkgs",
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
    add("--sector-size", type=int, default=512, metavar="512|4096", help="bytes in a sector (default 512)")


def _add_file_system(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the root file system").add_argument
    add(
        "--fs-type",
        default="ext4",
        metavar="TYPE",
        help="ext4 (default); ext3, ext2 and vfat only with --partition-table none",
    )
    add("--label", default="nixos", help="its label (default nixos)")
    add("--block-size", type=int, metavar="1024|2048|4096", help="bytes in a block (default 4096)")
    add(
        "--features",
        default="",
        metavar="LIST",
        help="changes to the features, as mke2fs -O has them: orphan_file,^64bit",
    )
    add(
        "--inodes",
        type=int,
        metavar="N",
        help="inodes, at least (default: as mke2fs, or what the tree needs and 5 %%)",
    )
    add("--inode-ratio", type=int, metavar="BYTES", help="one inode for so many bytes")


def _add_boot(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("boot partitions").add_argument
    add(
        "--esp-content",
        action="append",
        default=[],
        type=typed(parse_content),
        metavar="SOURCE:TARGET",
        help="a path for the EFI system partition, as --content; a tree's own /boot stays in the root",
    )
    add(
        "--boot-content",
        action="append",
        default=[],
        type=typed(parse_content),
        metavar="SOURCE:TARGET",
        help="a path for the other boot partition, of legacy+boot and efixbootldr",
    )
    add(
        "--fat-type", type=int, metavar="12|16|32", help="FAT width (default 32, less where too small for it)"
    )


def _add_identifiers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("identifiers", "All derive from the seed unless given.")
    add = group.add_argument
    add("--seed", metavar="TEXT", help="what identifiers derive from (a stable default)")
    add("--disk-guid", type=typed(parse_uuid), metavar="GUID", help="of a GPT")
    add(
        "--partition-guid",
        action="append",
        default=[],
        type=typed(parse_partition_guid),
        metavar="N=GUID",
        help="of a partition of a GPT",
    )
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
        default="nixos-disk-image",
        metavar="DIR|-",
        help="where it goes, made when missing (default nixos-disk-image); - for standard output",
    )
    add("--base-name", default="nixos", metavar="NAME", help="its name without the suffix (default nixos)")
    add(
        "--format",
        default="raw",
        metavar="FORMAT",
        help="raw (default), qcow2, qcow2-compressed, vpc or vdi: .img, .qcow2, .qcow2, .vhd, .vdi",
    )
    add("--manifest", metavar="FILE", help="write each extent's offset, length and path as JSON lines")
    add("--bmap", action="store_true", help="write a block map beside a raw image, for bmaptool")
    add("--sha256", action="store_true", help="write the image's checksum beside it")
    add_writing(add)


def _add_container(parser: argparse.ArgumentParser) -> None:
    add_container(parser.add_argument_group("its container").add_argument)


def to_spec(arguments: argparse.Namespace, environ: dict[str, str]) -> ImageSpec:
    """Return what the command line asks for.

    Args:
        arguments: What :func:`make_parser` made of ``build``.
        environ: The environment; SOURCE_DATE_EPOCH is all that is looked at.

    Raises:
        SpecError: The request contradicts itself, or SOURCE_DATE_EPOCH is no time.
    """
    from imgwriter.spec import Content, ImageSpec  # dataclasses and uuid are not needed for --version

    def contents(name: str) -> Sequence[Content]:
        return [Content(*words) for words in getattr(arguments, name)]

    epoch = source_date_epoch(environ)
    given = arguments.time if arguments.time is not None else epoch
    return ImageSpec(
        trees=arguments.tree,
        excludes=arguments.exclude,
        contents=contents("content"),
        content_nest=arguments.content_nest,
        overrides=arguments.overrides,
        owner=arguments.owner,
        xattrs=arguments.xattrs,
        holes=arguments.holes,
        hard_links=arguments.hard_links,
        time=1 if given is None else given,
        clamp=epoch,
        partition_table=arguments.partition_table,
        compat=arguments.compat,
        boot_end=arguments.boot_end,
        disk_size=arguments.disk_size,
        additional_space=arguments.additional_space,
        sector_size=arguments.sector_size,
        fs_type=arguments.fs_type,
        label=arguments.label,
        block_size=arguments.block_size,
        features=arguments.features,
        inodes=arguments.inodes,
        inode_ratio=arguments.inode_ratio,
        fat_type=arguments.fat_type,
        esp_contents=contents("esp_content"),
        boot_contents=contents("boot_content"),
        seed=arguments.seed,
        disk_guid=arguments.disk_guid,
        partition_guids=_by_number(arguments.partition_guid),
        disk_signature=arguments.disk_signature,
        root_uuid=arguments.root_uuid,
        hash_seed=arguments.hash_seed,
        fat_volume_id=arguments.fat_volume_id,
        output=arguments.output,
        base_name=arguments.base_name,
        format=arguments.format,
        **container_options(arguments),
        manifest=arguments.manifest,
        bmap=arguments.bmap,
        sha256=arguments.sha256,
        sync=arguments.sync,
        workers=arguments.workers,
    )


def _by_number(pairs: Sequence[tuple[int, UUID]]) -> dict[int, UUID]:
    guids: dict[int, UUID] = {}
    for number, guid in pairs:
        if number in guids:
            raise SpecError(f"partition {number} is given a GUID twice; leave one of them out")
        guids[number] = guid
    return guids
