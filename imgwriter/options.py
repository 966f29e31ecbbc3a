"""The command line of ``imgwriter build``: its declaration, and how its words become an ImageSpec.

What an argument's text means is decided here and nowhere else; whether the request makes sense is decided by
:class:`~imgwriter.spec.ImageSpec`. Defaults that are more than "not given" live there too. The module imports
nothing heavy: it is on the way to ``imgwriter --version``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn, TypeVar

from imgwriter.errors import SpecError
from imgwriter.units import parse_size

if TYPE_CHECKING:
    from uuid import UUID

    from imgwriter.spec import Content, ImageSpec

T = TypeVar("T")

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


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help whose descriptions begin in one column, near the options."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one sentence and whose exit status is 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def make_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="imgwriter",
        description="Make disk images from trees of files, without root.",
        epilog="'imgwriter build --help' lists what build takes.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    build = commands.add_parser(
        "build",
        help="make a disk image",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    for add in (
        _add_input,
        _add_disk,
        _add_file_system,
        _add_boot,
        _add_identifiers,
        _add_output,
        _add_report,
    ):
        add(build)
    return parser


def _typed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return ``parse`` with its SpecError told as argparse wants it, so that the sentence is shown."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except SpecError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


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
        type=_typed(parse_content),
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
        type=_typed(parse_owner),
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
    add(
        "--time",
        type=_typed(parse_time),
        metavar="SECONDS",
        help="the time on what imgwriter makes itself (default SOURCE_DATE_EPOCH, else 1)",
    )


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
        type=_typed(parse_disk_size),
        metavar="SIZE|auto",
        help="size of the whole disk (default auto)",
    )
    add(
        "--additional-space",
        type=_typed(lambda text: parse_size(text, "additional space")),
        metavar="SIZE",
        help="room left for files in a disk of size auto (default 512 MiB)",
    )
    add(
        "--boot-end",
        type=_typed(lambda text: parse_size(text, "boot end")),
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
        type=_typed(parse_content),
        metavar="SOURCE:TARGET",
        help="a path for the EFI system partition, as --content; a tree's own /boot stays in the root",
    )
    add(
        "--boot-content",
        action="append",
        default=[],
        type=_typed(parse_content),
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
    add("--disk-guid", type=_typed(parse_uuid), metavar="GUID", help="of a GPT")
    add(
        "--partition-guid",
        action="append",
        default=[],
        type=_typed(parse_partition_guid),
        metavar="N=GUID",
        help="of a partition of a GPT",
    )
    add("--disk-signature", type=_typed(parse_hex32), metavar="HEX", help="of an MBR, 8 digits")
    add("--root-uuid", type=_typed(parse_uuid), metavar="UUID", help="of the root file system")
    add("--hash-seed", type=_typed(parse_uuid), metavar="UUID", help="of its directory hashes")
    add(
        "--fat-volume-id",
        type=_typed(parse_hex32),
        metavar="HEX",
        help="of the first FAT file system, 8 digits",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the image").add_argument
    add(
        "--output",
        default="nixos-disk-image",
        metavar="DIR",
        help="where it goes, made when missing (default nixos-disk-image)",
    )
    add("--base-name", default="nixos", metavar="NAME", help="its name without .img (default nixos)")
    add("--format", default="raw", metavar="raw", help="the container; raw is the one there is")
    add("--manifest", metavar="FILE", help="write each extent's offset, length and path as JSON lines")
    add("--bmap", action="store_true", help="write a block map beside the image, for bmaptool")
    add("--sha256", action="store_true", help="write the image's checksum beside it")
    add("--sync", action="store_true", help="return only when the image is on the disk")
    add("--workers", type=int, metavar="N", help="processes that write (default 2)")


def _add_report(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is said").add_argument
    add("--dry-run", action="store_true", help="print the plan and write nothing")
    add("--json", action="store_true", help="print the report as JSON on standard output")
    add("--quiet", action="store_true", help="print errors and warnings alone")
    add("--debug", action="store_true", help="show a traceback with an error")


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
        manifest=arguments.manifest,
        bmap=arguments.bmap,
        sha256=arguments.sha256,
        sync=arguments.sync,
        workers=arguments.workers,
    )


def source_date_epoch(environ: dict[str, str]) -> int | None:
    """Return SOURCE_DATE_EPOCH in seconds, or None where it is not set or empty.

    Spec: reproducible-builds.org, SOURCE_DATE_EPOCH 1.1: ASCII decimal digits; a malformed value should end
    the build.

    Raises:
        SpecError: It is set to something else.
    """
    text = environ.get("SOURCE_DATE_EPOCH", "")
    return parse_time(text, "SOURCE_DATE_EPOCH") if text else None


def parse_time(text: str, what: str = "time") -> int:
    """Return the seconds since the epoch that ``text`` says, as decimal digits."""
    if not re.fullmatch(r"[0-9]{1,11}", text):
        raise SpecError(
            f"{what} {text!r} is not a time; give seconds since 1970 in decimal digits, or leave it out"
        )
    return int(text)


def parse_disk_size(text: str) -> int | None:
    """Return the bytes of ``--disk-size``; None for "auto"."""
    return None if text == "auto" else parse_size(text, "disk size")


def parse_owner(text: str) -> tuple[int, int] | None:
    """Return (uid, gid); None for "preserve"."""
    if text == "preserve":
        return None
    match = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,10})", text)
    if not match:
        raise SpecError(f"owner {text!r} is not two numbers; give UID:GID or 'preserve'")
    return int(match[1]), int(match[2])


def parse_uuid(text: str) -> UUID:
    """Return the UUID of the usual 36 characters."""
    from uuid import UUID  # imports platform, which --version need not pay for

    if not re.fullmatch(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", text):
        raise SpecError(f"{text!r} is not a UUID; give 32 hexadecimal digits as 8-4-4-4-12")
    return UUID(text)


def parse_hex32(text: str) -> int:
    """Return the number of 8 hexadecimal digits; ``0x`` before and a hyphen in the middle may be there."""
    match = re.fullmatch(r"(?:0[xX])?([0-9A-Fa-f]{1,8}|[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4})", text)
    if not match:
        raise SpecError(f"{text!r} is not a number of 32 bits; give up to 8 hexadecimal digits")
    return int(match[1].replace("-", ""), 16)


def parse_partition_guid(text: str) -> tuple[int, UUID]:
    """Return (partition number, GUID) of ``N=GUID``."""
    number, equals, guid = text.partition("=")
    if not equals or not re.fullmatch(r"[1-9][0-9]{0,2}", number):
        raise SpecError(f"{text!r} does not say which partition; give N=GUID with its number")
    return int(number), parse_uuid(guid)


def _by_number(pairs: Sequence[tuple[int, UUID]]) -> dict[int, UUID]:
    guids: dict[int, UUID] = {}
    for number, guid in pairs:
        if number in guids:
            raise SpecError(f"partition {number} is given a GUID twice; leave one of them out")
        guids[number] = guid
    return guids


def parse_content(text: str) -> tuple[str | None, ...]:
    """Return the words of ``SOURCE:TARGET[:MODE[:USER:GROUP]]``: two, three or five.

    A backslash makes the colon or backslash after it part of the word. An empty MODE is None.
    """
    words = [re.sub(r"\\([\\:])", r"\1", word) for word in re.findall(r"(?:^|:)((?:\\[\\:]|[^:])*)", text)]
    if len(words) not in (2, 3, 5) or not words[0] or not words[1]:
        raise SpecError(
            f"content {text!r} has {len(words)} of SOURCE:TARGET[:MODE[:USER:GROUP]];"
            " give 2, 3 or 5 words, with \\: for a colon in one"
        )
    source, target, *more = words
    return (source, target, *((word or None) for word in more))
