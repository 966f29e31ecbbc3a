"""The `ext4` package: recomputes metadata checksums, in Python and apart from e2fsprogs.

It pins another distribution of crcmod than imgwriter uses, hence an environment of its own.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.oracles.tools import ROOT, Result, attempt, require_file

_PYTHON = ROOT / ".venv-ext4" / "bin" / "python"
_SCRIPT = Path(__file__).with_name("ext4_validate_script.py")


def raw(image: Path, offset: int = 0) -> Result:
    """Validate a file system and return what the package said."""
    return attempt(str(require_file(_PYTHON)), _SCRIPT, image, str(offset))


def check(image: Path, offset: int = 0) -> int:
    """Assert that every checksum is right; return how many inodes were looked at."""
    result = raw(image, offset)
    match = re.fullmatch(r"(\d+) inodes validated\n", result.out)
    assert result.status == 0 and match, result.text
    return int(match[1])
