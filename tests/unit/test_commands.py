"""The commands: what each word of the command line means, and that each is documented."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest

from imgwriter import commands, container
from imgwriter.commands.build import to_spec
from imgwriter.errors import SpecError
from imgwriter.spec import PARTITION_TABLES, Content, ImageSpec, boot, image_spec
from imgwriter.spec.nix import ROOT_VARIANTS, SIZE_FORMULAS
from imgwriter.units import GiB, MiB
from imgwriter.values import parse_content

GUID = "97FD5997-F390-0B4A-A3F8-D106C1723AEA"


def spec(*words: str, **environ: str) -> ImageSpec:
    return to_spec(commands.make_parser().parse_args(["build", "--tree", "t", *words]), environ)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a:b", ("a", "b")),
        ("a:/b:0644", ("a", "/b", "0644")),
        ("a:b::root:wheel", ("a", "b", None, "root", "wheel")),
        ("a:b:u+x,go-w:0:0", ("a", "b", "u+x,go-w", "0", "0")),
        (r"pci\:0:/sys/pci\:0", ("pci:0", "/sys/pci:0")),
        (r"back\\slash:b", ("back\\slash", "b")),
        (r"end\\:b", ("end\\", "b")),
        (r"a\b:c", (r"a\b", "c")),
        ("/etc/*.conf:/etc", ("/etc/*.conf", "/etc")),
    ],
)
def test_content(text: str, words: tuple[str | None, ...]) -> None:
    assert parse_content(text) == words


@pytest.mark.parametrize("text", ["", "a", ":b", "a:", "a:b:0644:root", "a:b:0644:root:root:x", r"a\:b"])
def test_content_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"give 2, 3 or 5 words"):
        parse_content(text)


def test_contents_become_values() -> None:
    made = spec(
        "--content", "motd:/etc/motd:0600:root:0", "--partition-table", "efi", "--esp-content", "x:/EFI"
    )
    assert made.contents == [Content("motd", "/etc/motd", "0600", "root", "0")]
    assert made.esp_contents == [Content("x", "/EFI")]


@pytest.mark.parametrize(
    ("text", "size"),
    [("auto", None), ("1200", 1200 * MiB), ("2GiB", 2 * GiB), ("512M", 512 * MiB), ("1048576B", MiB)],
)
def test_disk_size(text: str, size: int | None) -> None:
    assert spec("--disk-size", text).disk_size == size


@pytest.mark.parametrize(("text", "owner"), [("preserve", None), ("1000:100", (1000, 100)), ("0:0", (0, 0))])
def test_owner(text: str, owner: tuple[int, int] | None) -> None:
    assert spec("--owner", text).owner == owner


def test_identifiers() -> None:
    made = spec(
        *("--partition-table", "efi", "--disk-guid", GUID.lower(), "--partition-guid", f"2={GUID}"),
        *("--fat-volume-id", "c44c-7503", "--root-uuid", GUID, "--hash-seed", GUID, "--seed", "s"),
    )
    assert made.disk_guid == made.root_uuid == made.hash_seed == UUID(GUID)
    assert made.partition_guids == {2: UUID(GUID)}
    assert (made.fat_volume_id, made.seed) == (0xC44C7503, "s")
    assert spec("--disk-signature", "0xE5DA1041").disk_signature == 0xE5DA1041


@pytest.mark.parametrize(
    ("epoch", "given", "expected"),
    [
        (None, None, (1, None)),
        ("1700000000", None, (1700000000, 1700000000)),
        ("1700000000", "5", (5, 1700000000)),
        (None, "5", (5, None)),
        ("", None, (1, None)),
        ("0", None, (0, 0)),
    ],
)
def test_times(epoch: str | None, given: str | None, expected: tuple[int, int | None]) -> None:
    environ = {} if epoch is None else {"SOURCE_DATE_EPOCH": epoch}
    made = spec(*([] if given is None else ["--time", given]), **environ)
    assert (made.time, made.clamp) == expected


@pytest.mark.parametrize("epoch", ["yesterday", "-1", "1.5", " 1", "0x10", "1" * 12, "１"])
def test_a_bad_epoch_is_refused(epoch: str) -> None:
    with pytest.raises(SpecError, match="SOURCE_DATE_EPOCH"):
        spec(SOURCE_DATE_EPOCH=epoch)


@pytest.mark.parametrize(
    "words",
    [
        ["--disk-size", "big"],
        ["--owner", "root"],
        ["--owner", "1:2:3"],
        ["--time", "-1"],
        ["--root-uuid", "F222513B"],
        ["--disk-guid", "97FD5997-D90B-4AA3-8D16-C1723AEA73C"],  # nixpkgs' own, one digit short
        ["--partition-guid", GUID],
        ["--partition-guid", f"0={GUID}"],
        ["--disk-signature", "123456789"],
        ["--fat-volume-id", "12-345678"],
        ["--block-size", "4K"],
        ["--holes", "many"],
        ["--disk-siz", "12"],
        ["image.toml", "stray"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_understood_is_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        spec(*words)
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("imgwriter") and said.err.count("\n") == 1 and "--help" in said.err


def test_a_partition_guid_twice_is_refused() -> None:
    with pytest.raises(SpecError, match="partition 2 is given a GUID twice"):
        spec("--partition-guid", f"2={GUID}", "--partition-guid", f"2={GUID}")


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and those of its commands; argparse has no other way to them."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _parsers(command)


def test_every_command_says_what_runs_it() -> None:
    for parser in _parsers(commands.make_parser()):
        chooses = any(isinstance(action, argparse._SubParsersAction) for action in parser._actions)
        assert chooses != callable(parser.get_default("run")), parser.prog


def test_every_command_that_runs_shows_a_traceback_when_asked() -> None:
    running = [parser for parser in _parsers(commands.make_parser()) if parser.get_default("run")]
    without = [p.prog for p in running if not any("--debug" in a.option_strings for a in p._actions)]
    assert len(running) == 13 and without == []


def test_every_option_of_every_command_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    parsers = list(_parsers(commands.make_parser()))
    assert len(parsers) == 15
    missing = {
        f"{parser.prog} {name}"
        for parser in parsers
        for action in parser._actions
        for name in action.option_strings
        # A switch's negative goes without saying, and so does --help.
        if name not in ("-h", "--help") and not name.startswith("--no-")
        if not re.search(rf"`{name}[ ,`]", text)
    }
    assert missing == set()


def test_every_field_of_the_spec_has_an_option_and_a_line_in_the_documentation() -> None:
    parser = commands.make_parser()
    build = parser._subparsers._group_actions[0].choices["build"]  # type: ignore[union-attr,index]  # argparse has no other way
    names = {a.option_strings[0] for a in build._actions if a.option_strings} - {"-h"}
    text = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    assert [name for name in sorted(names) if f"`{name}" not in text] == []
    fields = {f"--{name.replace('_', '-')}" for name in ImageSpec.__dataclass_fields__}
    # A repeated option is singular, its field plural; --clamp is SOURCE_DATE_EPOCH, and the others are for
    # those who come from make-disk-image.nix with a file, to be told.
    singular = {name[:-1] if name.endswith("s") and name not in names else name for name in fields}
    assert singular - names == {"--clamp", "--post-vm", "--deterministic"}


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--partition-table", PARTITION_TABLES),
        ("--compat", image_spec.COMPATS),
        ("--holes", image_spec.HOLES),
        ("--hard-links", image_spec.HARD_LINKS),
        ("--sector-size", image_spec.SECTOR_SIZES),
        ("--block-size", image_spec.BLOCK_SIZES),
        ("--fat-type", image_spec.FAT_TYPES),
        ("--fs-type", image_spec.FS_TYPES),
        ("--size-formula", SIZE_FORMULAS),
        ("--root-variant", ROOT_VARIANTS),
        ("--boot-loader", boot.BOOT_LOADERS),
        ("--accel", boot.ACCELERATORS),
        ("--qemu-sandbox", boot.QEMU_SANDBOXES),
        ("--format", container.FORMATS),
        ("--qcow2-compat", container.QCOW2_COMPATS),
        ("--compression", container.COMPRESSIONS),
        ("--vhd-subformat", container.VHD_SUBFORMATS),
        ("--vdi-subformat", container.VDI_SUBFORMATS),
    ],
)
def test_an_option_takes_the_words_that_a_request_may_have(
    option: str, words: Sequence[object], capsys: pytest.CaptureFixture[str]
) -> None:
    """The parser has them a second time, since --version is too fast to import the request."""
    parser = commands.make_parser()
    field = option.removeprefix("--").replace("-", "_")
    for word in words:
        assert getattr(parser.parse_args(["build", option, str(word)]), field) == word
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["build", option, "nonsense"])
    assert caught.value.code == 2
    said = capsys.readouterr().err.partition("use one of ")[2].partition(";")[0]
    assert sorted(said.split(", ")) == sorted(map(str, words))


@pytest.mark.parametrize("option", ["--workers", "--inodes", "--inode-ratio", "--mem-size"])
def test_a_number_of_things_is_positive(option: str) -> None:
    parser = commands.make_parser()
    field = option.removeprefix("--").replace("-", "_")
    assert getattr(parser.parse_args(["build", option, "1"]), field) == 1
    for text in ("0", "-1", "", "1.5", "\N{ARABIC-INDIC DIGIT TWO}", "9" * 19):
        with pytest.raises(SystemExit) as caught:
            parser.parse_args(["build", f"{option}={text}"])
        assert caught.value.code == 2


GUEST_OPTIONS = (
    ("--vm-kernel", "k"),
    ("--vm-modules", "m"),
    ("--vm-busybox", "b"),
    ("--vm-qemu", "q"),
    ("--vm-timeout", "600"),
    ("--accel", "tcg"),
    ("--qemu-sandbox", "on"),
    ("--mem-size", "1024"),
)
FIRMWARE_OPTIONS = (("--efi-firmware", "f"), ("--efi-variables", "v"))


@pytest.mark.parametrize(("option", "value"), [*GUEST_OPTIONS, *FIRMWARE_OPTIONS])
@pytest.mark.parametrize("loader", [(), ("--boot-loader", "grub-bios")])
def test_an_option_of_a_guest_that_is_not_run_is_refused(
    option: str, value: str, loader: tuple[str, ...], tmp_path: Path
) -> None:
    """On a command line it was meant; in a file it may be for another build."""
    with pytest.raises(SpecError, match=f"^{option} is given, but no guest is run for this image"):
        spec(*loader, option, value)
    field = option.removeprefix("--").replace("-", "_")
    said = value if value.isdigit() else f'"{value}"'
    (tmp_path / "spec.toml").write_text(f'{field} = {said}\ntrees = ["t"]\n')
    spec(str(tmp_path / "spec.toml"), *loader)


@pytest.mark.parametrize(("option", "value"), GUEST_OPTIONS)
def test_an_option_of_a_guest_that_is_run(option: str, value: str) -> None:
    assert spec("--boot-command", "true", option, value).boot_choice.loader == "guest"


@pytest.mark.parametrize(("option", "value"), FIRMWARE_OPTIONS)
def test_firmware_is_for_efi_variables_alone(option: str, value: str) -> None:
    words = ("--boot-command", "true", "--partition-table", "efi", option, value)
    with pytest.raises(SpecError, match=f"^{option} is given, but no EFI variables .* --touch-efi-vars$"):
        spec(*words)
    assert spec(*words, "--touch-efi-vars").touch_efi_vars
