"""What well-known partition types are called: GUIDs of a GPT, OSTypes of an MBR, and attributes.

Names are for people; what is in a partition is told by its own bytes.

Spec: UEFI 2.10, 5.2.2 and 5.3.3; UAPI.2 Discoverable Partitions; Microsoft, PARTITION_INFORMATION_GPT.
"""

from __future__ import annotations

from uuid import UUID

from imgwriter import gpt, mbr

_LINUX_GUIDS = {
    "root": {
        "x86": "44479540-f297-41b2-9af7-d131d5f0458a",
        "x86-64": "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
        "ARM": "69dad710-2ce4-4e3c-b16c-21a1d49abed3",
        "ARM64": "b921b045-1df0-41c3-af44-4c6f280d3fae",
        "LoongArch64": "77055800-792c-4f94-b39a-98c91b762bb6",
        "PowerPC64LE": "c31c45e6-3f39-412e-80fb-4809c4980599",
        "RISC-V64": "72ec70a6-cf74-40e6-bd49-4bda08e8f224",
        "S390X": "5eead9a9-fe09-4a1e-a1d7-520d00531306",
    },
    "/usr": {
        "x86": "75250d76-8cc6-458e-bd66-bd47cc81a812",
        "x86-64": "8484680c-9521-48c6-9c11-b0720656f69e",
        "ARM": "7d0359a3-02b3-4f0a-865c-654403e70625",
        "ARM64": "b0e01050-ee5f-4390-949a-9101b17104e9",
        "LoongArch64": "e611c702-575c-4cbe-9a46-434fa0bf7e3f",
        "PowerPC64LE": "15bb03af-77e7-4d4a-b12b-c0d084f7491c",
        "RISC-V64": "beaec34b-8442-439b-a40b-984381ed097d",
        "S390X": "8a4f5770-50aa-4ed3-874a-99b710db6fea",
    },
    "root verity": {
        "x86-64": "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5",
        "ARM64": "df3300ce-d69f-4c92-978c-9bfb0f38d820",
    },
    "/usr verity": {
        "x86-64": "77ff5f63-e7b6-4633-acf4-1565b864c0e6",
        "ARM64": "6e11a4e7-fbca-4ded-b9e9-e1a512bb664e",
    },
    "root verity signature": {
        "x86-64": "41092b05-9fc8-4523-994f-2def0408b176",
        "ARM64": "6db69de6-29f4-4758-a7a5-962190f00ce3",
    },
    "/usr verity signature": {
        "x86-64": "e7bb33fb-06cf-4e81-8273-e543b413e2e2",
        "ARM64": "c23ce4ff-44bd-4b00-b2d4-b41b3419e02a",
    },
}
"""By use, then by architecture."""

_OTHER_GUIDS = {
    "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "Linux swap",
    "933ac7e1-2eb4-4f13-b844-0e14e2aef915": "Linux /home",
    "3b8f8425-20e0-4f3b-907f-1a25a76f98e8": "Linux /srv",
    "4d21b016-b534-45c2-a9fb-5c16e091fd2d": "Linux /var",
    "7ec6f557-3bc5-4aca-b293-16ef5df639d1": "Linux /var/tmp",
    "773f91ef-66d4-49b5-bd83-d683bf40ad16": "Linux user's home",
    "e6d6d379-f507-44c2-a23c-238f2a3df928": "Linux LVM",
    "a19d880f-05fc-4d3b-a006-743f0f84911e": "Linux RAID",
    "ca7d7ccb-63ed-4c53-861c-1742536059cc": "Linux LUKS",
    "7ffec5c9-2d00-49b7-8941-3ea10a5586b7": "Linux dm-crypt",
    "8da63339-0007-60c0-c436-083ac8230908": "Linux reserved",
    "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7": "Microsoft basic data",
    "e3c9e316-0b5c-4db8-817d-f92df00215ae": "Microsoft reserved",
    "de94bba4-06d1-4d40-a16a-bfd50179d6ac": "Windows recovery",
    "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3": "Microsoft LDM metadata",
    "af9b60a0-1431-4f62-bc68-3311714a69ad": "Microsoft LDM data",
    "e75caf8f-f680-4cee-afa3-b001e56efc2d": "Microsoft Storage Spaces",
    "024dee41-33e7-11d3-9d69-0008c781f39f": "MBR in a partition",
    "9e1a2d38-c612-4316-aa26-8b49521e5a8b": "PowerPC PReP boot",
    "7412f7d5-a156-4b13-81dc-867174929325": "ONIE boot",
    "d4e6e2cd-4469-46f3-b5cb-1bff57afc149": "ONIE configuration",
    "48465300-0000-11aa-aa11-00306543ecac": "Apple HFS+",
    "7c3457ef-0000-11aa-aa11-00306543ecac": "Apple APFS",
    "426f6f74-0000-11aa-aa11-00306543ecac": "Apple boot",
    "83bd6b9d-7f41-11dc-be0b-001560b84f0f": "FreeBSD boot",
    "516e7cb4-6ecf-11d6-8ff8-00022d09712b": "FreeBSD data",
    "516e7cb5-6ecf-11d6-8ff8-00022d09712b": "FreeBSD swap",
    "516e7cb6-6ecf-11d6-8ff8-00022d09712b": "FreeBSD UFS",
    "516e7cba-6ecf-11d6-8ff8-00022d09712b": "FreeBSD ZFS",
    "824cc7a0-36a8-11e3-890a-952519ad3f61": "OpenBSD data",
    "49f48d5a-b10e-11dc-b99b-0019d1879648": "NetBSD FFS",
    "6a898cc3-1dd2-11b2-99a6-080020736631": "Solaris /usr, or ZFS",
    "fe3a2a5d-4f32-41a7-b725-accc3285a309": "ChromeOS kernel",
    "3cb8e202-3b7e-47dd-8a3c-7ff2a13cfcec": "ChromeOS root",
    "aa31e02a-400f-11db-9590-000c2911d1b8": "VMware VMFS",
    "4fbd7e29-9d25-41b8-afd0-062c0ceff05d": "Ceph OSD",
}

GUIDS: dict[UUID, str] = {
    gpt.TYPE_ESP: "EFI system partition",
    gpt.TYPE_BIOS_BOOT: "BIOS boot",
    gpt.TYPE_LINUX_DATA: "Linux data",
    gpt.TYPE_XBOOTLDR: "extended boot loader",
    **{UUID(guid): name for guid, name in _OTHER_GUIDS.items()},
    **{
        UUID(guid): f"Linux {use}, {architecture}"
        for use, guids in _LINUX_GUIDS.items()
        for architecture, guid in guids.items()
    },
}
"""Names of type GUIDs."""

OS_TYPES: dict[int, str] = {
    0x01: "FAT12",
    0x04: "FAT16 below 32 MiB",
    0x05: "extended",
    0x06: "FAT16",
    0x07: "NTFS or exFAT",
    0x0B: "FAT32",
    mbr.OS_TYPE_FAT32_LBA: "FAT32 (LBA)",
    0x0E: "FAT16 (LBA)",
    0x0F: "extended (LBA)",
    0x11: "hidden FAT12",
    0x14: "hidden FAT16 below 32 MiB",
    0x16: "hidden FAT16",
    0x17: "hidden NTFS",
    0x1B: "hidden FAT32",
    0x1C: "hidden FAT32 (LBA)",
    0x1E: "hidden FAT16 (LBA)",
    0x27: "Windows recovery",
    0x41: "PowerPC PReP boot",
    0x82: "Linux swap",
    mbr.OS_TYPE_LINUX: "Linux",
    0x85: "Linux extended",
    0x8E: "Linux LVM",
    0xA5: "FreeBSD",
    0xA6: "OpenBSD",
    0xA9: "NetBSD",
    0xAF: "Apple HFS+",
    0xDA: "data without a file system",
    0xEA: "boot loader specification",
    mbr.OS_TYPE_GPT_PROTECTIVE: "GPT protective",
    0xEF: "EFI system partition",
    0xFB: "VMware VMFS",
    0xFD: "Linux RAID",
}
"""Names of OSTypes."""

_ATTRIBUTES = {
    0: "required",
    1: "no block I/O",
    2: "legacy boot",
    59: "grow file system",
    60: "read-only",
    62: "hidden",
    63: "no automount",
}
"""Bits 48 to 63 are the type's own: these are Microsoft's and the Discoverable Partitions Specification's."""


def name_of(type_: UUID | int) -> str | None:
    """Return what a partition type is called, None where it is not known here."""
    return GUIDS.get(type_) if isinstance(type_, UUID) else OS_TYPES.get(type_)


def attribute_names(attributes: int) -> list[str]:
    """Return what a GPT entry's attributes say; "bit N" where that is not known here."""
    return [_ATTRIBUTES.get(bit, f"bit {bit}") for bit in range(64) if attributes >> bit & 1]
