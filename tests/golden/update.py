"""Write the sums anew: ``python -m tests.golden.update``. PROVENANCE.md says when."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.golden import images


def main() -> None:
    """Build every pinned image, and print which sums changed."""
    before = images.read() if images.SUMS.exists() else {}
    after = {}
    for name in images.REQUESTS:
        with tempfile.TemporaryDirectory() as scratch:
            after[name] = images.build(name, Path(scratch))
        print(f"{'same   ' if before.get(name) == after[name] else 'changed'}  {name}")
    images.SUMS.write_text(json.dumps(after, indent=2) + "\n")


if __name__ == "__main__":
    main()
