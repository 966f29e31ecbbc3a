"""A NixOS system from real Nix's closure becomes an image, and real Nix judges the store in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.oracles import debugfs, e2fsck
from tests.oracles.nix import Nix

pytestmark = pytest.mark.compat

FORMS = ("graph", "json", "registration", "dump-db", "closure-info", "export")


class Closure:
    """A small system in a store of its own, and what Nix says of it in each form."""

    def __init__(self, folder: Path) -> None:
        self.nix = Nix(folder)
        made = self.nix.build_closure("toplevel", "channel")
        self.toplevel, self.channel = made["toplevel"], made["channel"]
        self.paths = self.nix.requisites(self.toplevel, self.channel)
        says = folder / "says"
        says.mkdir()
        graph = self.nix.real(self.nix.build_closure("graph")["graph"])
        shutil.copy(graph / "closure", says / "graph")
        shutil.copy(graph / "closure-2", says / "graph-2")
        (says / "json").write_text(self.nix.structured_graph())
        registration, store_paths = self.nix.closure_info()
        (says / "registration").write_text(registration)
        (says / "closure-info").mkdir()
        (says / "closure-info" / "registration").write_text(registration)
        (says / "closure-info" / "store-paths").write_text(store_paths)
        (says / "dump-db").write_text(self.nix.dump_db(*self.paths))
        (says / "export").write_bytes(self.nix.export(*self.paths))
        self.says = says

    def words(self, form: str) -> list[str | Path]:
        """Return the options that give the closure in a form."""
        words: list[str | Path] = ["--closure", self.says / form]
        if form == "graph":
            words += ["--closure", self.says / "graph-2"]
        if form != "export":
            words += ["--store-root", self.nix.root]
        return words


@pytest.fixture(scope="module")
def closure(tmp_path_factory: pytest.TempPathFactory) -> Closure:
    return Closure(tmp_path_factory.mktemp("nix"))


def imgwriter(*words: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-W", "error", "-m", "imgwriter", "build", *words]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)


def build(output: Path, *words: str | Path) -> dict[str, Any]:
    common = (
        "--json",
        "--sha256",
        "--output",
        output,
        "--partition-table",
        "none",
        "--additional-space",
        "8M",
    )
    done = imgwriter(*common, *words)
    assert done.returncode == 0, done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def system(closure: Closure, output: Path, form: str, *words: str | Path) -> dict[str, Any]:
    given = ("--toplevel", closure.toplevel, "--channel", closure.channel, "--no-install-boot-loader")
    return build(output, *closure.words(form), *given, *words)


@pytest.fixture(scope="module")
def expected(closure: Closure, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The image of the system, by its registration."""
    return system(closure, tmp_path_factory.mktemp("expected"), "registration")


@pytest.fixture(scope="module")
def root(expected: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's root, as debugfs extracts it."""
    top = tmp_path_factory.mktemp("extracted") / "root"
    top.mkdir()
    image = Path(expected["image"]["path"])
    e2fsck.check(image)
    debugfs.rdump(image, "/", top)
    return top


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_image(
    form: str, closure: Closure, expected: dict[str, Any], tmp_path: Path
) -> None:
    """But for derivers, which a graph, a closureInfo and a registration of it do not tell."""
    made = system(closure, tmp_path, form)
    if form in ("dump-db", "export"):
        database = debugfs.cat(Path(made["image"]["path"]), "/nix/var/nix/db/db.sqlite")
        assert database != debugfs.cat(Path(expected["image"]["path"]), "/nix/var/nix/db/db.sqlite")
        assert made["content"] == expected["content"]
    else:
        assert made["image"]["sha256"] == expected["image"]["sha256"]


def test_nix_takes_the_store(closure: Closure, root: Path, tmp_path: Path) -> None:
    nix = Nix(tmp_path, root)
    nix.verify()
    assert nix.requisites(closure.toplevel, closure.channel) == closure.paths
    assert "current" in nix.generations("/nix/var/nix/profiles/system")
    assert "current" in nix.generations("/nix/var/nix/profiles/per-user/root/channels")


def test_nix_finds_a_file_that_is_not_as_registered(closure: Closure, root: Path, tmp_path: Path) -> None:
    """The judge objects to a damaged image."""
    damaged = tmp_path / "root"
    shutil.copytree(root, damaged, symlinks=True)
    library = next(path for path in closure.paths if path.endswith("-library-1.0"))
    file = damaged / library[1:] / "lib" / "self"
    file.chmod(0o644)
    file.write_text("found elsewhere")
    assert "was modified" in Nix(tmp_path / "nix", damaged).raw_verify().text


def test_an_optimised_store_gives_the_same_image(
    closure: Closure, expected: dict[str, Any], tmp_path: Path
) -> None:
    store = tmp_path / "host"
    shutil.copytree(closure.nix.root / "nix", store / "nix", symlinks=True)
    Nix(tmp_path / "nix", store).run("nix-store", "--optimise")
    linked = [
        file for file in (store / "nix/store").rglob("*") if file.is_file() and file.stat().st_nlink > 2
    ]
    assert linked, "the store was optimised"
    words = ["--closure", closure.says / "registration", "--store-root", store]
    words += ["--toplevel", closure.toplevel, "--channel", closure.channel, "--no-install-boot-loader"]
    assert build(tmp_path / "out", *words)["image"]["sha256"] == expected["image"]["sha256"]


@pytest.mark.parametrize("verify", [True, False])
def test_a_path_that_was_changed_is_refused_by_name(verify: bool, closure: Closure, tmp_path: Path) -> None:
    store = tmp_path / "host"
    shutil.copytree(closure.nix.root / "nix", store / "nix", symlinks=True)
    tool = next(path for path in closure.paths if path.endswith("-tool-2.0"))
    program = store / tool[1:] / "bin" / "tool"
    program.chmod(0o755)
    program.write_text("#!/bin/false\n")
    done = imgwriter(
        *("--closure", closure.says / "registration", "--store-root", store, "--toplevel", closure.toplevel),
        *("--output", tmp_path / "out", "--no-install-boot-loader", "--partition-table", "none"),
        *([] if verify else ["--no-verify-nar"]),
    )
    if verify:
        assert done.returncode == 1
        assert tool in done.stderr.decode() and "it was changed" in done.stderr.decode()
        assert not (tmp_path / "out").exists()
    else:
        assert done.returncode == 0, done.stderr.decode()


def test_a_path_that_is_not_on_the_host(closure: Closure, tmp_path: Path) -> None:
    done = imgwriter(
        "--closure", closure.says / "graph", "--store-root", tmp_path, "--output", tmp_path / "out"
    )
    assert done.returncode == 1
    assert "is in the closure, but not at" in done.stderr.decode()


def test_the_store_alone(closure: Closure, tmp_path: Path) -> None:
    made = build(tmp_path / "out", *closure.words("closure-info"), "--only-nix-store")
    top = tmp_path / "top"
    top.mkdir()
    image = Path(made["image"]["path"])
    e2fsck.check(image)
    debugfs.rdump(image, "/", top)
    names = {os.path.basename(path) for path in closure.paths}
    assert set(os.listdir(top)) - {"lost+found"} == names
    assert made["partitions"][0]["file_system"]["label"] == "nix-store"


def test_todays_nixos_install(closure: Closure, tmp_path: Path) -> None:
    made = system(closure, tmp_path / "out", "registration", "--root-variant", "install")
    top = tmp_path / "top"
    top.mkdir()
    debugfs.rdump(Path(made["image"]["path"]), "/", top)
    assert not (top / "bin").exists() and (top / "etc/NIXOS").exists()
    nix = Nix(tmp_path / "nix", top)
    nix.verify()
    assert nix.requisites(closure.toplevel, closure.channel) == closure.paths


def test_a_configuration_and_contents_go_in(closure: Closure, tmp_path: Path) -> None:
    config = tmp_path / "configuration.nix"
    config.write_text("{ }\n")
    config.chmod(0o600)
    motd = tmp_path / "motd"
    motd.write_text("hello\n")
    words = ("--config-file", config, "--content", f"{motd}:/etc/motd")
    made = system(closure, tmp_path / "out", "export", *words)
    image = Path(made["image"]["path"])
    assert debugfs.cat(image, "/etc/nixos/configuration.nix") == b"{ }\n"
    assert debugfs.cat(image, "/etc/motd") == b"hello\n"


def test_a_channel_is_made_of_a_nixpkgs(closure: Closure, tmp_path: Path) -> None:
    nixpkgs = tmp_path / "nixpkgs"
    (nixpkgs / ".git").mkdir(parents=True)
    (nixpkgs / ".git" / "HEAD").write_text("ref\n")
    (nixpkgs / ".version").write_text("25.11")
    (nixpkgs / "default.nix").write_text("{ }: { }\n")
    given = ("--toplevel", closure.toplevel, "--nixpkgs", nixpkgs, "--no-install-boot-loader")
    made = build(tmp_path / "out", *closure.words("registration"), *given)
    top = tmp_path / "top"
    top.mkdir()
    debugfs.rdump(Path(made["image"]["path"]), "/", top)
    nix = Nix(tmp_path / "nix", top)
    nix.verify()
    channel = os.readlink(top / "nix/var/nix/profiles/per-user/root/channels-1-link")
    assert channel.endswith("-nixos-25.11pre-git") and channel in nix.requisites(channel)
    assert sorted(os.listdir(top / channel[1:] / "nixos")) == [
        ".version",
        ".version-suffix",
        "default.nix",
        "nixpkgs",
    ]


def test_a_system_that_no_guest_can_boot_is_refused_with_its_remedy(closure: Closure, tmp_path: Path) -> None:
    """A toplevel asks for its boot loader, and this one's kernel is none."""
    done = imgwriter(*closure.words("export"), "--toplevel", closure.toplevel, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "/kernel is no kernel" in done.stderr.decode() and "--vm-kernel" in done.stderr.decode()
