"""What installing a boot loader comes to, whoever did it: files in the trees, and boot code on the disk.

::

    trees before ──┬─ a loader's files, by imgwriter alone ───┬──> trees after, changed in place
                   └─ an installer in a guest, read back ─────┘    Installed: boot code as Patches of the disk

The files become part of the trees that the file systems are planned from, so that they are laid out and dated
like all others. Boot code lies outside of files: in the MBR's first 440 bytes, in the gap behind it, in a
BIOS boot partition, in the boot sectors of file systems. Where partitions begin does not depend on the
disk's size, so that code can be decided before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from imgwriter.extent import Patch, Volume

MBR_CODE_SIZE = 440
"""Bytes of boot code in sector 0, before the disk signature. Spec: UEFI 2.10, 5.2.1, BootCode."""


ChangeKind: TypeAlias = Literal["made", "changed", "removed"]


class Change(NamedTuple):
    """A name that is another in the trees after than before.

    Attributes:
        kind: What became of it.
        path: As the running system has it, without a leading slash: what is on the ESP is below its mount
            point.
    """

    kind: ChangeKind
    path: bytes


@dataclass(frozen=True, slots=True)
class Installed:
    """A boot loader that is in place.

    Attributes:
        loader: What it is called in a report: "grub-bios", "grub-efi", "systemd-boot", "guest".
        reason: Why this way was taken, as a sentence for the report; empty where it was asked for.
        patches: Boot code, at offsets of the disk.
        changes: What became of which files, in the order of their paths; what is below a directory that was
            made or removed is not listed.
        warnings: Sentences for the user.
        log: The installer's last lines, where one was run.
        firmware_variables: The EFI variables' flash, where one was asked for.
    """

    loader: str
    reason: str = ""
    patches: tuple[Patch, ...] = ()
    changes: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    firmware_variables: Volume | None = None
