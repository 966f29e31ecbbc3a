"""What the kernel's build makes of a kernel, with the tools that it calls; and lz4, which takes it apart.

Spec: the kernel's scripts/Makefile.lib, "Gzip", "LZMA", "XZ", "ZSTD" (levels are lower here, for they take a
minute), scripts/xz_wrap.sh; Documentation/arch/x86/boot.rst, payload_offset and payload_length.
"""

from __future__ import annotations

import struct
import subprocess

from tests.oracles.tools import require

_COMMANDS = {
    "gzip": ("gzip", "-n", "-1"),
    "bzip2": ("bzip2", "-1"),
    "lzma": ("lzma", "-0"),
    "xzkern": ("xz", "--check=crc32", "--x86", "--lzma2=preset=0,dict=32MiB"),
    "zstd22": ("zstd", "-q", "-1", "--ultra", "--long=27"),
}
COMPRESSIONS = tuple(_COMMANDS)


def pack(plain: bytes, compression: str) -> bytes:
    """Return the payload of a kernel that decompresses itself: behind it, but for gzip's, stands its size."""
    compressed = _filter(plain, *_COMMANDS[compression])
    return compressed if compression == "gzip" else compressed + struct.pack("<I", len(plain))


def unpack_lz4(bzimage: bytes) -> bytes:
    """Return what is in a bzImage whose payload is LZ4's, as Debian's cloud kernel is."""
    offset, length = struct.unpack_from("<2I", bzimage, 0x248)
    start = (bzimage[0x1F1] + 1) * 512 + offset
    plain = _filter(bzimage[start : start + length - 4], "lz4", "-d")
    assert struct.pack("<I", len(plain)) == bzimage[start + length - 4 : start + length]
    return plain


def _filter(content: bytes, tool: str, *options: str) -> bytes:
    done = subprocess.run([require(tool), *options, "-c"], input=content, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
