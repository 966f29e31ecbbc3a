"""A host directory as a layer: every kind of file, what is left out, and what changes meanwhile."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from imgwriter.errors import SourceChangedError, SourceError
from imgwriter.filedata import FileSlice
from imgwriter.tree import directory
from imgwriter.tree.exclude import Exclusion
from imgwriter.tree.holes import Holes
from imgwriter.tree.rules import SourceRules
from imgwriter.tree.xattrs import XattrPolicy
from tests.unit.tree.graph import at, content, shape

KEEP_OWNER = SourceRules(owner=None)
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def read(path: Path, rules: SourceRules = KEEP_OWNER):
    return directory.read(os.fsencode(path), rules)


def test_kinds_and_metadata(tmp_path):
    (tmp_path / "dir").mkdir(mode=0o2750)
    (tmp_path / "dir").chmod(0o3750)
    (tmp_path / "dir/file").write_bytes(b"hello")
    (tmp_path / "dir/file").chmod(0o4711)
    os.utime(tmp_path / "dir/file", ns=(1, 1_234_567_890_123_456_789))
    (tmp_path / "link").symlink_to("/nowhere/at all")
    os.mkfifo(tmp_path / "fifo", 0o622)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(tmp_path / "socket"))
        root = read(tmp_path)
    assert stat.S_IMODE(at(root, "dir").mode) == 0o3750
    file = at(root, "dir/file")
    assert (stat.S_IMODE(file.mode), file.size, file.mtime_ns) == (0o4711, 5, 1_234_567_890_123_456_789)
    assert (file.uid, file.gid) == (os.geteuid(), os.lstat(tmp_path / "dir/file").st_gid)
    assert content(file) == b"hello"
    assert (at(root, "link").target, at(root, "link").size) == (b"/nowhere/at all", 15)
    assert stat.S_ISFIFO(at(root, "fifo").mode)
    assert stat.S_ISSOCK(at(root, "socket").mode)
    assert not root.implicit
    assert root.origin == f"tree {tmp_path}"


@root_only
def test_devices_and_owners(tmp_path):
    os.mknod(tmp_path / "c", stat.S_IFCHR | 0o600, os.makedev(5, 300))
    os.mknod(tmp_path / "b", stat.S_IFBLK | 0o600, os.makedev(259, 70000))
    os.chown(tmp_path / "b", 4_000_000_000, 65_536)
    root = read(tmp_path)
    assert (stat.S_ISCHR(at(root, "c").mode), at(root, "c").rdev) == (True, (5, 300))
    assert (stat.S_ISBLK(at(root, "b").mode), at(root, "b").rdev) == (True, (259, 70000))
    assert (at(root, "b").uid, at(root, "b").gid) == (4_000_000_000, 65_536)
    given = at(read(tmp_path, SourceRules(owner=(7, 8))), "b")
    assert (given.uid, given.gid) == (7, 8)
    default = at(read(tmp_path, SourceRules()), "b")
    assert (default.uid, default.gid) == (0, 0)


def test_hard_links_share_an_inode_of_any_kind(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "s").symlink_to("a")
    os.mkfifo(tmp_path / "p")
    (tmp_path / "sub").mkdir()
    for name in "asp":
        os.link(tmp_path / name, tmp_path / "sub" / name, follow_symlinks=False)
    root = read(tmp_path)
    for name in "asp":
        assert at(root, name) is at(root, f"sub/{name}")


def test_names_of_any_bytes(tmp_path):
    names = {bytes([byte]) for byte in range(1, 256)} - {b".", b"/"} | {b"\xff" * 255, b".profile"}
    for name in names:
        os.mkdir(os.path.join(os.fsencode(tmp_path), name))
    assert set(read(tmp_path).entries or ()) == names


def test_no_symlink_is_followed_but_the_top(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"secret")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/out").symlink_to("../outside")
    (tmp_path / "tree/round").symlink_to(".")
    (tmp_path / "tree/loop").symlink_to("loop")
    (tmp_path / "top").symlink_to("tree")
    assert shape(read(tmp_path / "top")) == {"loop": "loop", "out": "../outside", "round": "."}


def test_excluded_directories_are_not_entered(tmp_path, monkeypatch):
    for path in ("keep/x.pyc", "keep/x.py", "cache/deep/file", "var/cache/file"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    entered = []
    scandir = os.scandir
    monkeypatch.setattr(directory.os, "scandir", lambda path: entered.append(path) or scandir(path))
    rules = SourceRules(exclude=Exclusion([b"*.pyc", b"/cache/"]))
    assert shape(read(tmp_path, rules)) == {"keep": {"x.py": b""}, "var": {"cache": {"file": b""}}}
    assert os.fsencode(tmp_path / "cache") not in entered


def test_xattrs_are_kept_by_policy(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"")
    try:
        for name in ("user.b", "user.a", "user.dropped"):
            os.setxattr(file, name, name.encode() + b"\0\xff")
    except OSError:
        pytest.skip("this file system has no user attributes")
    rules = SourceRules(xattrs=XattrPolicy.parse("default,-user.d*"))
    xattrs = at(read(tmp_path, rules), "file").xattrs
    assert list(xattrs.items()) == [(b"user.a", b"user.a\0\xff"), (b"user.b", b"user.b\0\xff")]
    assert not at(read(tmp_path, SourceRules(xattrs=XattrPolicy.parse("none"))), "file").xattrs


@root_only
def test_xattrs_of_symlinks_are_their_own(tmp_path):
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "link").symlink_to("target")
    try:
        os.setxattr(tmp_path / "link", "trusted.t", b"link", follow_symlinks=False)
    except OSError:
        pytest.skip("this file system has no trusted attributes")
    root = read(tmp_path)
    assert at(root, "link").xattrs == {b"trusted.t": b"link"}
    assert not at(root, "target").xattrs


def sparse_file(path: Path) -> None:
    """64 KiB: data, hole, data of zeros, and a hole at the end."""
    with path.open("wb") as file:
        file.write(b"x" * 16384)
        file.seek(32768)
        file.write(bytes(16384))
        file.truncate(65536)
    if path.stat().st_blocks * 512 != 32768:
        pytest.skip("this file system has no holes of 16 KiB")


@pytest.mark.parametrize(
    ("holes", "runs"),
    [
        (Holes.KEEP, ((0, 16384), (32768, 49152))),
        (Holes.FILL, None),
        (Holes.DETECT, ((0, 16384),)),
    ],
)
def test_holes(tmp_path, holes, runs):
    sparse_file(tmp_path / "sparse")
    (tmp_path / "dense").write_bytes(b"x" * 5000)
    root = read(tmp_path, SourceRules(holes=holes))
    assert at(root, "sparse").runs == runs
    assert at(root, "dense").runs is None


def test_a_file_that_is_one_hole(tmp_path):
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(1 << 40)
    inode = at(read(tmp_path), "hole")
    assert (inode.size, inode.runs) == (1 << 40, ())


def test_dense_files_are_not_opened(tmp_path, monkeypatch):
    (tmp_path / "dense").write_bytes(b"x" * 8192)
    os.sync()
    monkeypatch.setattr(FileSlice, "open", lambda self: pytest.fail("opened"))
    assert at(read(tmp_path), "dense").size == 8192


def test_what_is_no_directory(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        read(tmp_path / "missing")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceError, match="is not a directory"):
        read(tmp_path / "file")


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_unreadable_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "locked"
    if kind == "file":
        path.write_bytes(b"x")
    else:
        path.mkdir()
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("whoever has CAP_DAC_OVERRIDE, as root, reads everything")
    try:
        with pytest.raises(SourceError, match=r"locked cannot be read.*; make it readable, or exclude it"):
            read(tmp_path)
    finally:
        path.chmod(0o700)


def test_a_tree_too_deep_for_host_paths(tmp_path, monkeypatch):
    name = "d" * 200
    monkeypatch.chdir(tmp_path)
    for _ in range(25):
        os.mkdir(name)
        os.chdir(name)
    with pytest.raises(SourceError, match=r"File name too long.*hand so deep a tree in as a tar"):
        read(tmp_path)
    shutil.rmtree(tmp_path / name)  # by descriptors, which pytest's own cleaning might not use


class _Meddling:
    """os.listxattr, with something done to the tree when it comes to a path."""

    def __init__(self, path: Path, action) -> None:
        self.path, self.action, self.real = os.fsencode(path), action, os.listxattr

    def __call__(self, path, *, follow_symlinks):
        if path == self.path:
            self.action()
        return self.real(path, follow_symlinks=follow_symlinks)


@pytest.mark.parametrize("action", ["add", "remove", "rename"])
def test_a_tree_that_changes_while_it_is_read(tmp_path, monkeypatch, action):
    sub = tmp_path / "sub"
    sub.mkdir()
    (sub / "file").write_bytes(b"x")
    os.utime(sub, ns=(0, 0))
    actions = {
        "add": lambda: (sub / "other").write_bytes(b""),
        "remove": (sub / "file").unlink,
        "rename": lambda: sub.rename(tmp_path / "gone"),
    }
    monkeypatch.setattr(directory.os, "listxattr", _Meddling(sub / "file", actions[action]))
    with pytest.raises(SourceChangedError, match="build again when nothing writes to it") as caught:
        read(tmp_path)
    assert caught.value.path.startswith(os.fsencode(sub))


def test_read_entry_takes_any_kind_as_itself(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert content(directory.read_entry(os.fsencode(tmp_path / "file"), KEEP_OWNER)) == b"x"
    assert directory.read_entry(os.fsencode(tmp_path / "link"), KEEP_OWNER).target == b"file"
    assert shape(directory.read_entry(os.fsencode(tmp_path), KEEP_OWNER)) == {"file": b"x", "link": "file"}
    with pytest.raises(SourceError, match="does not exist"):
        directory.read_entry(os.fsencode(tmp_path / "none"), KEEP_OWNER)
