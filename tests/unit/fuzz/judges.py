"""What imgwriter's own readers make of a case, in the catalogue's words."""

from __future__ import annotations

import os
from typing import NamedTuple

from imgwriter.errors import ImgwriterError
from imgwriter.ext4 import reader as ext4_reader
from imgwriter.extent import Volume
from imgwriter.fat import reader as fat_reader
from imgwriter.filedata import SharedFile
from imgwriter.fuzz.deviation import Case
from imgwriter.readers import READERS
from imgwriter.readers.hostfile import HostFile
from imgwriter.tables_reader import Table, read_table

FORMATS = {"qcow2": "qcow2", "vhd": "vpc"}


class Judgement(NamedTuple):
    verdict: str
    table: str | None = None
    partitions: tuple[tuple[int, int, int], ...] | None = None


def judge(case: Case) -> Judgement:
    """Return what a reader does with a case; other exceptions than ImgwriterError come through."""
    volume = case.image.volume()
    if case.kind in ("mbr", "gpt"):
        return _of_table(read_table(volume, case.image.sector_size))
    try:
        if case.kind == "fat":
            fat_reader.read_file_system(volume).tree()
        elif case.kind == "ext4":
            ext4_reader.read_file_system(volume, verify=True).tree()
        else:
            return _of_container(volume, FORMATS[case.kind])
    except ImgwriterError:
        return Judgement("refuse")
    return Judgement("accept")


def _of_table(table: Table) -> Judgement:
    partitions = tuple(sorted((p.number, p.start, p.size) for p in table.partitions))
    if table.kind == "gpt" and table.used is not None:
        return Judgement("backup" if table.used == "backup" else "accept", "gpt", partitions)
    if table.kind == "mbr":
        return Judgement("accept", "mbr", partitions)
    return Judgement("refuse", "none", ())


def _of_container(volume: Volume, image_format: str) -> Judgement:
    fd = os.memfd_create("case", os.MFD_CLOEXEC)
    os.write(fd, volume.read(0, volume.size))
    disk, details = READERS[image_format](HostFile(SharedFile(fd, b"case", None), volume.size))
    disk.read(0, min(disk.size, 1 << 24))
    return Judgement("backup" if details.get("footer") == "copy at the start" else "accept")
