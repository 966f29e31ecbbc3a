"""What a spec file may hold: one table, from which the reader reads and the JSON Schema is made.

Every field of :class:`~imgwriter.spec.ImageSpec` has a row. Its key is the field's name; its other spelling
is that of make-disk-image.nix where it has such a parameter, else the same words in camelCase.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from imgwriter.container import COMPRESSIONS, FORMATS, QCOW2_COMPATS, VDI_SUBFORMATS, VHD_SUBFORMATS
from imgwriter.spec import boot, nix
from imgwriter.spec.image_spec import (
    BLOCK_SIZES,
    COMPATS,
    FAT_TYPES,
    FS_TYPES,
    HARD_LINKS,
    HOLES,
    PARTITION_TABLES,
    SECTOR_SIZES,
)
from imgwriter.spec.kinds import (
    BOOLEAN,
    CLUSTER_SIZE,
    CONTENTS,
    COUNT,
    DISK_SIZE,
    GUIDS,
    HEX32,
    IEC_SIZE,
    OWNER,
    PATH,
    PATHS,
    SECONDS,
    SIZE,
    TEXT,
    TEXTS,
    UUID,
    VERSION,
    Kind,
    Schema,
    choice,
    number,
    number_of,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_KEY = "$schema"
"""A key that editors look for; the reader reads over it."""


class Key(NamedTuple):
    """One setting.

    Attributes:
        name: The field of ImageSpec.
        kind: What its value may be.
        about: What it is, in a sentence.
        other: The other spelling; "" for camelCase.
        other_kind: What the value may be in that spelling, where it differs.
    """

    name: str
    kind: Kind
    about: str
    other: str = ""
    other_kind: Kind | None = None

    @property
    def spellings(self) -> dict[str, Kind]:
        """The keys that say it, and what they may hold."""
        other = self.other or re.sub("_(.)", lambda match: match[1].upper(), self.name)
        return {other: self.other_kind or self.kind, self.name: self.kind}


KEYS = (
    # What goes in
    Key("trees", PATHS, "Directories and tar files, the last on top; - is a tar on standard input.", "tree"),
    Key("excludes", TEXTS, "What the trees leave out, as in .gitignore.", "exclude"),
    Key("contents", CONTENTS, "Host paths grafted into the image; a source with * is a pattern."),
    Key("content_nest", BOOLEAN, "A directory goes into its target, as in make-disk-image.nix until 2023."),
    Key("overrides", PATH, "A file of owners, modes and devices by path."),
    Key("owner", OWNER, "Owner of what comes from directories; 0:0 unless given."),
    Key("xattrs", TEXT, "Extended attributes to keep: default, all, none, +PATTERN, -PATTERN, by commas."),
    Key("holes", choice(HOLES), "Holes of files: the source's, none, or every block of zeros."),
    Key("hard_links", choice(HARD_LINKS), "What becomes of a file of more than 65,000 names."),
    Key("time", SECONDS, "The time on what imgwriter makes; SOURCE_DATE_EPOCH, else 1, unless given."),
    Key("clamp", SECONDS, "The time that no file's exceeds; SOURCE_DATE_EPOCH where that is set."),
    # A NixOS system
    Key("toplevel", TEXT, "The NixOS system that the root is prepared for, a store path."),
    Key("shell", TEXT, "What /bin/sh points to: a program in the store, or a store path with bin/sh in it."),
    Key("closures", PATHS, "Files and directories that say which store paths go in.", "closure"),
    Key("store_root", PATH, "The directory that the host's nix/store is in; / unless given."),
    Key("verify_nar", BOOLEAN, "Whether a store path is hashed where its hash is known; true unless given."),
    Key("channel", TEXT, "The channel of the image's root user, a store path."),
    Key("nixpkgs", PATH, "A nixpkgs that the channel is made from."),
    Key("copy_channel", BOOLEAN, "Whether the channel that is given goes in; true unless given."),
    Key("additional_paths", TEXTS, "Store paths that go in beside the toplevel's closure."),
    Key("config_file", PATH, "What /etc/nixos/configuration.nix is."),
    Key("only_nix_store", BOOLEAN, "Whether the image's root is /nix/store, and nothing else goes in."),
    Key("root_variant", choice(nix.ROOT_VARIANTS), "Which of NixOS's scripts prepares the root."),
    Key("nix_version", VERSION, "The Nix whose database is written."),
    Key("install_boot_loader", BOOLEAN, "Whether a boot loader is installed; with a toplevel unless given."),
    Key("boot_loader", choice(boot.BOOT_LOADERS), "Which one; a guest is the system's own installer."),
    Key("boot_command", TEXT, "What the image's shell runs in a guest to install it."),
    Key("activate", BOOLEAN, "Whether the guest runs the system's activation script first."),
    Key("esp_mount", TEXT, "Where the ESP is mounted in the image's system."),
    Key("boot_mount", TEXT, "Where the other boot partition is mounted in it."),
    Key(
        "installer_noise",
        TEXT,
        "What an installer leaves behind and is dropped: default, none, +PATTERN, ...",
    ),
    Key("keep_guest_image", BOOLEAN, "Whether the image is the one that the guest wrote to."),
    Key("vm_kernel", PATH, "The kernel that the guest boots, where the tree has none."),
    Key("vm_modules", PATH, "Its modules."),
    Key("vm_busybox", PATH, "A static busybox for the guest."),
    Key("vm_qemu", PATH, "QEMU."),
    Key("vm_timeout", number("a number of seconds", 1), "Seconds that the guest may take."),
    Key("accel", choice(boot.ACCELERATORS), "How the guest is run."),
    Key("qemu_sandbox", choice(boot.QEMU_SANDBOXES), "Whether QEMU gives up system calls."),
    Key("mem_size", number("a number of MiB", 1), "MiB of memory of the guest, where one runs."),
    Key("touch_efi_vars", BOOLEAN, "Whether EFI variables are kept beside the image.", "touchEFIVars"),
    Key("efi_firmware", PATH, "The guest's firmware, where EFI variables are kept."),
    Key("efi_variables", PATH, "The template of its variables."),
    Key("kernel_parameters", TEXT, "What a boot loader's entries have besides the root."),
    Key("boot_timeout", number("a number of seconds", 0), "Seconds that its menu waits."),
    Key("grub_config", PATH, "GRUB's grub.cfg, where it is not to be made."),
    Key("grub_modules", TEXTS, "Modules that GRUB's core image has besides."),
    Key("post_vm", TEXT, "Shell code: only nix/make-disk-image.nix runs it.", "postVM"),
    Key("deterministic", BOOLEAN, "Always true."),
    # The disk
    Key("partition_table", choice(PARTITION_TABLES), "The partition table.", "partitionTableType"),
    Key("compat", choice(COMPATS), "Whose boundaries: the first script's, or current nixpkgs'."),
    Key("disk_size", DISK_SIZE, "Size of the whole disk."),
    Key("additional_space", SIZE, "Room left for files in a disk of size auto.", "", IEC_SIZE),
    Key("boot_end", SIZE, "Where the boot partition ends, from the disk's start.", "bootSize", IEC_SIZE),
    Key("size_formula", choice(nix.SIZE_FORMULAS), "How a disk's size auto is worked out."),
    Key("sector_size", number_of(SECTOR_SIZES), "Bytes in a sector."),
    # File systems
    Key("fs_type", choice(FS_TYPES), "The root file system; others than ext4 without a partition table."),
    Key("label", TEXT, "The root file system's label."),
    Key("block_size", number_of(BLOCK_SIZES), "Bytes in a block of it."),
    Key("features", TEXT, "Changes to its features, as mke2fs -O has them."),
    Key("inodes", COUNT, "Inodes, at least."),
    Key("inode_ratio", COUNT, "One inode for so many bytes."),
    Key("esp_contents", CONTENTS, "What goes into the EFI system partition."),
    Key("boot_contents", CONTENTS, "What goes into the other boot partition."),
    Key("fat_type", number_of(FAT_TYPES), "FAT width."),
    # Identifiers
    Key("seed", TEXT, "What every identifier derives from that is not given."),
    Key("disk_guid", UUID, "Of a GPT.", "diskGUID"),
    Key("partition_guids", GUIDS, "Of a GPT's partitions.", "partitionGUIDs"),
    Key("root_gpuid", UUID, "Of the root's partition of a GPT.", "rootGPUID"),
    Key("disk_signature", HEX32, "Of an MBR."),
    Key("root_uuid", UUID, "Of the root file system.", "rootFSUID"),
    Key("hash_seed", UUID, "Of its directory hashes."),
    Key("fat_volume_id", HEX32, "Of the first FAT file system.", "fatVolumeID"),
    # The image
    Key("name", TEXT, "The directory that receives the image where no output is given."),
    Key("output", PATH, "The directory that receives the image; - for standard output."),
    Key("base_name", TEXT, "The image's name without its suffix."),
    Key("format", choice(FORMATS), "Its container."),
    Key("cluster_size", CLUSTER_SIZE, "Of a qcow2."),
    Key("qcow2_compat", choice(QCOW2_COMPATS), "Version of a qcow2."),
    Key("compression", choice(COMPRESSIONS), "Of qcow2-compressed."),
    Key("compression_level", COUNT, "Of qcow2-compressed."),
    Key("vhd_subformat", choice(VHD_SUBFORMATS), "Of a vpc."),
    Key("force_size", BOOLEAN, "Whether a vpc has exactly the size asked for."),
    Key("vdi_subformat", choice(VDI_SUBFORMATS), "Of a vdi."),
    Key("manifest", PATH, "A file for each extent's offset, length and path."),
    Key("bmap", BOOLEAN, "Whether a block map is written beside a raw image."),
    Key("sha256", BOOLEAN, "Whether a checksum is written beside the image."),
    Key("sync", BOOLEAN, "Whether to wait until the image is on the disk."),
    Key("workers", COUNT, "How many processes write or compress."),
)


def json_schema() -> Schema:
    """Return the JSON Schema of a spec file; null stands for a setting that is not given."""
    properties: Schema = {SCHEMA_KEY: {"type": "string", "description": "Read over; for editors."}}
    for key in KEYS:
        for name, kind in key.spellings.items():
            properties[name] = {
                "description": _about(key, name, kind),
                "anyOf": [kind.schema, {"type": "null"}],
            }
    return {
        "$schema": DIALECT,
        "title": "imgwriter's spec file",
        "description": "A disk image, as it is asked for: imgwriter build FILE.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "allOf": [{"not": {"required": list(pair)}} for pair in _pairs()],
    }


def _about(key: Key, name: str, kind: Kind) -> str:
    spelling = "" if name == key.name else f" The same as {key.name}."
    return f"{key.about} It is {kind.expected}.{spelling}"


def _pairs() -> Iterator[tuple[str, ...]]:
    """Yield the spellings of each setting that has two."""
    return (pair for key in KEYS if len(pair := tuple(key.spellings)) == 2)
