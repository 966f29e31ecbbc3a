"""What a boot loader is installed on, and how it is asked for: values, decided before any file is placed."""

from __future__ import annotations

from dataclasses import dataclass

from imgwriter.disk import Layout
from imgwriter.tree.rules import NANOSECOND

DEFAULT_TIMEOUT = 5
"""Seconds that a menu waits, as GRUB's and NixOS's own default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The disk, and what is told of its root where it has to be found again.

    Attributes:
        layout: Where partitions stand; its disk size may be provisional, what comes before the root is not.
        root_uuid: The root file system's UUID, as fstab has it.
        root_label: Its label.
        root_fs_type: "ext4", "ext3", "ext2" or "vfat".
        time: Seconds since the epoch, for what is made here.
        esp_mount, boot_mount: Where ESP and XBOOTLDR partition are in the running system, for a report.
        toplevel: The NixOS system's store path inside the root, or None.
    """

    layout: Layout
    root_uuid: str
    root_label: str
    root_fs_type: str
    time: int
    esp_mount: bytes = b"/boot"
    boot_mount: bytes = b"/boot"
    toplevel: bytes | None = None

    @property
    def mtime_ns(self) -> int:
        """The time of what is made here."""
        return self.time * NANOSECOND

    @property
    def root_partuuid(self) -> str | None:
        """What the kernel takes after ``root=PARTUUID=``; None on a disk without a table."""
        return self.layout.partuuid(self.layout.partition("root"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """How a loader is installed.

    Attributes:
        kernel_parameters: What follows the parameters that name the root: "quiet console=ttyS0,115200".
            A console on a serial port gives GRUB's menu to that port as well.
        timeout: Seconds that the menu waits; None: as the NixOS system says, or 5.
        grub_config: Host path of the grub.cfg; None: the tree's own, or one made from its kernels.
        grub_modules: Modules that GRUB's core image has beside those that reach the root.
    """

    kernel_parameters: str = ""
    timeout: int | None = None
    grub_config: bytes | None = None
    grub_modules: tuple[str, ...] = ()
