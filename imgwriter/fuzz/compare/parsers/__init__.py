"""The parsers that are compared: how each is asked, and what its answer means; a module for each project.

:data:`PROGRAMS` are those that are started for each case. The Linux kernel and ``dissect.volume`` take many
cases at once, and imgwriter's own reader is no program: ``kernel``, ``dissect`` and ``own``.
"""

from __future__ import annotations

from imgwriter.fuzz.compare.parsers import gptfdisk, grub, parted, sleuthkit, util_linux
from imgwriter.fuzz.compare.parsers.program import Program

__all__ = ["PROGRAMS", "Program"]

PROGRAMS: tuple[Program, ...] = (
    gptfdisk.SGDISK,
    parted.PARTED,
    util_linux.SFDISK,
    util_linux.FDISK,
    util_linux.PARTX,
    util_linux.BLKID,
    grub.GRUB_FSTEST,
    sleuthkit.MMLS,
)
