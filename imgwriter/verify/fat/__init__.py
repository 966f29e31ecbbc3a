"""Verify a FAT12, FAT16 or FAT32 file system: everything that its specification lays down.

::

    boot sector ──> areas ──┬─ backup, FATs, FSInfo, entries 0 and 1     said twice: equal?
                            ├─ root ─ directories ─ chains               each cluster once?
                            └─ clusters in no chain                      lost?

What the specification demands is a finding where it is missing; what is allowed and rare, or the state of a
volume (not cleanly unmounted, bad clusters), is a note. docs/formats/fat-reading.md lists all of it.

Spec: Microsoft FAT Specification (August 30, 2005).
"""

from __future__ import annotations

from collections.abc import Callable

from imgwriter.errors import FormatError
from imgwriter.extent import Volume
from imgwriter.fat.boot_reader import Layout, read_boot_sector, read_fsinfo
from imgwriter.fat.reader import FileSystem
from imgwriter.fat.structures import NO_LABEL
from imgwriter.filedata import Amount
from imgwriter.verify.fat.boot import Place, check_boot_sector
from imgwriter.verify.fat.clusters import check_lost
from imgwriter.verify.fat.copies import check_backup, check_fsinfo, check_reserved_entries, check_tables
from imgwriter.verify.fat.directories import Walk
from imgwriter.verify.fat.entries import ENTRY
from imgwriter.verify.remarks import Remarks
from imgwriter.verify.values import Progress, Result
from imgwriter.window import Window

__all__ = ["verify_fat"]

_SECTION = "FAT specification"


def verify_fat(
    volume: Volume,
    offset: int = 0,
    size: int | None = None,
    progress: Progress | None = None,
    *,
    in_partition: bool = False,
    known_cut: bool = False,
) -> Result:
    """Return what is wrong with a FAT file system, whatever is there.

    Args:
        volume: The disk.
        offset: Where the file system begins, in bytes.
        size: Bytes that it may have, as of its partition; None for all that follow.
        progress: Called with the bytes of clusters seen, and of all that are in use.
        in_partition: Whether it is in a partition, whose first sector BPB_HiddSec is to have.
        known_cut: That the volume is cut off was found already: what of the file system is missing is a note.

    Raises:
        FormatError: The window does not lie in the volume, or a compressed cluster of the image is damaged.
        SourceError: The image's file cannot be read.
    """
    remarks = Remarks(_SECTION)
    window = Window(volume, offset)
    size = window.size if size is None else min(size, window.size)
    try:
        boot = read_boot_sector(window)
    except FormatError as error:
        remarks.find("FAT boot sector", "", offset, "512 bytes", error)
        return remarks.result()
    layout = check_boot_sector(boot, Place(window, size, in_partition, known_cut), remarks)
    if layout is not None:
        fsinfo = read_fsinfo(boot, layout, window)
        _check_contents(FileSystem(window, boot, layout, fsinfo), remarks, progress)
    return remarks.result()


def _check_contents(file_system: FileSystem, remarks: Remarks, progress: Progress | None) -> None:
    """Check all that is behind the boot sector."""
    layout, table = file_system.layout, file_system.table
    check_backup(file_system, remarks)
    check_tables(file_system, remarks)
    check_reserved_entries(file_system, remarks)
    free = table.free()
    check_fsinfo(file_system, free, remarks)
    walk = Walk(file_system, remarks, _teller(progress, layout, free))
    walk.run()
    if walk.chains.crossed:
        # The tree once more, for the names of those that had the clusters first.
        again = Walk(file_system, Remarks(_SECTION), lambda _claimed: None, walk.chains.crossed)
        again.run()
        walk.chains.say_crossed(again.chains.owners)
    check_lost(table, walk.chains.claims, remarks, exact=walk.chains.exact)
    _check_label(file_system, walk.labels, remarks)


def _check_label(file_system: FileSystem, labels: list[bytes], remarks: Remarks) -> None:
    """Check the label of the boot sector against that of the root, which counts.

    Spec: FAT specification, 3.2, BS_VolLab.
    """
    label = file_system.boot.label
    if label is None:
        return
    root = labels[0] if labels else NO_LABEL
    # Some programs leave spaces where there is no label.
    if label != root and not (root == NO_LABEL and not label.strip()):
        at = file_system.window.offset + (71 if file_system.boot.wide else 43)
        expected = f"{root!r}, as in the root directory"
        remarks.find("FAT boot sector", "BS_VolLab", at, expected, f"{label!r}", ENTRY)


def _teller(progress: Progress | None, layout: Layout, free: int) -> Callable[[int], None]:
    size = layout.cluster_size
    total = Amount((layout.clusters - free) * size, 0)

    def tell(claimed: int) -> None:
        if progress is not None:
            progress(Amount(claimed * size, 0), total)

    return tell
