"""All of what goes in, put together."""

from __future__ import annotations

import gc
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from imgwriter.errors import SourceError, SpecError
from imgwriter.tree.contents import Content
from imgwriter.tree.scan import TreeRequest, scan
from tests.unit.tree.graph import at, shape


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "tree/usr/bin").mkdir(parents=True)
    (tmp_path / "tree/bin").symlink_to("usr/bin")
    (tmp_path / "tree/usr/bin/sh").write_bytes(b"old")
    (tmp_path / "tree/skip").write_bytes(b"")
    with tarfile.open(tmp_path / "layer.tar", "w") as archive:
        member = tarfile.TarInfo("bin/sh")
        member.size, member.mtime, member.uid = 3, 2_000_000_000, 77
        archive.addfile(member, io.BytesIO(b"new"))
    (tmp_path / "over").write_bytes(b"/dev/null c 666 0 0 1 3\n")
    return tmp_path


def test_everything_at_once(host):
    found = scan(
        TreeRequest(
            trees=[os.fsencode(host / "tree"), os.fsencode(host / "layer.tar")],
            excludes=[b"skip"],
            contents=[Content(os.fspath(host / "over"), "/etc/over")],
            overrides=os.fsencode(host / "over"),
            time=1000,
            clamp=1_500_000_000,
        )
    )
    root = found.inventory.root
    null = at(root, "dev/null")
    assert shape(root) == {
        "bin": "usr/bin",
        "dev": {"null": null},
        "etc": {"over": b"/dev/null c 666 0 0 1 3\n"},
        "usr": {"bin": {"sh": b"new"}},
    }
    assert (null.rdev, null.mtime_ns) == ((1, 3), 1000 * 10**9)
    assert (at(root, "usr/bin/sh").uid, at(root, "usr/bin/sh").mtime_ns) == (77, 1_500_000_000 * 10**9)
    assert at(root, "etc").mtime_ns == 1000 * 10**9
    assert at(root, "usr").uid == 0
    assert found.inventory.names == 8
    assert found.warnings == ()


def test_a_root_that_others_cannot_enter(host):
    (host / "tree").chmod(0o750)
    (warning,) = scan(TreeRequest(trees=[os.fsencode(host / "tree")])).warnings
    assert f"the root directory, from tree {host}/tree, has mode 0750" in warning


def test_nothing_given_is_an_empty_root():
    root = scan(TreeRequest(time=5)).inventory.root
    assert (root.mode, root.uid, root.gid, root.mtime_ns) == (stat.S_IFDIR | 0o755, 0, 0, 5 * 10**9)
    assert root.entries == {}


def test_the_order_of_readdir_does_not_show(host, monkeypatch):
    request = TreeRequest(trees=[os.fsencode(host)])
    expected = [path for path, _ in scan(request).inventory.walk()]
    scandir = os.scandir

    class Reversed(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("os.scandir", lambda path: Reversed(reversed(list(scandir(path)))))
    assert [path for path, _ in scan(request).inventory.walk()] == expected


def test_the_collector_is_left_as_it_was():
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            with pytest.raises(SourceError):
                scan(TreeRequest(trees=[b"/does/not/exist"]))
            assert gc.isenabled() is enabled
        finally:
            gc.enable()


@pytest.mark.parametrize(
    ("changes", "error", "why"),
    [
        ({"trees": [b"/does/not/exist"]}, SourceError, "tree /does/not/exist cannot be read"),
        ({"overrides": b"/does/not/exist"}, SourceError, "overrides /does/not/exist cannot be read"),
        ({"xattrs": "some"}, SpecError, "--xattrs"),
        ({"excludes": [b""]}, SpecError, "--exclude"),
    ],
)
def test_refused(changes, error, why):
    with pytest.raises(error, match=why):
        scan(TreeRequest(**changes))


@pytest.mark.parametrize(("size", "fits"), [(99, True), (100, True), (101, False)])
def test_an_overrides_file_has_a_limit(size, fits, tmp_path, monkeypatch):
    monkeypatch.setattr("imgwriter.tree.scan.MAX_OVERRIDES", 100)
    (tmp_path / "over").write_bytes(b"#" * size)
    request = TreeRequest(overrides=os.fsencode(tmp_path / "over"))
    if fits:
        scan(request)
        return
    with pytest.raises(SourceError, match="name a file of owners and modes"):
        scan(request)
