"""What a guest is made from, once all of it is found."""

from __future__ import annotations

from typing import NamedTuple

from imgwriter.guest.busybox import Busybox
from imgwriter.guest.firmware import Firmware
from imgwriter.guest.kernel import Kernel
from imgwriter.guest.modules import Module


class Parts(NamedTuple):
    """What a guest is made from.

    Attributes:
        kernel: What it runs.
        modules: Those that its job needs, in the order in which they are loaded; none where all is built in.
        busybox: A static one, for its machine.
        qemu: Path of the program that is its machine.
        firmware: What it boots from, where EFI variables are kept.
    """

    kernel: Kernel
    modules: tuple[Module, ...]
    busybox: Busybox
    qemu: str
    firmware: Firmware | None = None
