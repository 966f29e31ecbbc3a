"""The recipe: what is asked of whom, in which order; sizes; what a plan says of itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import imgwriter
from imgwriter import Content, ImageSpec, build_image, plan_image, write_image
from imgwriter.errors import CapacityError, OutputError, SourceError, SpecError
from imgwriter.filedata import Amount
from imgwriter.spec import PARTITION_TABLES, HostPath
from imgwriter.units import GiB, MiB, TiB


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "file").write_bytes(bytes(range(256)) * 64)
    return root


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "made" / "for" / "it"


def spec(tree: Path, **given: Any) -> ImageSpec:
    return ImageSpec(**{"trees": [tree], "additional_space": 0, "output": tree.parent / "out", **given})


def test_the_public_names_are_there() -> None:
    for name in imgwriter.__all__:
        assert getattr(imgwriter, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = imgwriter.absent


def test_a_plan_writes_nothing_and_a_volume_is_the_disk(tree: Path) -> None:
    plan = plan_image(spec(tree, partition_table="efi"))
    assert not (tree.parent / "out").exists()
    volume = plan.volume()
    assert volume.size == plan.layout.disk_size
    assert [f.partition.role for f in plan.file_systems] == ["esp", "root"]


@pytest.mark.parametrize("table", PARTITION_TABLES)
def test_auto_is_the_least_number_of_mib(table: str, tree: Path) -> None:
    size = plan_image(spec(tree, partition_table=table)).layout.disk_size
    fixed = {"partition_table": table, "additional_space": None}
    assert plan_image(spec(tree, disk_size=size, **fixed)).layout.disk_size == size
    with pytest.raises(CapacityError):
        plan_image(spec(tree, disk_size=size - MiB, **fixed))


@pytest.mark.parametrize("space", [0, 1, MiB - 1, MiB, 100 * MiB])
def test_additional_space_is_free_for_files(space: int, tree: Path) -> None:
    (file_system,) = plan_image(spec(tree, additional_space=space)).file_systems
    assert file_system.plan.free >= space


def test_additional_space_is_512_mib_unless_said(tree: Path) -> None:
    """Source: current nixpkgs' make-disk-image.nix, additionalSpace ? "512M"."""
    (file_system,) = plan_image(spec(tree, additional_space=None)).file_systems
    assert 512 * MiB <= file_system.plan.free < 514 * MiB


def test_a_disk_of_16_tib_is_planned_in_no_space(tree: Path) -> None:
    largest = 16 * TiB - MiB  # the largest file, in whole MiB, that ext4 holds
    plan = plan_image(spec(tree, disk_size=largest, additional_space=None, partition_table="efi"))
    assert plan.volume().allocated < GiB


def test_what_does_not_fit_names_the_place_and_the_largest(tree: Path) -> None:
    (tree / "large").write_bytes(bytes(range(256)) * (64 << 12))
    with pytest.raises(CapacityError, match=r"partition 1 'root': ext4 needs") as caught:
        plan_image(spec(tree, disk_size=16 * MiB, additional_space=None))
    assert caught.value.available == 14 * MiB < caught.value.needed
    assert caught.value.largest[0] == (64 * MiB, b"large")


def test_the_table_is_refused_before_the_tree_is_read(tree: Path) -> None:
    with pytest.raises(SpecError, match="boot end"):
        plan_image(spec(tree / "absent", boot_end=300 * MiB))
    with pytest.raises(SourceError, match="absent"):
        plan_image(spec(tree / "absent"))


def test_a_manifest_that_cannot_be_made_is_refused_first(tree: Path) -> None:
    for path in (tree / "absent" / "manifest", tree):
        with pytest.raises(OutputError, match="manifest"):
            plan_image(spec(tree, manifest=path))


def test_what_is_no_regular_file_is_not_written_to(tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in ("/dev/null", "/dev/stdout", tmp_path / "fifo"):
        with pytest.raises(OutputError, match=r"manifest .*is not a regular file"):
            plan_image(spec(tree, manifest=path))


@pytest.mark.parametrize("suffix", ["", ".bmap", ".sha256"])
def test_a_directory_where_a_file_is_to_be_is_refused_first(suffix: str, tree: Path, out: Path) -> None:
    (out / f"nixos.img{suffix}").mkdir(parents=True)
    with pytest.raises(OutputError, match="is a directory"):
        plan_image(spec(tree, output=out, bmap=True, sha256=True))


def test_a_manifest_is_not_the_image(tree: Path, out: Path) -> None:
    out.mkdir(parents=True)
    (out.parent / "link").symlink_to("it")
    for name in ("nixos.img", "nixos.img.bmap", "nixos.img.sha256", "../link/nixos.img"):
        with pytest.raises(OutputError, match="is the image or a file beside it"):
            plan_image(spec(tree, output=out, manifest=out / name))


# Identifiers


def test_identifiers_derive_from_the_seed_and_are_stable(tree: Path) -> None:
    first, again, other = (
        plan_image(spec(tree, partition_table="efixbootldr", seed=seed)) for seed in (None, "imgwriter", "x")
    )
    assert [f.uuid for f in first.file_systems] == [f.uuid for f in again.file_systems]
    everything = [f.uuid for plan in (first, other) for f in plan.file_systems]
    assert len(set(everything)) == 6


def test_nixpkgs_has_its_own_root_uuid_for_ext4_alone(tree: Path) -> None:
    """Source: current nixpkgs' make-disk-image.nix: rootFSUID is rootGPUID when fsType is ext4, else null."""
    nixpkgs = "f222513b-ded1-49fa-b591-20ce86a2fe7f"
    given = {"partition_table": "none", "compat": "nixpkgs"}
    assert plan_image(spec(tree, **given)).file_systems[0].uuid == nixpkgs
    assert plan_image(spec(tree, fs_type="ext3", **given)).file_systems[0].uuid != nixpkgs
    asked = UUID(int=7 << 64)
    assert plan_image(spec(tree, root_uuid=asked, **given)).file_systems[0].uuid == str(asked)


def test_a_fat_volume_id_is_that_of_the_first_fat(tree: Path) -> None:
    given = {"fat_volume_id": 0x1234ABCD}
    esp, boot, _ = plan_image(spec(tree, partition_table="efixbootldr", **given)).file_systems
    assert esp.uuid == "1234-ABCD" != boot.uuid
    boot, _ = plan_image(spec(tree, partition_table="legacy+boot", **given)).file_systems
    assert boot.uuid == "1234-ABCD"
    (root,) = plan_image(spec(tree, partition_table="none", fs_type="vfat", **given)).file_systems
    assert root.uuid == "1234-ABCD"


# Writing


def test_progress_ends_at_all_of_it(tree: Path, out: Path) -> None:
    seen: list[tuple[Amount, Amount]] = []
    result = build_image(spec(tree, output=out), lambda done, total: seen.append((done, total)))
    done, total = seen[-1]
    assert done == total == (result.allocated, total.files) and total.files > 0
    assert [done.bytes for done, _ in seen] == sorted(done.bytes for done, _ in seen)


def test_directories_are_made_and_named_by_any_bytes(tree: Path, out: Path) -> None:
    output = os.fsencode(out) + b"/\xff"
    result = build_image(spec(tree, output=output, base_name="\udcfe"))
    assert result.path == output + b"/\xfe.img" and os.path.exists(result.path)


def test_directories_that_were_made_go_when_it_fails(tree: Path, out: Path) -> None:
    out.parent.parent.mkdir()
    plan = plan_image(spec(tree, output=out))
    (tree / "file").unlink()
    with pytest.raises(SourceError):
        write_image(plan)
    assert list(out.parent.parent.iterdir()) == []


def test_nothing_is_written_where_a_file_beside_the_image_cannot_be(tree: Path, out: Path) -> None:
    """Nobody makes files in /proc, and nobody finds out before trying: root may, by its mode."""
    plan = plan_image(spec(tree, output=out, manifest="/proc/manifest", sha256=True))
    with pytest.raises(OutputError, match="/proc/manifest: cannot be written"):
        write_image(plan)
    assert not out.parent.parent.exists()
    build_image(spec(tree, output=out))
    before = (out / "nixos.img").stat()
    with pytest.raises(OutputError, match="/proc/manifest: cannot be written"):
        write_image(plan)
    assert (out / "nixos.img").stat() == before and os.listdir(out) == ["nixos.img"]


def test_the_image_gets_its_name_last(tree: Path, out: Path) -> None:
    """A directory that appears meanwhile keeps one file from its name: the image is as it was."""
    build_image(spec(tree, output=out))
    before = (out / "nixos.img").stat()
    plan = plan_image(spec(tree, output=out, sha256=True))
    with pytest.raises(OutputError, match=r"nixos.img.sha256: cannot be written"):
        write_image(plan, lambda done, total: (out / "nixos.img.sha256").mkdir(exist_ok=True))
    assert (out / "nixos.img").stat() == before


def test_a_file_where_the_directory_should_be_is_refused(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    for output in (tmp_path / "plain", tmp_path / "plain" / "below"):
        with pytest.raises(OutputError, match="the directory cannot be made"):
            build_image(spec(tree, output=output))


def test_paths_may_be_relative_and_of_any_kind(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree.parent)
    kinds: tuple[HostPath, ...] = ("tree", b"tree", Path("tree"))
    for path in kinds:
        result = build_image(ImageSpec(trees=[path], additional_space=0, output=""))
        assert result.path == b"nixos.img"
    contents = [Content(path, f"/{n}") for n, path in enumerate(kinds)]
    assert plan_image(ImageSpec(contents=contents)).inventory.names == 6


def test_an_earlier_image_in_the_tree_is_warned_of(tree: Path) -> None:
    given = spec(tree, output=tree / "out")
    assert plan_image(given).warnings == ()
    build_image(given)
    (warning,) = plan_image(given).warnings
    assert "made by an earlier build" in warning and "exclude it" in warning


def test_files_beside_an_earlier_image_are_told_to_be_stale(tree: Path, out: Path) -> None:
    build_image(spec(tree, output=out, sha256=True, bmap=True))
    assert plan_image(spec(tree, output=out, sha256=True, bmap=True)).warnings == ()
    warnings = plan_image(spec(tree, output=out, bmap=True)).warnings
    assert len(warnings) == 1 and "nixos.img.sha256 is of the image that is there now" in warnings[0]
