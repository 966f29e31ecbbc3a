"""qemu-img and qemu-io: QEMU's own view of image files, and a second writer of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.oracles.tools import Result, attempt, run


def raw_check(image: Path, image_format: str = "qcow2") -> Result:
    """Run ``qemu-img check`` and return what it said."""
    return attempt("qemu-img", "check", "-f", image_format, image)


def check(image: Path, image_format: str = "qcow2") -> str:
    """Assert that ``qemu-img check`` finds neither errors nor leaks, and return what it said."""
    result = raw_check(image, image_format)
    assert result.status == 0 and not result.err, result.text
    assert result.out.startswith("No errors were found on the image.\n"), result.text
    return result.out


def raw_compare(image: Path, image_format: str, raw: Path) -> Result:
    """Run ``qemu-img compare`` of an image with a raw disk and return what it said."""
    return attempt("qemu-img", "compare", "-f", "raw", "-F", image_format, raw, image)


def compare(image: Path, image_format: str, raw: Path) -> None:
    """Assert that a guest disk has the bytes of a raw one; where one is longer, that the rest is zero."""
    result = raw_compare(image, image_format, raw)
    assert result.status == 0, result.text


def info(image: Path, image_format: str | None = None) -> dict[str, Any]:
    """Return ``qemu-img info`` of an image; without a format, of what QEMU takes it for."""
    chosen = ("-f", image_format) if image_format else ()
    answer: dict[str, Any] = json.loads(run("qemu-img", "info", "--output=json", *chosen, image))
    return answer


def map_(image: Path, image_format: str) -> list[dict[str, Any]]:
    """Return ``qemu-img map``: runs with start, length, zero, data, and offset where they have one."""
    command = ("qemu-img", "map", "--output=json", "-f", image_format, image)
    answer: list[dict[str, Any]] = json.loads(run(*command))
    return answer


def create(image: Path, image_format: str, size: int, **options: object) -> Path:
    """Make an empty image; ``options`` are those of ``-o``."""
    run("qemu-img", "create", "-q", "-f", image_format, *_options(options), image, str(size))
    return image


def convert(
    source: Path,
    source_format: str,
    target: Path,
    target_format: str,
    *arguments: str,
    **options: object,
) -> Path:
    """Convert an image; ``arguments`` are qemu-img's (such as ``-c``), ``options`` those of ``-o``."""
    formats = ("-f", source_format, "-O", target_format)
    run("qemu-img", "convert", *formats, *arguments, *_options(options), source, target)
    return target


def io(image: Path, image_format: str, *commands: str) -> str:
    """Assert that ``qemu-io`` does all commands, in order, and return what it said."""
    result = raw_io(image, image_format, *commands)
    failed = result.status or "failed" in result.out or result.err
    assert not failed, result.text
    return result.out


def raw_io(image: Path, image_format: str, *commands: str) -> Result:
    """Run ``qemu-io`` and return what it said."""
    words = [word for command in commands for word in ("-c", command)]
    return attempt("qemu-io", "-f", image_format, *words, image)


def reads(image: Path, image_format: str, offset: int, length: int, pattern: int) -> None:
    """Assert that a stretch of the guest disk is all of one byte, as the emulated disk would read it."""
    io(image, image_format, f"read -P {pattern:#x} {offset} {length}")


def read(image: Path, image_format: str, offset: int, length: int) -> bytes:
    """Return bytes of the guest disk, as the emulated disk would read them."""
    content = bytearray()
    for line in io(image, image_format, f"read -v {offset} {length}").splitlines():
        # "00010000:  66 6f 6f  foo": an address of eight digits, or of more from 4 GiB on.
        dumped = re.match(r"[0-9a-f]{8,}:  ((?:[0-9a-f]{2} )+)", line)
        if dumped:
            content += bytes.fromhex(dumped[1])
    assert len(content) == length, f"{image}: {len(content)} of {length} bytes at {offset}"
    return bytes(content)


def _options(options: dict[str, object]) -> tuple[str, ...]:
    return ("-o", ",".join(f"{name}={value}" for name, value in options.items())) if options else ()
