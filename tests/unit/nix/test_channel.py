"""nix.channel: what of a nixpkgs becomes a channel, and the store path it gets."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from imgwriter.errors import SourceError
from imgwriter.nix.channel import read_channel, store_path_of
from imgwriter.nix.nar import nar_hash
from tests.unit.tree.graph import at, shape

# `nix-store --add hello`, `nix-hash --type sha256 hello` (Nix 2.8.0): a directory with a file f, "hello\n".
HELLO_NAR = bytes.fromhex("f28d0305bd3213e75b2f20def398463cf8668df9c9e58155e6b34b97ea67ad29")
HELLO = b"/nix/store/gh64llfwy32pj3357vy7m1wyv5zms580-hello"


def nixpkgs(top: Path) -> Path:
    """Make what is left of a nixpkgs, and what is left out of it."""
    for name in ("lib", "pkgs/CVS", "pkgs/.svn", ".hg", ".git/objects"):
        (top / name).mkdir(parents=True)
    kept = {".version": "23.11\n", "default.nix": "{ }", "lib/result.nix": "1", "lib/.swx1": "", "pkgs/o": ""}
    # Version control is told by its type too, but for .git, and results are symlinks.
    kept |= {"lib/CVS": "", "lib/.svn": "", "lib/.hg": "", "result-notes": ""}
    left_out = (
        "lib/a~",
        "lib/.swp",
        "lib/.default.nix.swo",
        "lib/x.o",
        "lib/x.so",
        ".git/config",
        "lib/.git",
        "~",
    )
    for name, text in {**kept, **dict.fromkeys(left_out, "no")}.items():
        (top / name).write_text(text)
    (top / "pkgs/build.sh").write_text("#!/bin/sh\n")
    (top / "pkgs/build.sh").chmod(0o755)
    (top / "pkgs/link").symlink_to("../lib")
    (top / "result").symlink_to("/nix/store/x")
    (top / "lib/result-dev").symlink_to("/nix/store/y")
    os.mkfifo(top / "lib/fifo")
    return top


def test_the_tree_of_a_channel(tmp_path: Path) -> None:
    found = read_channel(os.fsencode(nixpkgs(tmp_path)), b".git.0123abc")
    assert shape(found.tree) == {
        "nixos": {
            ".version": b"23.11\n",
            ".version-suffix": b".git.0123abc",
            "default.nix": b"{ }",
            "lib": {"result.nix": b"1", ".swx1": b"", "CVS": b"", ".svn": b"", ".hg": b""},
            "nixpkgs": ".",
            "pkgs": {"build.sh": b"#!/bin/sh\n", "link": "../lib", "o": b""},
            "result-notes": b"",
        }
    }
    assert found.info.path.endswith(b"-nixos-23.11.git.0123abc")
    assert found.info.references == () and found.info.deriver is None
    assert (found.info.nar_hash, found.info.nar_size) == nar_hash(found.tree)


@pytest.mark.parametrize(
    ("said", "suffix", "name"),
    [
        (None, None, b"-nixos-23.11pre-git"),
        ("pre1.abc\n", None, b"-nixos-23.11pre1.abc"),
        ("pre1", b"", b"-nixos-23.11"),
    ],
)
def test_the_version_of_a_channel(
    said: str | None, suffix: bytes | None, name: bytes, tmp_path: Path
) -> None:
    top = nixpkgs(tmp_path)
    if said is not None:
        (top / ".version-suffix").write_text(said)
    found = read_channel(os.fsencode(top), suffix)
    assert found.info.path.endswith(name)
    assert shape(at(found.tree, "nixos/.version-suffix")) == name.removeprefix(b"-nixos-23.11")


def test_the_version_may_be_a_symlink_as_in_newer_nixpkgs(tmp_path: Path) -> None:
    top = nixpkgs(tmp_path)
    (top / ".version").rename(top / "lib/.version")
    (top / ".version").symlink_to("lib/.version")
    assert read_channel(os.fsencode(top)).info.path.endswith(b"-nixos-23.11pre-git")


def test_a_nixpkgs_in_nixpkgs_stays(tmp_path: Path) -> None:
    top = nixpkgs(tmp_path)
    (top / "nixpkgs").mkdir()
    assert shape(at(read_channel(os.fsencode(top)).tree, "nixos/nixpkgs")) == {}


def test_names_and_hosts_do_not_show(tmp_path: Path) -> None:
    one, two = nixpkgs(tmp_path / "one"), nixpkgs(tmp_path / "two")
    os.utime(two / "default.nix", (5, 5))
    (two / "default.nix").chmod(0o600)
    (two / ".git" / "more").write_text("more")
    with socket.socket(socket.AF_UNIX) as listener:
        # A socket's path has 107 bytes at most; a descriptor's name is short.
        descriptor = os.open(two, os.O_PATH)
        listener.bind(f"/proc/self/fd/{descriptor}/socket")
        os.close(descriptor)
    assert read_channel(os.fsencode(one)).info == read_channel(os.fsencode(two)).info


@pytest.mark.parametrize("version", [None, "../..", "a b", "", "x" * 300])
def test_what_is_no_nixpkgs_is_refused(version: str | None, tmp_path: Path) -> None:
    top = nixpkgs(tmp_path)
    (top / ".version").unlink()
    if version is not None:
        (top / ".version").write_text(version)
    if version == "":  # a name of its own: nixos-pre-git
        assert read_channel(os.fsencode(top)).info.path.endswith(b"-nixos-pre-git")
        return
    with pytest.raises(SourceError, match=r"has no file \.version; give a nixpkgs|no store path"):
        read_channel(os.fsencode(top))


def test_store_path_of_a_tree() -> None:
    assert store_path_of(HELLO_NAR, b"hello") == HELLO


@pytest.mark.parametrize("name", [b"", b"..", b"a/b", b"x" * 212])
def test_names_that_no_store_path_has(name: bytes) -> None:
    with pytest.raises(SourceError):
        store_path_of(HELLO_NAR, name)
    assert store_path_of(HELLO_NAR, b"x" * 211).endswith(b"-" + b"x" * 211)
