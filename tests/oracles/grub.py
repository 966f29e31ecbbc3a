"""GRUB's own programs: grub-mkimage makes images, grub-script-check reads grub.cfg.

They are Debian's, and so is the GRUB that images are made from: usr/lib/grub of the tree that boots.
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Sequence
from pathlib import Path

from tests.oracles.tools import CACHE, Result, attempt, require_file, run


def directory(platform: str) -> Path:
    """Return where the boot tree has a platform's files."""
    return require_file(CACHE / "boot-tree" / ".ready").parent / "root" / "usr" / "lib" / "grub" / platform


def mkimage(platform: str, prefix: str, modules: Sequence[str], output: Path) -> bytes:
    """Return the image that grub-mkimage makes of the tree's GRUB."""
    run("grub-mkimage", "-O", platform, "-d", directory(platform), "-p", prefix, "-o", output, *modules)
    return output.read_bytes()


def unpack(core: bytes) -> bytes:
    """Return what a core.img for a BIOS unpacks to.

    Its decompressor has the two sizes at 8, and the LZMA stream behind it.
    """
    decompressor = directory("i386-pc").joinpath("lzma_decompress.img").stat().st_size
    packed, unpacked = struct.unpack_from("<2I", core, 512 + 8)
    stream = core[512 + decompressor : 512 + decompressor + packed]
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2}]
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    return decoder.decompress(stream, unpacked)


def raw_script_check(path: Path) -> Result:
    """Run ``grub-script-check`` on a grub.cfg and return what it said."""
    return attempt("grub-script-check", path)


def script_check(path: Path) -> None:
    """Assert that GRUB's parser takes a grub.cfg."""
    result = raw_script_check(path)
    assert result.status == 0 and not result.err, result.text
