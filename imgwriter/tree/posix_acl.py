"""POSIX access control lists: from the text that archives carry to the kernel's attribute.

::

    user::rwx,user:www-data:r-x:33,group::r-x,mask::r-x,other::---      text
    02000000 | tag perm id | tag perm id | ...                           attribute, version 2

Three writers, three dialects: star and bsdtar add the number as a fourth field and put commas or
newlines between entries; GNU tar writes newlines and, unless told ``--numeric-owner``, the name alone.
Comments begin with ``#``. Both long (``user``) and short (``u``) words are known.

Spec: Linux, include/uapi/linux/posix_acl_xattr.h; POSIX 1003.1e draft 17, 23.3 (the text forms).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

ACCESS = b"system.posix_acl_access"
DEFAULT = b"system.posix_acl_default"

POSIX_ACL_XATTR_VERSION = 2
ACL_USER_OBJ = 0x01
ACL_USER = 0x02
ACL_GROUP_OBJ = 0x04
ACL_GROUP = 0x08
ACL_MASK = 0x10
ACL_OTHER = 0x20
ACL_UNDEFINED_ID = 0xFFFF_FFFF

_HEADER = struct.Struct("<I")  # a_version
_ENTRY = struct.Struct("<HHI")  # e_tag, e_perm, e_id

_TAGS: dict[bytes, tuple[int, int | None]] = {
    b"user": (ACL_USER_OBJ, ACL_USER),
    b"group": (ACL_GROUP_OBJ, ACL_GROUP),
    b"mask": (ACL_MASK, None),
    b"other": (ACL_OTHER, None),
}
_LONG = {b"u": b"user", b"g": b"group", b"m": b"mask", b"o": b"other"}
_PERMISSIONS = {ord("r"): 4, ord("w"): 2, ord("x"): 1, ord("-"): 0}
_LETTERS = ((ord("r"), 4), (ord("w"), 2), (ord("x"), 1))
_NUMBER = re.compile(rb"[0-9]{1,10}")

Entry = tuple[int, int, int]
"""(tag, id, permissions); sorted, these are in the kernel's order."""

Lookup = Callable[[bytes, bytes], int]
"""Called with (b"user" or b"group", name); returns the number, or raises ValueError."""


def from_text(text: bytes, lookup: Lookup, *, default: bool = False) -> bytes | None:
    """Return the attribute's value for an ACL in text form.

    Args:
        text: As in the archive.
        lookup: Finds the number of a name that comes without one.
        default: Whether it is a directory's default ACL, else an access ACL.

    Returns:
        The value, or None for an access ACL that says no more than the mode bits, or an empty list.

    Raises:
        ValueError: The text is not a POSIX ACL; the message says why, without a remedy.
    """
    entries = []
    for line in re.split(rb"[\n,]", text):
        stripped = line.partition(b"#")[0].strip()
        if stripped:
            entries.append(_entry(stripped, lookup))
    if not entries:
        return None
    entries.sort()
    _check(entries)
    if len(entries) == 3 and not default:
        return None
    return to_xattr(entries)


def to_text(value: bytes) -> bytes | None:
    """Return an attribute's value as text with numbers, which :func:`from_text` and all three writers read.

    Returns:
        The text, or None for a value that has entries of no known kind, or another form.
    """
    if len(value) % _ENTRY.size != _HEADER.size or value[: _HEADER.size] != _HEADER.pack(
        POSIX_ACL_XATTR_VERSION
    ):
        return None
    words = {tag: word for word, tags in _TAGS.items() for tag in tags}
    entries = []
    for tag, bits, number in _ENTRY.iter_unpack(value[_HEADER.size :]):
        if tag not in words or bits > 7:
            return None
        name = b"%d" % number if tag in (ACL_USER, ACL_GROUP) else b""
        granted = bytes(letter if bits & bit else ord("-") for letter, bit in _LETTERS)
        entries.append(b":".join((words[tag], name, granted)))
    return b",".join(entries)


def to_xattr(entries: list[Entry]) -> bytes:
    """Return sorted entries in the kernel's form."""
    packed = (_ENTRY.pack(tag, permissions, number) for tag, number, permissions in entries)
    return _HEADER.pack(POSIX_ACL_XATTR_VERSION) + b"".join(packed)


def permissions(value: bytes) -> int | None:
    """Return the nine permission bits that an access ACL gives its file.

    The kernel changes a file's mode so when it is given an ACL: the group's bits are the mask. Archives
    by libarchive need it, which records the bits of the owning group instead.

    Args:
        value: In the kernel's form.

    Returns:
        The bits, or None for what is no such value.

    Spec: Linux, fs/posix_acl.c, posix_acl_equiv_mode().
    """
    if len(value) % _ENTRY.size != _HEADER.size or value[: _HEADER.size] != _HEADER.pack(
        POSIX_ACL_XATTR_VERSION
    ):
        return None
    by_tag: dict[int, int] = {tag: bits & 7 for tag, bits, _ in _ENTRY.iter_unpack(value[_HEADER.size :])}
    if not by_tag.keys() >= {ACL_USER_OBJ, ACL_GROUP_OBJ, ACL_OTHER}:
        return None
    group = by_tag.get(ACL_MASK, by_tag[ACL_GROUP_OBJ])
    return by_tag[ACL_USER_OBJ] << 6 | group << 3 | by_tag[ACL_OTHER]


def _entry(text: bytes, lookup: Lookup) -> Entry:
    fields = [field.strip() for field in text.split(b":")]
    if fields[0] in (b"default", b"d"):
        del fields[0]
    word = _LONG.get(fields[0], fields[0]) if fields else b""
    if word not in _TAGS:
        raise ValueError(f"the ACL entry {text[:80]!r} is for neither user, group, mask nor other")
    if len(fields) == 2 and word in (b"mask", b"other"):
        fields.insert(1, b"")
    if not 3 <= len(fields) <= 4:
        raise ValueError(f"the ACL entry {text[:80]!r} has {len(fields)} fields, not 3 or 4")
    owner, named = _TAGS[word]
    permissions = _permissions(fields[2], text)
    if not fields[1]:
        return owner, ACL_UNDEFINED_ID, permissions
    if named is None:
        raise ValueError(f"the ACL entry {text[:80]!r} names somebody, which a {word.decode()} does not")
    return named, _number(word, fields, lookup), permissions


def _permissions(field: bytes, text: bytes) -> int:
    if not 1 <= len(field) <= 3 or not set(field) <= _PERMISSIONS.keys():
        raise ValueError(f"the ACL entry {text[:80]!r} has permissions other than r, w, x and -")
    result = 0
    for letter in field:
        result |= _PERMISSIONS[letter]
    return result


def _number(word: bytes, fields: list[bytes], lookup: Lookup) -> int:
    for field in (*fields[3:], fields[1]):
        if _NUMBER.fullmatch(field):
            if int(field) >= ACL_UNDEFINED_ID:
                raise ValueError(
                    f"the ACL names the {word.decode()} {int(field)}, which needs more than 32 bits"
                )
            return int(field)
    return lookup(word, fields[1])


def _check(entries: list[Entry]) -> None:
    """Refuse what the kernel would refuse. Spec: Linux, fs/posix_acl.c, posix_acl_valid()."""
    tags = [tag for tag, _, _ in entries]
    for tag, name in ((ACL_USER_OBJ, "user::"), (ACL_GROUP_OBJ, "group::"), (ACL_OTHER, "other::")):
        if tags.count(tag) != 1:
            raise ValueError(f"the ACL has {tags.count(tag)} entries {name}, not 1")
    if tags.count(ACL_MASK) > 1 or (ACL_MASK not in tags and len(tags) > 3):
        raise ValueError(
            f"the ACL names users or groups and has {tags.count(ACL_MASK)} entries mask::, not 1"
        )
    named = [(tag, number) for tag, number, _ in entries]
    if len(set(named)) != len(named):
        raise ValueError("the ACL names a user or group twice")
