"""Print docs/fuzzing-catalogue.md: every deviation of the catalogue, with its verdict and section.

::

    python -m tests.fuzz.catalogue_table > docs/fuzzing-catalogue.md
"""

from __future__ import annotations

from collections.abc import Iterator

from imgwriter.fuzz.catalogue import KINDS, deviations

HEAD = """\
# The catalogue of deviations

What `imgwriter fuzz corpus` writes, each in an image of its own. [fuzzing.md](fuzzing.md) says what the
verdicts mean. Printed by `python -m tests.fuzz.catalogue_table`; a test compares.
"""

TITLES = {
    "mbr": "MBR and EBR",
    "gpt": "GPT",
    "fat": "FAT",
    "ext4": "ext4",
    "qcow2": "qcow2",
    "vhd": "VHD",
}


def table() -> str:
    """Return the document."""
    return HEAD + "".join(f"\n{line}\n" if line.startswith("## ") else f"{line}\n" for line in _lines())


def _lines() -> Iterator[str]:
    for kind in KINDS:
        yield f"## {TITLES[kind]}: {len(deviations(kind))} deviations"
        yield ""
        yield "| deviation | verdict | what is wrong | where the rule stands |"
        yield "|---|---|---|---|"
        for d in deviations(kind):
            yield f"| `{d.name}` | {d.verdict or 'open'} | {d.description} | {d.section} |"


if __name__ == "__main__":
    print(table(), end="")
