"""Spec files: what a key's value becomes, what is refused, and that options go before the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import imgwriter
from imgwriter import commands
from imgwriter.commands.build import to_spec
from imgwriter.errors import SourceError, SpecError
from imgwriter.spec import Content, ImageSpec
from imgwriter.spec.file import read_fields, read_spec
from imgwriter.spec.schema import KEYS
from imgwriter.units import GiB, KiB, MiB

GUID = "97FD5997-F390-0B4A-A3F8-D106C1723AEA"
TOPLEVEL = "/nix/store/0p1cg7g7n9s1jvpxmk5ylv3wmpvqbpgl-nixos-system"
EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write a spec file and return its path."""

    def write(text: str | dict[str, Any], name: str = "image.toml") -> Path:
        path = tmp_path / ("image.json" if isinstance(text, dict) else name)
        path.write_text(json.dumps(text) if isinstance(text, dict) else text)
        return path

    return write


# What a value becomes


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("disk_size", 1200, "disk_size", 1200 * MiB),
        ("diskSize", 1200, "disk_size", 1200 * MiB),
        ("diskSize", "1200", "disk_size", 1200 * MiB),
        ("disk_size", "2GiB", "disk_size", 2 * GiB),
        ("diskSize", "auto", "disk_size", None),
        ("additional_space", 64, "additional_space", 64 * MiB),
        ("additional_space", "64KiB", "additional_space", 64 * KiB),
        # As numfmt --from=iec prints them (coreutils 9.1).
        ("additionalSpace", "512M", "additional_space", 536870912),
        ("additionalSpace", "1.5G", "additional_space", 1610612736),
        ("additionalSpace", "0.3K", "additional_space", 308),
        ("bootSize", "268435456", "boot_end", 268435456),
        ("boot_end", 300, "boot_end", 300 * MiB),
        ("cluster_size", 65536, "cluster_size", 65536),
        ("clusterSize", "64KiB", "cluster_size", 65536),
        ("partitionTableType", "efi", "partition_table", "efi"),
        ("partition_table", "efi", "partition_table", "efi"),
        ("fsType", "ext2", "fs_type", "ext2"),
        ("rootFSUID", GUID, "root_uuid", UUID(GUID)),
        ("rootGPUID", GUID.lower(), "root_gpuid", UUID(GUID)),
        ("diskGUID", GUID, "disk_guid", UUID(GUID)),
        ("partition_guids", {"2": GUID}, "partition_guids", {2: UUID(GUID)}),
        ("disk_signature", "E5DA1041", "disk_signature", 0xE5DA1041),
        ("fatVolumeID", "C44C-7503", "fat_volume_id", 0xC44C7503),
        ("owner", "preserve", "owner", None),
        ("owner", "1000:100", "owner", (1000, 100)),
        ("nixVersion", "2.18.1", "nix_version", (2, 18)),
        ("memSize", 2048, "mem_size", 2048),
        ("postVM", "echo", "post_vm", "echo"),
        ("touchEFIVars", True, "touch_efi_vars", True),
        ("onlyNixStore", False, "only_nix_store", False),
        ("installBootLoader", False, "install_boot_loader", False),
        ("additionalPaths", [TOPLEVEL], "additional_paths", [TOPLEVEL]),
        ("excludes", "*.o", "excludes", ["*.o"]),
    ],
)
@pytest.mark.parametrize("language", ["toml", "json"])
def test_values(key: str, value: Any, field: str, expected: object, language: str, write: Any) -> None:
    # A text, number, list or table of these kinds is written alike in both languages.
    toml = f"{key} = {json.dumps(value).replace(': ', ' = ')}"
    path = write({key: value} if language == "json" else toml)
    assert read_fields(path) == {field: expected}


def test_relative_paths_are_relative_to_the_file(write: Any, tmp_path: Path) -> None:
    fields = read_fields(
        write(
            {
                "trees": ["rootfs", "/abs", "-"],
                "closure": "c",
                "configFile": "../x.nix",
                "output": "out",
                "overrides": "o",
                "manifest": "m",
                "storeRoot": "/",
                "nixpkgs": ".",
                "contents": [{"source": "a*/", "target": "/a"}, {"source": "/b", "target": "b"}],
            }
        )
    )
    at = str(tmp_path)
    assert fields["trees"] == [f"{at}/rootfs", "/abs", "-"]
    assert fields["closures"] == [f"{at}/c"] and fields["config_file"] == f"{at}/../x.nix"
    assert (fields["output"], fields["overrides"]) == (f"{at}/out", f"{at}/o")
    assert (fields["manifest"], fields["store_root"]) == (f"{at}/m", "/")
    assert fields["contents"] == [Content(f"{at}/a*/", "/a"), Content("/b", "b")]


def test_standard_output_is_not_a_path(write: Any) -> None:
    assert read_fields(write("output = '-'")) == {"output": "-"}


def test_null_is_not_given(write: Any) -> None:
    content = {"source": "/a", "target": "/b", "mode": None, "user": None, "group": None}
    assert read_fields(write({"configFile": None, "label": None, "contents": [content]})) == {
        "contents": [Content("/a", "/b")]
    }


def test_the_schema_key_is_read_over(write: Any) -> None:
    assert read_fields(write({"$schema": "imgwriter.json", "label": "x"})) == {"label": "x"}


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.toml", "label = 'x'"), ("a.json", '{"label": "x"}'), ("a", "label = 'x'"), ("a", ' {"label": "x"}')],
)
def test_the_name_or_the_content_tells_the_language(name: str, text: str, write: Any) -> None:
    assert read_fields(write(text, name)) == {"label": "x"}


def test_a_name_that_is_no_utf8_in_json(write: Any) -> None:
    assert read_fields(write('{"trees": "/\\udcff"}', "a.json")) == {"trees": ["/\udcff"]}


# What is refused


REFUSED: list[tuple[str, str]] = [
    ("diskSiz = 3", "the key 'diskSiz' is unknown; do you mean 'diskSize'?"),
    ("disksize = 3", "do you mean 'disk"),
    ("nonsense = 3", "the key 'nonsense' is unknown; leave it out"),
    ("imageSize = 3", "the key 'imageSize' is unknown; do you mean"),
    ("q = 3", "the key 'q' is unknown; leave it out"),
    ("diskSize = 3\ndisk_size = 3", "diskSize and disk_size say the same; leave one of them out"),
    ("tree = 'a'\ntrees = 'a'", "tree and trees say the same"),
    ("disk_size = 1.5", "disk_size is the number 1.5; give a number of MiB, a text such as"),
    ("disk_size = true", "disk_size is the boolean true; give"),
    ("disk_size = -1", "disk_size is the number -1; give"),
    ("disk_size = 'big'", "disk_size: size 'big' is not a size"),
    ("bootSize = 256", 'bootSize is the number 256; give a text such as "512M"'),
    ("additionalSpace = 'a lot'", "additionalSpace: 'a lot' is not a size"),
    ("label = 5", "label is the number 5; give a text"),
    ("label = [1]", "label is a list; give a text"),
    ("label = 1979-05-27", "label is a date; give a text"),
    ("format = ['raw']", "format is a list; give one of raw, qcow2"),
    ("bmap = 'yes'", "bmap is the text 'yes'; give true or false"),
    ("bmap = 1", "bmap is the number 1; give true or false"),
    ("inodes = '5'", "inodes is the text '5'; give a number"),
    ("inodes = true", "inodes is the boolean true"),
    ("sector_size = '512'", "sector_size is the text '512'; give one of 512, 4096"),
    ("trees = {}", "trees is a table; give a list of paths"),
    ("trees = ['a', 1]", "trees[1] is the number 1; give a path"),
    ("contents = {}", "contents is a table; give a list of tables"),
    ("contents = ['a:b']", "contents[0] is the text 'a:b'; give a table with source and target"),
    ("contents = [{source = 'a', target = 'b', mod = '1'}]", "the unknown key 'mod'; do you mean 'mode'?"),
    ("contents = [{source = 'a', target = 'b', mode = 0o644}]", "contents[0].mode is the number 420; give a"),
    ("contents = [{target = 'b'}]", "contents[0] has no source; give source and target"),
    ("contents = [{source = 'a', target = ''}]", "contents[0] has no target"),
    ("root_uuid = 'F222513B'", "root_uuid: 'F222513B' is not a UUID"),
    ("partition_guids = {x = 'a'}", "partition_guids has 'x', no number of a partition"),
    (f"partition_guids = {{01 = '{GUID}'}}", "partition_guids has '01'"),
    (f"partition_guids = ['{GUID}']", "partition_guids is a list; give a table of GUIDs by partition number"),
    ("partition_guids = {1 = 5}", "partition_guids.1 is the number 5"),
    ("owner = [0, 0]", 'owner is a list; give "UID:GID" or "preserve"'),
    ("nix_version = 2.18", "nix_version is the number 2.18; give a text such as"),
    ("nix_version = 'two'", "nix_version: 'two' is not a version"),
    ('label = "a\\u0000"', "with a NUL character"),
    ("label", "is not TOML: "),
    ("a = 1\na = 2", "is not TOML: "),
]


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=[text for text, _ in REFUSED])
def test_refuses(text: str, words: str, write: Any) -> None:
    path = write(text)
    with pytest.raises(SpecError) as caught:
        read_fields(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and words in message
    assert "; " in message and "\n" not in message and not message.endswith(".")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "is a list; give a table of settings"),
        ("{", "is not JSON: "),
        ('{"label": "a", "label": "b"}', "the key 'label' is there twice"),
        ('{"contents": [{"source": "a", "source": "b"}]}', "the key 'source' is there twice"),
        ('{"inodes": NaN}', "is not JSON: NaN is no number of JSON's"),
        ('{"inodes": 1e400}', "inodes is the number inf"),
        ('{"label": "\\ud800"}', "which no UTF-8 says"),
        ('{"inodes": ' + "1" * 5000 + "}", "is not JSON: "),
        ("[" * 100_000, "is nested too deeply"),
        ('{"a":' * 100_000, "is nested too deeply"),
    ],
    ids=range(10),
)
def test_refuses_json(text: str, words: str, write: Any) -> None:
    with pytest.raises(SpecError) as caught:
        read_fields(write(text, "image.json"))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_toml_that_is_nested_too_deeply(write: Any) -> None:
    with pytest.raises(SpecError, match="is nested too deeply"):
        read_fields(write("a = " + "[" * 100_000))


def test_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "image.toml"
    path.write_bytes(b"label = '\xff'")
    with pytest.raises(SpecError, match="has no UTF-8 at offset 9; save it as UTF-8"):
        read_fields(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"the spec file .* cannot be read: .*; name a TOML or JSON file"):
        read_fields(tmp_path / "missing.toml")


def test_a_tree_in_the_place_of_a_spec_file_is_told_how_it_is_given(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a directory, not a spec file; to put it in, give it as --tree"):
        read_fields(tmp_path)


def test_an_image_in_the_place_of_a_spec_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"")
    os.truncate(path, 64 << 20)  # a hole: zeros are UTF-8
    with pytest.raises(SpecError, match="is not TOML"):
        read_fields(path)
    os.truncate(path, (64 << 20) + 1)
    with pytest.raises(SpecError, match="has more than 64 MiB, which is no spec file; give a tar as --tree"):
        read_fields(path)
    with pytest.raises(SpecError, match="has more than 64 MiB"):
        read_fields("/dev/zero")


# The file, the command line and Python say the same


def arguments(*words: str | Path, **environ: str) -> ImageSpec:
    return to_spec(commands.make_parser().parse_args(["build", *map(str, words)]), environ)


def test_a_file_is_what_its_options_are(write: Any) -> None:
    path = write(
        f"""
        trees = ["/base.tar", "/overlay"]
        partition_table = "efi"
        boot_end = 300
        disk_size = "4GiB"
        contents = [{{ source = "/motd", target = "/etc/motd", mode = "0600", user = "root", group = "0" }}]
        partition_guids = {{ 2 = "{GUID}" }}
        format = "vpc"
        force_size = true
        owner = "preserve"
        sha256 = true
        """
    )
    words = [
        *("--tree", "/base.tar", "--tree", "/overlay", "--partition-table", "efi", "--boot-end", "300"),
        *("--disk-size", "4GiB", "--content", "/motd:/etc/motd:0600:root:0", "--partition-guid", f"2={GUID}"),
        *("--format", "vpc", "--force-size", "--owner", "preserve", "--sha256"),
    ]
    assert arguments(path) == arguments(*words) == read_spec(path)


def test_options_go_before_the_file(write: Any) -> None:
    path = write("tree = '/a'\ndisk_size = 100\nbmap = true\nlabel = 'x'\nsync = true\nowner = '1:1'")
    made = arguments("--no-bmap", path, "--disk-size", "auto", "--tree", "/b", "--owner", "preserve")
    assert (made.trees, made.disk_size, made.bmap, made.owner) == (["/b"], None, False, None)
    assert (made.label, made.sync) == ("x", True)
    assert read_spec(path, label="y").label == "y"


@pytest.mark.parametrize("place", range(4))
def test_the_file_stands_anywhere_among_the_options(place: int, write: Any) -> None:
    words: list[str | Path] = ["--tree", "/a", "--sync", "--quiet"]
    words.insert(max(place, 2) if place else 0, write("label = 'x'"))
    assert arguments(*words).label == "x"


def test_times(write: Any) -> None:
    path = write("tree = '/a'\ntime = 7\nclamp = 9")
    assert (arguments(path).time, arguments(path, "--time", "5").time) == (7, 5)
    made = arguments(path, SOURCE_DATE_EPOCH="1700000000")
    assert (made.time, made.clamp) == (7, 9)
    made = arguments(write("tree = '/a'"), SOURCE_DATE_EPOCH="1700000000")
    assert (made.time, made.clamp) == (1700000000, 1700000000)


def test_what_file_and_options_say_together_must_make_sense(write: Any) -> None:
    path = write("tree = '/a'\ndisk_size = 100")
    with pytest.raises(SpecError, match="has no meaning with the fixed disk size"):
        arguments(path, "--additional-space", "5")


def test_every_field_has_a_key() -> None:
    assert {key.name for key in KEYS} == set(ImageSpec.__dataclass_fields__)
    names = [name for key in KEYS for name in key.spellings]
    assert len(names) == len(set(names))


def test_every_parameter_of_make_disk_image_is_a_key() -> None:
    """Source: make-disk-image.nix, its author's and current nixpkgs'; less a Nix expression's own."""
    parameters = (
        "diskSize additionalSpace bootSize contents partitionTableType installBootLoader touchEFIVars fsType"
        " label configFile postVM memSize onlyNixStore name format baseName deterministic rootGPUID rootFSUID"
        " copyChannel additionalPaths"
    )
    names = {name for key in KEYS for name in key.spellings}
    assert set(parameters.split()) <= names


def test_every_key_has_a_line_in_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "spec-file.md").read_text()
    missing = [name for key in KEYS for name in key.spellings if f"`{name}`" not in text]
    assert missing == []


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.[tj][os][mo][ln]")), ids=lambda path: path.name)
def test_examples_are_read(path: Path) -> None:
    assert imgwriter.read_spec(path).trees or read_spec(path).toplevel


def test_an_example_is_planned() -> None:
    plan = imgwriter.plan_image(read_spec(EXAMPLES / "efi.toml"))
    assert [each.label for each in plan.file_systems] == ["ESP", "example"]
