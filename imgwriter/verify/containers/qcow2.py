"""Verify a qcow2: header, tables, refcounts and compressed clusters, as ``qemu-img check`` does and further.

::

    qcow2_header ──> qcow2_walk ──> references ── equal? ── refcounts      qcow2_references
                         └────────> each entry: OFLAG_COPIED, bits, data   qcow2_entries

The tables are walked twice: first the references to each cluster are counted and compared with the refcounts,
then each entry's OFLAG_COPIED is compared with those, and what is compressed is decompressed. An error is a
finding; a cluster that is only counted too often is a leak: a note, since nothing is lost but room.

An entry that leads to no table leaves out what it would have led to, and no more. The refcounts of a block
that cannot be read are not compared. Where it is another table, what refers to a cluster may be in that one:
then a refcount that is too high is no leak for certain, while one that is too low is too low all the same.

Spec: docs/interop/qcow2.txt.
"""

from __future__ import annotations

from collections.abc import Iterator

from imgwriter.errors import FormatError
from imgwriter.filedata import Amount
from imgwriter.readers.hostfile import HostFile
from imgwriter.units import counted
from imgwriter.verify.containers.qcow2_entries import DESCRIPTOR, Entries
from imgwriter.verify.containers.qcow2_header import STRUCTURE, Tables, check_header
from imgwriter.verify.containers.qcow2_references import (
    Difference,
    Refcounts,
    References,
    Stretch,
    differences,
)
from imgwriter.verify.containers.qcow2_walk import L1, L2, MANAGEMENT, MAPPING, REFCOUNT_TABLE, Walk
from imgwriter.verify.remarks import Remarks
from imgwriter.verify.values import Progress, Result


def verify_qcow2(file: HostFile, progress: Progress | None = None) -> Result:
    """Return what is wrong with a qcow2; offsets are those of the file.

    Args:
        file: The image.
        progress: Called with the bytes of the disk whose clusters were looked at, and of all of it.

    Raises:
        SourceError: The file cannot be read.
    """
    remarks = Remarks(MAPPING)
    tables = check_header(file, remarks)
    if tables is not None:
        try:
            _check_tables(file, tables, remarks, progress)
        except FormatError as error:
            remarks.find(error.where, "", error.offset or 0, "a place in the file", error, MAPPING)
    return remarks.result()


def _check_tables(file: HostFile, tables: Tables, remarks: Remarks, progress: Progress | None) -> None:
    fields, walk = tables.fields, Walk(file, tables, remarks)
    walk.count_fixed()
    blocks, unread = walk.blocks()
    refcounts = Refcounts(file, blocks, unread, 1 << fields.refcount_order, walk.step)
    active = walk.l2_tables(fields.l1_table_offset, fields.l1_size, L1)
    for _, offset in active:
        walk.count_table(offset, active=True)
    alone = True
    for at in walk.packed.overlaps():
        alone = False
        found = "bytes that belong to two"
        remarks.find(L2, "", at, "compressed clusters in places of their own", found, DESCRIPTOR)
    walk.count_snapshots()
    walk.count_bitmaps()
    if tables.complete:
        _note_unknown(walk, refcounts)
        _compare(walk, refcounts)
        # With snapshots a cluster may be in several places.
        if not fields.nb_snapshots:
            for stretch in _overlaps(walk.references, walk.sole):
                found = f"{_clusters(stretch.low, stretch.high)} in {stretch.times:,} places"
                at = stretch.low * walk.step
                remarks.find(L2, "", at, "each cluster in one place", found, MAPPING)
    else:
        remarks.note(STRUCTURE, "", 0, "all references to be known", "refcounts that are not compared")
    # A million entries for one compressed cluster would all be decompressed.
    entries = Entries(walk, refcounts, decompress=alone)
    entries.check_l1()
    span = walk.step // walk.entry_size << walk.bits
    for index, offset in active:
        entries.check_l2(index, offset)
        if progress is not None:
            progress(Amount(min((index + 1) * span, fields.size), 0), Amount(fields.size, 0))
    # What was stored has a refcount. Where that is not known, several entries are not damaged all at once.
    refcount = refcounts.at(walk.beyond.start >> walk.bits)
    walk.beyond.say(remarks, cut_off=walk.beyond.count > 1 if refcount is None else refcount > 0)


def _overlaps(references: References, sole: References) -> Iterator[Stretch]:
    """Yield the clusters that have several references, of which one should have been the only one."""
    alone = sole.stretches()
    one = next(alone, None)
    for stretch in references.stretches():
        while one is not None and one.high <= stretch.low:
            one = next(alone, None)
        if one is None:
            return
        if stretch.times > 1 and one.low < stretch.high:
            yield stretch


def _note_unknown(walk: Walk, refcounts: Refcounts) -> None:
    """Note the clusters whose refcounts are not known."""
    for low, high in refcounts.unknown():
        at = walk.fields.refcount_table_offset + 8 * low
        clusters = _clusters(low * refcounts.per_block, high * refcounts.per_block)
        found = f"a block that is not read: the refcounts of {clusters} are not compared"
        field = f"entry {low:,}" if high == low + 1 else f"entries {low:,} to {high - 1:,}"
        walk.remarks.note(REFCOUNT_TABLE, field, at, "blocks that can be read", found, MANAGEMENT)


def _compare(walk: Walk, refcounts: Refcounts) -> None:
    """Say where refcounts and references differ."""
    step, size = walk.step, walk.file.size
    doubtful: list[Difference] = []
    count = 0
    for each in differences(walk.references, refcounts):
        # What is missing with the end of the file has a refcount, and no reference that counts.
        if (walk.cut_off or walk.lost) and each.low * step >= size:
            continue
        if walk.lost and each.refcount > each.references:
            count += each.high - each.low
            doubtful = doubtful or [each]
        else:
            _say_difference(each, refcounts, walk)
    for each in doubtful:
        structure, at = _place(each, refcounts, step)
        found = f"{counted(count, 'cluster')} with more: leaks, or tables that were not read refer to them"
        expected = "the references that were found"
        walk.remarks.note(structure, "refcount", at, expected, found, MANAGEMENT)


def _place(each: Difference, refcounts: Refcounts, step: int) -> tuple[str, int]:
    """Return the structure and the offset of a difference."""
    number, index = divmod(each.low, refcounts.per_block)
    block = refcounts.blocks[number] if number < len(refcounts.blocks) else 0
    if block:
        return "qcow2 refcount block", block + index * refcounts.bits // 8
    return REFCOUNT_TABLE, each.low * step


def _say_difference(each: Difference, refcounts: Refcounts, walk: Walk) -> None:
    structure, at = _place(each, refcounts, walk.step)
    least = "at least " if walk.lost else ""
    expected = f"{least}{each.references:,}, the references to {_clusters(each.low, each.high)}"
    if each.refcount < each.references:
        found = f"{each.refcount:,}: too low"
        walk.remarks.find(structure, "refcount", at, expected, found, MANAGEMENT)
    else:
        found = f"{each.refcount:,}: {'too high' if each.references else 'leaked'}"
        walk.remarks.note(structure, "refcount", at, expected, found, MANAGEMENT)


def _clusters(low: int, high: int) -> str:
    return f"clusters {low:,} to {high - 1:,}" if high > low + 1 else f"cluster {low:,}"
