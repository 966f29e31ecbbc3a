"""A boot loader installed by the image's own programs, in a guest: what they did is read back.

::

    ImagePlan ── guest ──> scratch disk ── QEMU ──> the same, changed
                                                      │ difference: files, links, directories
                                                      │ boot_code: what lies outside of files
    ImagePlan of the changed trees <──────────────────┘

What a kernel writes to a file system cannot repeat: times, places, a journal. What the installer wrote can.
So the scratch disk is only looked at, and the image is planned anew from trees that have its changes.
"""

from __future__ import annotations

from imgwriter.install.guest import Stages, run_installer
from imgwriter.install.parts import find_parts

__all__ = ["Stages", "find_parts", "run_installer"]
