"""--exclude: the semantics of gitignore(5), which is the judge of the compat test beside this one."""

from __future__ import annotations

import pytest

from imgwriter.errors import SpecError
from imgwriter.tree.exclude import Exclusion


@pytest.mark.parametrize(
    ("pattern", "matched", "unmatched"),
    [
        (b"*.pyc", [b"a.pyc", b"x/y/a.pyc", b"x.pyc/beneath", b".pyc"], [b"a.py", b"apyc"]),
        (b"/tmp", [b"tmp", b"tmp/x"], [b"var/tmp", b"tmpx"]),
        (b"var/cache", [b"var/cache", b"var/cache/x"], [b"x/var/cache", b"var/cachex"]),
        (b"a/*", [b"a/b", b"a/b/c"], [b"a", b"b/a"]),
        (b"a/*/c", [b"a/b/c"], [b"a/c", b"a/b/b/c"]),
        (b"a/**/c", [b"a/c", b"a/b/c", b"a/b/b/c"], [b"a/bc", b"x/a/c"]),
        (b"**/c", [b"c", b"a/c", b"a/b/c/d"], [b"ac"]),
        (b"a/**", [b"a/b", b"a/b/c"], [b"a"]),
        (b"f?o", [b"foo", b"x/f\no"], [b"fo", b"f/o"]),
        (b"[a-c]x", [b"ax", b"d/cx"], [b"dx", b"-x"]),
        (b"[!a]x", [b"bx"], [b"ax", b"/x"]),
        (b"[]]x", [b"]x"], [b"x"]),
        (b"a[!b]c", [b"axc"], [b"abc", b"a/c"]),
        (b"[", [b"["], [b"a"]),
        (rb"\*", [b"*"], [b"a"]),
        (b"a.c+(", [b"a.c+("], [b"abc+("]),
        (b"\xff*", [b"\xff\xfe"], [b"\xfe"]),
        (rb"\!a", [b"!a", b"x/!a"], [b"a"]),
        (b"/!a", [b"!a"], [b"a"]),
        (b"[!]a]", [b"b"], [b"a", b"]"]),
        (b"[!]", [b"[!]"], [b"a"]),
        (b"[]", [b"[]"], [b"a"]),
    ],
)
def test_patterns(pattern, matched, unmatched):
    exclusion = Exclusion([pattern])
    assert [path for path in matched if not exclusion.matches(path)] == []
    assert [path for path in unmatched if exclusion.matches(path)] == []


def test_a_slash_at_the_end_is_for_directories():
    exclusion = Exclusion([b"cache/"])
    assert exclusion.matches(b"a/cache", is_directory=True)
    assert exclusion.matches(b"a/cache/file")
    assert not exclusion.matches(b"a/cache")


@pytest.mark.parametrize("pattern", [b"a/*", b"a/**", b"a/**/", b"a/*/"])
def test_what_is_in_a_directory_is_not_the_directory(pattern):
    exclusion = Exclusion([pattern])
    assert not exclusion.matches(b"a", is_directory=True)
    assert exclusion.matches(b"a/b", is_directory=True)


def test_the_root_is_never_excluded():
    assert not Exclusion([b"*", b"**"]).matches(b"", is_directory=True)


def test_nothing_excludes_nothing():
    assert not Exclusion()
    assert not Exclusion().matches(b"a")


@pytest.mark.parametrize("pattern", [b"", b"/", b"//", b"[z-a]", b"!", b"!a"])
def test_no_patterns(pattern):
    with pytest.raises(SpecError, match="--exclude"):
        Exclusion([pattern])


def test_long_paths_take_no_exponential_time():
    assert not Exclusion([b"**/a/**/a/**/a/**/b"]).matches(b"a/" * 60 + b"c")
