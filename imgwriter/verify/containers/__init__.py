"""Verify the container of an image: qcow2, VHD or VDI. A raw image has none.

Offsets in findings are those of the file, where those of all other layers are the disk's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from imgwriter.readers.hostfile import HostFile
from imgwriter.verify.containers.qcow2 import verify_qcow2
from imgwriter.verify.containers.vdi import verify_vdi
from imgwriter.verify.containers.vhd import verify_vhd
from imgwriter.verify.values import Progress, Result

Checker: TypeAlias = Callable[[HostFile, Progress | None], Result]

CHECKERS: Mapping[str, Checker] = {"qcow2": verify_qcow2, "vpc": verify_vhd, "vdi": verify_vdi}
"""By QEMU's names of the formats."""
