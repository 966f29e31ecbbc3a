"""The contents of make-disk-image.nix: what a source becomes at a target."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from imgwriter.errors import SourceError, SpecError
from imgwriter.tree.contents import Content, graft
from imgwriter.tree.exclude import Exclusion
from imgwriter.tree.lookup import made_directory
from imgwriter.tree.rules import SourceRules
from tests.unit.tree.graph import at, shape, tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A host directory: src/{a,b.conf,.hidden,sub/{x}}, link -> src, flink -> src/a."""
    (tmp_path / "src/sub").mkdir(parents=True)
    for name in ("a", "b.conf", ".hidden", "sub/x"):
        (tmp_path / "src" / name).write_bytes(name.encode())
    (tmp_path / "link").symlink_to("src")
    (tmp_path / "flink").symlink_to("src/a")
    return tmp_path


ALL = {"a": b"a", "b.conf": b"b.conf", ".hidden": b".hidden", "sub": {"x": b"sub/x"}}
VISIBLE = {"a": b"a", "b.conf": b"b.conf", "sub": {"x": b"sub/x"}}


def grafted(source: Path, *contents: tuple, onto=None, nest: bool = False):
    root = made_directory("the image") if onto is None else tree(onto)
    items = [
        Content(os.fspath(source / first) + first[len(first.rstrip("/")) :], *rest)
        for first, *rest in contents
    ]
    graft(root, items, SourceRules(owner=None, exclude=Exclusion([b"a"])), nest)
    return root


@pytest.mark.parametrize(
    ("content", "result"),
    [
        (("src/a", "/etc/deep/file"), {"etc": {"deep": {"file": b"a"}}}),
        (("src/a", "file"), {"file": b"a"}),
        (("src/a", "/dir/"), {"dir": {"a": b"a"}}),
        (("src/a", "/"), {"a": b"a"}),
        (("flink", "/f"), {"f": "src/a"}),
        (("src", "/opt"), {"opt": ALL}),
        (("src/", "/opt"), {"opt": ALL}),
        (("link", "/opt"), {"opt": ALL}),
        (("src", "/"), ALL),
        (("src/*", "/opt"), {"opt": VISIBLE}),
        (("src/*", "/"), VISIBLE),
        (("src/*.conf", "/opt"), {"opt": {"b.conf": b"b.conf"}}),
        (("s*", "/opt"), {"opt": {"src": ALL}}),
        (("*link", "/"), {"link": "src", "flink": "src/a"}),
        (("li*/", "/opt"), {"opt": ALL}),
    ],
)
def test_graft(source, content, result):
    assert shape(grafted(source, content)) == result


@pytest.mark.parametrize(
    ("content", "result"),
    [
        (("src", "/opt"), {"opt": {"src": ALL}}),
        (("src/", "/opt"), {"opt": ALL}),
        (("link", "/opt"), {"opt": "src"}),
        (("src/a", "/opt"), {"opt": b"a"}),
    ],
)
def test_nested_as_the_seeds_script_did(source, content, result):
    assert shape(grafted(source, content, nest=True)) == result


@pytest.mark.parametrize(
    ("content", "onto"),
    [
        (("src/a", "/there"), {"there": b""}),
        (("src", "/there"), {"there": {}}),
        (("src", "/there"), {"there": "dangling"}),
        (("src/a", "/bin/there"), {"bin": "usr", "usr": {"there": b""}}),
        (("src", "/"), {}),
        (("src/a", "/"), {}),
        (("src/a", "/."), None),
        (("src/a", "/there/"), {"there": {}}),
    ],
)
@pytest.mark.parametrize("nest", [False, True])
def test_duplicate_entry(source, content, onto, nest):
    with pytest.raises(SourceError, match=f"^duplicate entry {content[1]} -> {source}/{content[0]}; "):
        grafted(source, content, onto=onto, nest=nest)


def test_a_second_content_may_not_be_above_the_first(source):
    with pytest.raises(SourceError, match="duplicate entry /x"):
        grafted(source, ("src/a", "/x/y"), ("src/a", "/x"))


def test_patterns_merge_into_what_is_there(source):
    onto = {"opt": {"a": b"old", "sub": {"y": b""}}}
    assert shape(grafted(source, ("src/*", "/opt"), onto=onto))["opt"]["sub"] == {"x": b"sub/x", "y": b""}
    with pytest.raises(
        SourceError, match=r"opt/sub is a file in a tree and a directory in content .*src/\*:/opt"
    ):
        grafted(source, ("src/*", "/opt"), onto={"opt": {"sub": b""}})


def test_symlinks_above_the_target_stay_inside_the_image(source):
    onto = {"out": "../../../../../etc", "etc": {}}
    assert shape(grafted(source, ("src/a", "/out/a"), onto=onto))["etc"] == {"a": b"a"}
    with pytest.raises(SourceError, match="leads to nothing"):
        grafted(source, ("src/a", "/out/a"), onto={"out": "/tmp"})


@pytest.mark.parametrize("target", ["../x", "/a/../../x", "a/.."])
def test_no_dots_in_targets(source, target):
    with pytest.raises(SourceError, match=r"has no '\.\.'"):
        grafted(source, ("src/a", target))


def test_missing_sources(source):
    with pytest.raises(SourceError, match=r"content .*/none:/x: .*/none does not exist"):
        grafted(source, ("none", "/x"))
    with pytest.raises(SourceError, match="nothing matches the source"):
        grafted(source, ("none*", "/x"))


def test_two_matches_of_one_name(source):
    (source / "tsil").mkdir()
    (source / "tsil/a").write_bytes(b"later")
    assert shape(grafted(source, ("*s*/a", "/x"))) == {"x": {"a": b"later"}}


def test_mode_is_for_what_the_content_brings(source):
    root = grafted(source, ("src", "/opt/src", "D500,F400"))
    modes = [stat.S_IMODE(at(root, path).mode) for path in ("opt", "opt/src", "opt/src/sub", "opt/src/a")]
    assert modes == [0o755, 0o500, 0o500, 0o400]


def test_owners_are_looked_up_in_the_finished_image(source):
    (source / "passwd").write_bytes(b"root:x:0:0::/:\n#junk\nwww:x:33:44::/:\nwww:x:99:99::/:\n")
    (source / "group").write_bytes(b"web:x:44:\n")
    onto = {"etc": "/usr/etc", "usr": {"etc": {"passwd": "static/passwd", "static": {}}}}
    root = grafted(
        source,
        ("src", "/srv", None, "www", "web"),
        ("passwd", "/etc/static/passwd"),
        ("group", "/etc/group"),
        ("src/a", "/n", None, "1000", "4294967295"),
        onto=onto,
    )
    owners = [(at(root, path).uid, at(root, path).gid) for path in ("srv", "srv/sub/x", "n", "usr/etc/group")]
    assert owners == [(33, 44), (33, 44), (1000, 4294967295), (0, 0)]


@pytest.mark.parametrize(("user", "group"), [("nobody", "0"), ("0", "4294967296"), ("-1", "0"), ("", "0")])
def test_unknown_owners(source, user, group):
    with pytest.raises(SourceError, match="is not in the image's /etc/"):
        grafted(source, ("src/a", "/a", None, user, group))


def test_contents_that_contradict_themselves():
    for arguments in (("", "/x"), ("x", ""), ("x", "/x", None, "u", None), ("x", "/x", None, None, "g")):
        with pytest.raises(SpecError):
            Content(*arguments)
    with pytest.raises(SpecError, match="mode u\\+q"):
        Content("x", "/x", "u+q")
