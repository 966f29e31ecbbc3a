"""Run a parser over a corpus, and say where it differs from the manifest.

    python examples/fuzz/check_corpus.py CORPUS

To try a parser of your own, put it in the place of the one that is imported.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from parser import NoTable, read_gpt


def verdict_of(disk: bytes) -> tuple[str, list[tuple[int, int, int]] | None]:
    """Return what the parser does with a disk, in the manifest's words, and the partitions that it sees."""
    try:
        which, partitions = read_gpt(disk)
    except NoTable:
        return "refuse", []
    except Exception as error:
        return f"crash: {type(error).__name__}", None
    return ("backup" if which == "backup" else "accept"), [tuple(p) for p in partitions]


def main(folder: str) -> int:
    """Print each difference, and how many there are."""
    manifest = json.loads((Path(folder) / "manifest.json").read_text())
    counts: Counter[str] = Counter()
    for case in manifest["cases"]:
        if case["verdict"] is None or case["table"] == "mbr":
            continue
        found, partitions = verdict_of((Path(folder) / case["file"]).read_bytes())
        expected = case["verdict"]
        seen = None if case["partitions"] is None else [tuple(p.values()) for p in case["partitions"]]
        known = seen is not None and partitions is not None
        if found == expected and known and sorted(partitions) != sorted(seen):
            found = "other partitions"
        counts["the same" if found == expected else found] += 1
        if found != expected:
            print(f"{case['file']}: {found}, not {expected}: {case['description']} ({case['section']})")
    print(", ".join(f"{count} {what}" for what, count in counts.most_common()))
    return int(set(counts) != {"the same"})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
