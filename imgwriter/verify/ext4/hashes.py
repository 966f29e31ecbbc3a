"""The hash of names in an htree, whichever the directory's index names.

half-MD4 of many names at once is the writer's. The others, of file systems made long ago, are here.

Spec: fs/ext4/hash.c, ext4fs_dirhash(), dx_hack_hash_signed(), TEA_transform().
"""

from __future__ import annotations

from collections.abc import Sequence

from imgwriter.ext4.dirhash import half_md4
from imgwriter.ext4.format import DX_HASH_HALF_MD4, DX_HASH_TEA

_WORD = 0xFFFFFFFF
_EOF = 0xFFFFFFFE
_UNSIGNED = 3
"""What is added to a version whose bytes are unsigned, where s_flags does not say it."""
_DELTA = 0x9E3779B9
_INITIAL = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
VERSIONS = range(2 * _UNSIGNED)
"""hash_version of the hashes that are here."""


def hash_names(names: Sequence[bytes], version: int, seed: bytes, *, signed: bool) -> list[int]:
    """Return the major hashes of names, the lowest bit clear.

    Args:
        names: Names of 1 to 255 bytes.
        version: hash_version of the index: 0 to 2, or 3 to 5 for unsigned bytes.
        seed: s_hash_seed.
        signed: What s_flags says; a version from 3 on is unsigned anyway.
    """
    if version >= _UNSIGNED:
        version, signed = version - _UNSIGNED, False
    if version == DX_HASH_HALF_MD4:
        return half_md4(names, seed, signed=signed)
    if version == DX_HASH_TEA:
        return [_final(_tea(name, seed, signed)) for name in names]
    return [_final(_legacy(name, signed)) for name in names]


def _final(value: int) -> int:
    value &= _EOF
    return value if value != _EOF else _EOF - 2


def _signed(byte: int, signed: bool) -> int:
    return byte - 256 if signed and byte & 0x80 else byte


def _legacy(name: bytes, signed: bool) -> int:
    value, before = 0x12A3FE2D, 0x37ABE8F9
    for byte in name:
        total = (before + (value ^ (_signed(byte, signed) * 7152373 & _WORD))) & _WORD
        if total & 0x80000000:
            total = (total - 0x7FFFFFFF) & _WORD
        before, value = value, total
    return value << 1 & _WORD


def _tea(name: bytes, seed: bytes, signed: bool) -> int:
    words = [int.from_bytes(seed[at : at + 4], "little") for at in range(0, 16, 4)]
    a, b = (words if any(seed) else _INITIAL)[:2]
    for at in range(0, len(name), 16):
        a, b = _tea_transform(a, b, _words(name[at:], signed))
    return a


def _tea_transform(a: int, b: int, key: Sequence[int]) -> tuple[int, int]:
    x, y, total = a, b, 0
    for _ in range(16):
        total = (total + _DELTA) & _WORD
        x = (x + ((((y << 4) + key[0]) ^ (y + total) ^ ((y >> 5) + key[1])) & _WORD)) & _WORD
        y = (y + ((((x << 4) + key[2]) ^ (x + total) ^ ((x >> 5) + key[3])) & _WORD)) & _WORD
    return (a + x) & _WORD, (b + y) & _WORD


def _words(rest: bytes, signed: bool) -> list[int]:
    """Return four words of a name's rest, filled up with its length."""
    pad = len(rest) | len(rest) << 8
    pad |= pad << 16
    pad &= _WORD
    words = []
    for at in range(0, 16, 4):
        value = pad
        for byte in rest[at : min(at + 4, 16)]:
            value = (_signed(byte, signed) + (value << 8)) & _WORD
        words.append(value)
    return words
