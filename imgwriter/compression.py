"""The codecs of compressed clusters: a cluster in, a shorter one out, the same bytes on every machine.

zlib is zlib-ng in the wheel that pyproject.toml pins, not the interpreter's: that one is whatever zlib the
system has, and each of them makes other bytes. zstd is the one in python-zstandard's wheel. Neither asks
what the processor can do before it decides what to write: tests/compat/test_qcow2.py compares four, and
aarch64.

A codec is a value; who compresses asks it for a compressor of his own, since those may not be shared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from imgwriter.errors import SpecError

Content: TypeAlias = bytes | bytearray | memoryview

Compressor: TypeAlias = Callable[[Content], bytes]
"""Returns a complete stream of what it is given; it may be longer."""

Sieve: TypeAlias = Callable[[Content], bool]
"""Returns whether what it is given is not worth compressing."""

WINDOW_BITS = 12
"""QEMU reads deflate with a window of 4 KiB, whatever the cluster's size (block/qcow2-threads.c)."""
_MEMORY_LEVEL = 9
"""The largest hash table of deflate: a tenth faster than 8 on clusters of 64 KiB."""


_SAMPLE = 4096
"""Bytes that are tried before the whole."""
_GAIN = 64


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to compress a cluster.

    Attributes:
        name: "zlib" (a raw deflate stream) or "zstd" (one frame, without a checksum).
        level: Higher is smaller and slower.
    """

    name: str
    level: int

    def compressor(self) -> Compressor:
        """Return a new compressor, for one thread."""
        return _COMPRESSORS[self.name](self.level)

    def sieve(self) -> Sieve:
        """Return a new sieve, for one thread: what it holds back would not become a 64th shorter.

        Deflate takes longer for noise (what is compressed or encrypted already) than for anything else, and
        zstd gives up on it forty times as fast: it tries first, and so does not for itself.
        """
        return _noise_sieve() if self.name == "zlib" else lambda content: False


# The fastest levels with which an image of /usr/share stays within 1.05 of the size that qemu-img gives it;
# other content may need higher ones for that: docs/adr/0010-codecs.md.
DEFAULT_LEVELS = {"zlib": 2, "zstd": 1}
LEVELS = {"zlib": range(1, 10), "zstd": range(1, 23)}


def codec(name: str, level: int | None = None) -> Codec:
    """Return a codec by its name in qemu-img's option compression_type.

    Args:
        name: "zlib" or "zstd".
        level: 1 to 9 for zlib, 1 to 22 for zstd; None for the default.

    Raises:
        SpecError: There is no such codec or level.
    """
    if name not in LEVELS:
        raise SpecError(f"compression {name!r} is unknown; use one of {', '.join(LEVELS)}")
    if level is None:
        return Codec(name, DEFAULT_LEVELS[name])
    levels = LEVELS[name]
    if level not in levels:
        raise SpecError(f"{name} has no level {level}; use one from {levels[0]} to {levels[-1]}")
    return Codec(name, level)


def _zlib(level: int) -> Compressor:
    from zlib_ng import zlib_ng

    # There is no way to begin anew with an old one; making one costs a hundredth of a cluster of 64 KiB.
    stream = partial(zlib_ng.compressobj, level, zlib_ng.DEFLATED, -WINDOW_BITS, _MEMORY_LEVEL)

    def compress(content: Content) -> bytes:
        deflate = stream()
        start: bytes = deflate.compress(content)
        end: bytes = deflate.flush()
        return start + end

    return compress


def _noise_sieve() -> Sieve:
    from zstandard import ZstdCompressor

    compress = ZstdCompressor(level=1, write_checksum=False).compress

    def is_noise(content: Content) -> bool:
        # A piece in the middle tells nearly always, and other content pays for that alone.
        view = memoryview(content)
        middle = len(view) // 2
        return all(
            len(piece) - len(compress(piece)) < len(piece) // _GAIN
            for piece in (view[middle : middle + _SAMPLE], view)
        )

    return is_noise


def _zstd(level: int) -> Compressor:
    from zstandard import ZstdCompressor

    return ZstdCompressor(level=level, write_checksum=False).compress


_COMPRESSORS: dict[str, Callable[[int], Compressor]] = {"zlib": _zlib, "zstd": _zstd}
