"""A corpus: a folder of small sparse images, and manifest.json, which says what each is.

::

    CorpusSpec ── plan_corpus ──> Cases, one at a time ── write_corpus ──> DIR/gpt-0001-valid.img ...
                                                                           DIR/manifest.json

The catalogue comes first, each deviation once; what is asked for beyond it is drawn from the seed. The same
request gives the same bytes. docs/fuzzing.md describes the manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import imgwriter
from imgwriter.errors import OutputError, SpecError, show
from imgwriter.extent import Volume
from imgwriter.filedata import Amount
from imgwriter.fuzz.catalogue import KINDS, makers
from imgwriter.fuzz.chance import Chance
from imgwriter.fuzz.deviation import Case
from imgwriter.fuzz.mutations import mixed_case
from imgwriter.sink import write, write_bytes
from imgwriter.sink.folder import replacing_folder
from imgwriter.units import counted, format_size

ALL = "all"
MANIFEST = "manifest.json"
VERSION = 1
MOST_CASES = 1_000_000
_MOST_MANIFEST = 1 << 30
_SLUG_LENGTH = 60
_SUFFIXES = {"qcow2": "qcow2", "vhd": "vhd"}
_ZEROS = bytes(1 << 16)


@dataclass(frozen=True, slots=True)
class CorpusSpec:
    """What a corpus is asked to be.

    Attributes:
        kind: "mbr", "gpt", "fat", "ext4", "qcow2", "vhd" or "all".
        output: The folder to make: missing, empty, or an earlier corpus and nothing else.
        seed: What cases beyond the catalogue are drawn from.
        count: How many cases; None for the catalogue once. Fewer than the catalogue has are drawn from it.

    Raises:
        SpecError: There is no such kind, or the count is none.
    """

    kind: str
    output: str | bytes
    seed: int = 0
    count: int | None = None

    def __post_init__(self) -> None:
        if self.kind != ALL and self.kind not in KINDS:
            raise SpecError(
                f"there is no kind {self.kind!r} of corpus; use one of {', '.join((*KINDS, ALL))}"
            )
        if self.count is not None and not 1 <= self.count <= MOST_CASES:
            cases = counted(self.count, "case")
            raise SpecError(f"a corpus of {cases} is not made; ask for 1 to {MOST_CASES:,}")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of image in it."""
        return KINDS if self.kind == ALL else (self.kind,)


class Corpus(NamedTuple):
    """A corpus that was written.

    Attributes:
        directory: Where.
        cases: How many of each kind.
        size: Bytes of all images.
        stored: Bytes of them that are not holes.
    """

    directory: str
    cases: Mapping[str, int]
    size: int
    stored: int

    def text(self) -> str:
        """Return what is printed."""
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.cases.items())
        return (
            f"{show(os.fsencode(self.directory))}: {counted(sum(self.cases.values()), 'case')} ({kinds}),"
            f" {format_size(self.size)}, of which {format_size(self.stored)} are no holes"
        )

    def document(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "imgwriter": imgwriter.__version__,
            "directory": self.directory,
            "manifest": os.path.join(self.directory, MANIFEST),
            "cases": dict(self.cases),
            "size": self.size,
            "stored": self.stored,
        }


def plan_corpus(spec: CorpusSpec) -> Iterator[Case]:
    """Yield the cases of a corpus, in the order of its files."""
    catalogue = [make for kind in spec.kinds for make in makers(kind)]
    count = len(catalogue) if spec.count is None else spec.count
    if count < len(catalogue):
        catalogue = Chance("imgwriter corpus 1", spec.seed, "sample").sample(catalogue, count)
    for make in catalogue:
        yield make()
    for number in range(count - len(catalogue)):
        round_, index = divmod(number, len(spec.kinds))
        yield mixed_case(spec.kinds[index], spec.seed, round_)


def write_corpus(spec: CorpusSpec, progress: Callable[[Amount, Amount], None] | None = None) -> Corpus:
    """Write a corpus; the folder appears when all of it is written.

    Args:
        spec: What it is asked to be.
        progress: Called after each image, with what is written and, estimated, all.

    Raises:
        OutputError: The folder holds something else, or cannot be written.
    """
    output = os.fsencode(spec.output)
    entries: list[dict[str, Any]] = []
    kinds: Counter[str] = Counter()
    size = stored = 0
    total = spec.count or sum(len(makers(kind)) for kind in spec.kinds)
    with replacing_folder(output, _earlier(output)) as folder:
        for number, case in enumerate(plan_corpus(spec), 1):
            name, volume = file_name(number, case), case.image.volume()
            write(volume, os.path.join(folder, os.fsencode(name)), workers=1)
            entries.append(manifest_entry(name, case, volume))
            kinds[case.kind] += 1
            size, stored = size + volume.size, stored + volume.allocated
            if progress is not None:
                progress(Amount(stored, number), Amount(stored * total // number, total))
        write_bytes(os.path.join(folder, MANIFEST.encode()), _manifest(spec, entries))
    return Corpus(os.fsdecode(output), dict(kinds), size, stored)


def file_name(number: int, case: Case) -> str:
    """Return a case's file name: its kind, its number from 1, and what deviates."""
    if not case.deviations:
        slug = "valid"
    elif len(case.deviations) > 1 or "=" in case.deviations[0]:
        slug = "mixed"
    else:
        slug = re.sub(r"[^a-z0-9]+", "-", case.deviations[0].partition(".")[2].lower())
    return f"{case.kind}-{number:04}-{slug[:_SLUG_LENGTH].strip('-')}.{_SUFFIXES.get(case.kind, 'img')}"


def manifest_entry(name: str, case: Case, volume: Volume) -> dict[str, Any]:
    """Return what the manifest says of a case."""
    partitions = case.partitions
    return {
        "file": name,
        "size": volume.size,
        "sector_size": case.image.sector_size,
        "deviations": list(case.deviations),
        "description": case.description,
        "section": case.section,
        "verdict": case.verdict,
        "table": case.table,
        "partitions": None if partitions is None else [p._asdict() for p in partitions],
        "sha256": sha256(volume),
    }


def sha256(volume: Volume) -> str:
    """Return the checksum of a volume's bytes."""
    digest = hashlib.sha256()
    position = 0
    for e in volume.extents:
        _zeros(digest, e.start - position)
        for piece in e.data.chunks(e.data_start, e.data_start + e.length):
            digest.update(piece)
        position = e.end
    _zeros(digest, volume.size - position)
    return digest.hexdigest()


def _zeros(digest: hashlib._Hash, count: int) -> None:
    whole, rest = divmod(count, len(_ZEROS))
    for _ in range(whole):
        digest.update(_ZEROS)
    digest.update(_ZEROS[:rest])


def _manifest(spec: CorpusSpec, entries: list[dict[str, Any]]) -> bytes:
    document = {
        "version": VERSION,
        "kind": spec.kind,
        "seed": spec.seed,
        "imgwriter": imgwriter.__version__,
        "cases": entries,
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _earlier(output: bytes) -> set[str]:
    """Return the names of an earlier corpus's files; none where nothing or an empty folder is there.

    Raises:
        OutputError: Something else is there.
    """
    shown = show(output)
    try:
        if not stat.S_ISDIR(os.lstat(output).st_mode):
            raise OutputError(f"{shown} is no folder; give another place for the corpus", os.fsdecode(output))
        present = set(os.listdir(os.fsdecode(output)))
        if not present:
            return set()
        names = _names_in(os.path.join(output, MANIFEST.encode())) if MANIFEST in present else set()
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise OutputError(
            f"{shown} cannot be read: {error.strerror}; give another place", os.fsdecode(output)
        ) from error
    if others := present - names:
        raise OutputError(
            f"{shown} has files that are not an earlier corpus's, such as {min(others)!r}; give a folder that"
            " is empty or not there",
            os.fsdecode(output),
        )
    return present


def _names_in(path: bytes) -> set[str]:
    """Return the manifest's name and those in it; none where it is not a manifest."""
    with open(path, "rb") as file:
        content = file.read(_MOST_MANIFEST)
    try:
        document = json.loads(content)
        return {MANIFEST, *(str(case["file"]) for case in document["cases"])}
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()
