"""ACL texts become the kernel's attribute; expected bytes after include/uapi/linux/posix_acl_xattr.h."""

from __future__ import annotations

import pytest

from imgwriter.tree import posix_acl

MINIMAL = b"user::rwx,group::r-x,other::---"
# Written by setfacl 2.3.1 -m u:1000:rw,g:33:r on a file of mode 0751; read by getfattr -e hex.
EXTENDED = bytes.fromhex(
    "02000000 01000700ffffffff 02000600e8030000 04000500ffffffff"
    "0800040021000000 10000700ffffffff 20000100ffffffff"
)


def unknown(word: bytes, name: bytes) -> int:
    raise ValueError(f"who is {name!r}")


@pytest.mark.parametrize(
    "text",
    [
        b"user::rwx\nuser:joe:rw-:1000\ngroup::r-x\ngroup:www-data:r--:33\nmask::rwx\nother::--x\n",
        b"user::rwx,group::r-x,other::--x,user:1000:rw-,group:33:r--,mask::rwx",
        b"u::rwx,g::rx,o::x,u:1000:rw,g:33:r,m::rwx",
        b"user::rwx,group::r-x,other:--x,user:1000:rw-\t#effective:rw-\n# joe\ngroup:33:r--,mask:rwx",
    ],
)
def test_each_dialect(text: bytes) -> None:
    assert posix_acl.from_text(text, unknown) == EXTENDED


def test_default_acls_may_be_minimal_and_access_acls_say_nothing_then() -> None:
    assert posix_acl.from_text(MINIMAL, unknown) is None
    minimal = bytes.fromhex("02000000 01000700ffffffff 04000500ffffffff 20000000ffffffff")
    assert posix_acl.from_text(MINIMAL, unknown, default=True) == minimal
    prefixed = MINIMAL.replace(b",", b",default:").replace(b"user", b"d:user")
    assert posix_acl.from_text(prefixed, unknown, default=True) == minimal
    assert posix_acl.from_text(b"", unknown, default=True) is None


def test_names_are_looked_up() -> None:
    numbers = {(b"user", b"joe"): 1000, (b"group", b"www"): 33}
    text = b"user::rwx,user:joe:rw-,group::r-x,group:www:r--,mask::rwx,other::--x"
    assert posix_acl.from_text(text, lambda word, name: numbers[word, name]) == EXTENDED


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"user::rwx,group::r-x", "0 entries other::"),
        (MINIMAL + b",user::r--", "2 entries user::"),
        (MINIMAL + b",user:5:r--", "0 entries mask::"),
        (MINIMAL + b",mask::r--,user:5:r--,user:5:rw-", "twice"),
        (MINIMAL + b",everyone@:r--", "neither user, group, mask nor other"),
        (MINIMAL + b",mask:5:r--", "names somebody"),
        (MINIMAL + b",mask::rwX", "permissions"),
        (MINIMAL + b",mask::", "permissions"),
        (MINIMAL + b",user", "1 fields"),
        (MINIMAL + b",user:a:r--:5:6", "5 fields"),
        (MINIMAL + b",user:4294967295:r--,mask::r--", "32 bits"),
        (MINIMAL + b",user:joe:r--,mask::r--", "who is"),
        (b"\xff\0", "neither"),
        (b"default", "neither"),
    ],
)
def test_what_is_no_acl(text: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        posix_acl.from_text(text, unknown)


def test_largest_number() -> None:
    value = posix_acl.from_text(MINIMAL + b",user:4294967294:r--,mask::r--", unknown)
    assert value is not None and value[12:20] == bytes.fromhex("02000400feffffff")


def test_mode_follows_the_mask() -> None:
    assert posix_acl.permissions(EXTENDED) == 0o771
    for damaged in (b"", EXTENDED[:-1], b"\1" + EXTENDED[1:], EXTENDED[:12]):
        assert posix_acl.permissions(damaged) is None


def test_as_text_again() -> None:
    text = b"user::rwx,user:5:r-x,group::r--,group:4294967294:-w-,mask::rwx,other::--x"
    value = posix_acl.from_text(text, unknown)
    assert value is not None and posix_acl.to_text(value) == text
    assert posix_acl.to_text(b"\2\0\0\0") == b""


@pytest.mark.parametrize(
    "value",
    [
        b"",
        EXTENDED[:-1],
        b"\1" + EXTENDED[1:],
        EXTENDED[:4] + b"\x40" + EXTENDED[5:],
        EXTENDED[:6] + b"\x08" + EXTENDED[7:],
    ],
    ids=["empty", "cut", "version", "tag", "permissions"],
)
def test_what_has_no_text(value: bytes) -> None:
    assert posix_acl.to_text(value) is None
