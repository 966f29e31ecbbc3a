"""Nix's spellings of a SHA-256.

========  =================================================================  ==============
form      of nothing (SHA-256 of no bytes)                                   characters
========  =================================================================  ==============
BASE16    sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b... 64, bare
NIX32     sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73        52, bare
BASE64    sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=                44, bare
SRI       sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=                44 after a dash
========  =================================================================  ==============

nix32 is the number that the bytes are in little-endian order, in base 32, its most significant digit
first, without the letters e, o, t and u::

    20 bytes ─> 32 digits (the digest in a store path)      32 bytes ─> 52 digits, the first 0 or 1

Spec: Nix manual, "Nix32 Encoding" and "Hashes"; src/libutil/hash.cc.
"""

from __future__ import annotations

import binascii
import re
from enum import StrEnum

from imgwriter.errors import SourceError

NIX32 = "0123456789abcdfghijklmnpqrsvwxyz"
"""The digits of nix32, by value."""

SHA256_BYTES = 32
"""Bytes of a SHA-256."""

# The digits that Python's int() knows for base 32.
_TO_PYTHON = str.maketrans(NIX32, "0123456789abcdefghijklmnopqrstuv")
_NIX32_TEXT = re.compile(f"[{NIX32}]*")
_BASE16_TEXT = re.compile("[0-9a-fA-F]*")
_NIX32_DIGITS = (SHA256_BYTES * 8 + 4) // 5
_BASE64_DIGITS = (SHA256_BYTES + 2) // 3 * 4
_ALGORITHM = "sha256"


class Form(StrEnum):
    """How a hash is spelled."""

    BASE16 = "base16"
    NIX32 = "nix32"
    BASE64 = "base64"
    SRI = "sri"


def nix32(content: bytes) -> str:
    """Return bytes in nix32, in as many digits as that many bytes always have."""
    number = int.from_bytes(content, "little")
    return "".join([NIX32[number >> shift & 31] for shift in range((len(content) * 8 - 1) // 5 * 5, -1, -5)])


def from_nix32(text: str) -> bytes:
    """Return the bytes that digits of nix32 stand for.

    Raises:
        SourceError: A character is no digit, or no number of bytes has so many digits or this value.
    """
    length = len(text) * 5 // 8
    if not _NIX32_TEXT.fullmatch(text):
        raise _refused(text, "has characters that are not Nix's base 32")
    if (length * 8 + 4) // 5 != len(text):
        raise _refused(text, f"has {len(text)} digits, which is no number of bytes in Nix's base 32")
    number = int(text.translate(_TO_PYTHON), 32) if text else 0
    if number >> length * 8:
        raise _refused(text, f"is more than {length} bytes hold")
    return number.to_bytes(length, "little")


def sha256_text(digest: bytes, form: Form = Form.NIX32, *, prefix: bool = True) -> str:
    """Return a SHA-256 as Nix spells it.

    Args:
        digest: 32 bytes.
        form: The spelling.
        prefix: Whether "sha256:" stands before it; SRI always has its "sha256-".
    """
    if form is Form.SRI:
        return f"{_ALGORITHM}-{_base64(digest)}"
    if form is Form.BASE16:
        spelled = digest.hex()
    else:
        spelled = nix32(digest) if form is Form.NIX32 else _base64(digest)
    return f"{_ALGORITHM}:{spelled}" if prefix else spelled


def parse_sha256(text: str) -> bytes:
    """Return the 32 bytes of a SHA-256 in any of Nix's spellings, with and without "sha256:".

    The length tells the bare forms apart, as in Nix.

    Raises:
        SourceError: It is of another algorithm or length, or has characters that its form has not.
    """
    algorithm, separator, digits = text.rpartition(":")
    if not separator:
        algorithm, separator, digits = text.partition("-")
        if not separator:
            algorithm, digits = _ALGORITHM, text
    if algorithm != _ALGORITHM:
        raise _refused(text, "is not SHA-256")
    if separator != "-":
        if len(digits) == SHA256_BYTES * 2:
            if not _BASE16_TEXT.fullmatch(digits):
                raise _refused(text, "has characters that are not base 16")
            return bytes.fromhex(digits)
        if len(digits) == _NIX32_DIGITS:
            return from_nix32(digits)
    if len(digits) == _BASE64_DIGITS:
        return _from_base64(text, digits)
    wanted = f"{_BASE64_DIGITS} (base 64)"
    if separator != "-":
        wanted = f"{SHA256_BYTES * 2} (base 16), {_NIX32_DIGITS} (Nix's base 32) or {wanted}"
    raise _refused(text, f"has {len(digits)} digits, and a SHA-256 {wanted}")


def _base64(digest: bytes) -> str:
    return binascii.b2a_base64(digest, newline=False).decode()


def _from_base64(text: str, digits: str) -> bytes:
    try:
        digest = binascii.a2b_base64(digits.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        digest = b""
    # Bits behind the last byte have to be zero, or two texts would be one hash.
    if len(digest) != SHA256_BYTES or _base64(digest) != digits:
        raise _refused(text, "is not base 64")
    return digest


def _refused(text: str, why: str) -> SourceError:
    shown = text if len(text) <= 100 else f"{text[:100]}..."
    return SourceError(f"the hash {shown!r} {why}; give it as Nix prints it")
