"""--xattrs."""

from __future__ import annotations

import pytest

from imgwriter.errors import SpecError
from imgwriter.tree.xattrs import XattrPolicy

DEFAULT_KEPT = [b"user.comment", b"trusted.x", b"security.capability", b"system.posix_acl_access"]
DEFAULT_DROPPED = [
    b"security.selinux",
    b"security.ima",
    b"security.evm",
    b"trusted.overlay.opaque",
    b"btrfs.compression",
    b"system.nfs4_acl",
]


@pytest.mark.parametrize("text", ["default", "default,+user.x"])
def test_default(text):
    policy = XattrPolicy.parse(text)
    assert [name for name in DEFAULT_KEPT if not policy.keep(name)] == []
    assert [name for name in DEFAULT_DROPPED if policy.keep(name)] == []
    assert XattrPolicy() == XattrPolicy.parse("default")


def test_all_and_none():
    names = DEFAULT_KEPT + DEFAULT_DROPPED
    assert all(map(XattrPolicy.parse("all").keep, names))
    assert not any(map(XattrPolicy.parse("none").keep, names))
    assert XattrPolicy.parse("none").keeps_nothing
    assert not XattrPolicy.parse("none,+user.*").keeps_nothing


def test_the_last_match_decides():
    policy = XattrPolicy.parse("none,+user.*,-user.a*,+user.ab")
    kept = [
        name for name in (b"user.b", b"user.a", b"user.ac", b"user.ab", b"trusted.a") if policy.keep(name)
    ]
    assert kept == [b"user.b", b"user.ab"]
    assert XattrPolicy.parse("+security.selinux").keep(b"security.selinux")
    assert not XattrPolicy.parse("-security.capability").keep(b"security.capability")


def test_only_a_star_is_special():
    policy = XattrPolicy.parse("none,+user.[a].c")
    assert policy.keep(b"user.[a].c")
    assert not policy.keep(b"user.axc")


@pytest.mark.parametrize("text", ["", "user.*", "+user.x,all", "+", "-", "all,", "some"])
def test_refused(text):
    with pytest.raises(SpecError, match="PATTERN"):
        XattrPolicy.parse(text)
