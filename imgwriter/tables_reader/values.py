"""What a reader finds in a partition table, as values."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias
from uuid import UUID

from imgwriter.findings import Finding
from imgwriter.gpt import Header
from imgwriter.mbr import OS_TYPE_GPT_PROTECTIVE, Mbr

Kind: TypeAlias = Literal["none", "mbr", "gpt"]
Role: TypeAlias = Literal["primary", "extended", "logical"]
Which: TypeAlias = Literal["primary", "backup"]

MBR_SECTION = "UEFI 2.10, 5.2.1"
PROTECTIVE_SECTION = "UEFI 2.10, 5.2.3"
HEADER_SECTION = "UEFI 2.10, 5.3.2"
ENTRY_SECTION = "UEFI 2.10, 5.3.3"
EBR_SECTION = "no specification: DOS, Linux block/partitions/msdos.c"


class Partition(NamedTuple):
    """A partition as its table has it: also where it does not lie on the disk.

    Attributes:
        number: As Linux numbers it: a GPT's entries and an MBR's records from 1, logical ones from 5.
        start, size: Bytes.
        type: The type GUID, or an MBR's OSType.
        role: "primary" for all of a GPT; "extended" ones hold the logical ones.
        name: A GPT entry's; text as far as it is UTF-16, lone surrogates stay.
        guid: A GPT entry's own.
        attributes: A GPT entry's 64 bits.
        active: An MBR's boot indicator.
    """

    number: int
    start: int
    size: int
    type: UUID | int
    role: Role = "primary"
    name: str = ""
    guid: UUID | None = None
    attributes: int = 0
    active: bool = False

    @property
    def end(self) -> int:
        """The offset of the first byte after the partition."""
        return self.start + self.size


class GptCopy(NamedTuple):
    """One of the two copies of a GPT.

    Attributes:
        which: "primary" or "backup".
        lba: Where its header was looked for.
        header: What stands there; None where there is no signature.
        array: The bytes of its entries; empty where they cannot be read.
        usable: Whether a reader may take it: signature, size, both checksums, my_lba and bounds are right.
        findings, notes: About the header and the array as a whole, not about single entries.
    """

    which: Which
    lba: int
    header: Header | None
    array: bytes
    usable: bool
    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]


class Table(NamedTuple):
    """What a disk's first and last sectors say.

    Attributes:
        kind: "none" where there is no table, or none that can be told from something else.
        sector_size: Bytes.
        sectors: Whole sectors of the disk.
        partitions: By number.
        identifier: The disk's GUID, or the MBR's disk signature; None where there is none.
        used: The copy of the GPT that ``partitions`` is from; None where neither is usable.
        copies: Both copies of a GPT, primary first.
        mbr: Sector 0 read as an MBR: a GPT's protective or hybrid one, too.
        findings: What is not as the specification wants it.
        notes: What it allows, or leaves open, and few tables have.
    """

    kind: Kind
    sector_size: int
    sectors: int
    partitions: tuple[Partition, ...] = ()
    identifier: UUID | int | None = None
    used: Which | None = None
    copies: tuple[GptCopy, ...] = ()
    mbr: Mbr | None = None
    findings: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()

    @property
    def hybrid(self) -> bool:
        """Whether the MBR of a GPT has partitions besides the protective one."""
        records = self.mbr.records.values() if self.kind == "gpt" and self.mbr is not None else ()
        return any(record.os_type != OS_TYPE_GPT_PROTECTIVE for record in records)
