"""virt-firmware reads a flash image of EFI variables, in a process of its own: it exits where it objects."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.oracles.tools import run

_SCRIPT = """
import json, sys
from virt.firmware.varstore.edk2 import Edk2VarStore
found = Edk2VarStore(sys.argv[1]).get_varlist()
print(json.dumps({name: variable.data.hex() for name, variable in found.items()}))
"""


def read(path: Path) -> dict[str, str]:
    """Return the variables' values in hexadecimal, by name; one that it cannot read fails the test."""
    found: dict[str, str] = json.loads(run(sys.executable, "-c", _SCRIPT, path))
    return found
