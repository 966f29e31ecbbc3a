"""grub.cfg where a tree has none: one entry for each kernel, the newest first, and a serial console if asked.

The paths are of the root file system: GRUB's own directory is there, and so ``$root`` is it already.

Spec: GRUB manual, "Shell-like scripting" (quoting), "serial", "linux", "initrd".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_SERIAL = re.compile(r"console=ttyS([0-3])(?:,([0-9]+))?(?:\D.*)?")
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@%+-]+")


class MenuItem(NamedTuple):
    """What can be chosen.

    Attributes:
        title: As the menu shows it.
        kernel, initrd: Paths from the root file system's root, without a leading slash; initrd may be None.
        parameters: The kernel's, between spaces.
    """

    title: str
    kernel: bytes
    initrd: bytes | None
    parameters: str


def grub_cfg(items: Sequence[MenuItem], timeout: int) -> bytes:
    """Return the file that offers ``items``, the first of them after ``timeout`` seconds."""
    text = "".join(f"{line}\n" for line in _lines(items, timeout))
    return text.encode("utf-8", "surrogateescape")


def _lines(items: Sequence[MenuItem], timeout: int) -> Iterator[str]:
    yield "# Written by imgwriter; update-grub, or grub-mkconfig, writes another in its place."
    yield "set default=0"
    yield f"set timeout={timeout}"
    # Without a mode of the screen the kernel starts blind under UEFI.
    yield 'if [ "$grub_platform" = efi ]; then'
    yield "    insmod all_video"
    yield "fi"
    yield from _serial(items[0].parameters)
    for item in items:
        yield f"menuentry {_quoted(item.title)} {{"
        words = (_path(item.kernel), *item.parameters.split())
        yield "    linux " + " ".join(map(_quoted, words))
        if item.initrd is not None:
            yield f"    initrd {_quoted(_path(item.initrd))}"
        yield "}"


def _serial(parameters: str) -> Iterator[str]:
    """Yield what gives the menu to the serial port that the kernel's console is on, beside the screen."""
    for word in parameters.split():
        if found := _SERIAL.fullmatch(word):
            yield f"serial --unit={found[1]} --speed={found[2] or 9600}"
            yield "terminal_input console serial"
            yield "terminal_output console serial"
            return


def _quoted(word: str) -> str:
    return word if _PLAIN.fullmatch(word) else "'" + word.replace("'", "'\\''") + "'"


def _path(path: bytes) -> str:
    return "/" + path.lstrip(b"/").decode("utf-8", "surrogateescape")
