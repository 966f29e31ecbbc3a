"""What is asked for: one value behind the command line and the Python API.

An :class:`ImageSpec` is complete when it exists: a request that contradicts itself is refused when it is
made, with the remedy, before anything on the host is looked at. What depends on the content (does it fit,
can the file system hold this name) is refused later, by the scan and the plan. Nothing here touches files,
the clock or the environment.

Sizes are bytes; None stands for "work it out". Names inside the image and labels are text and go into it as
UTF-8, with surrogate escapes for other bytes, as Python has them on a command line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias, get_args
from uuid import UUID

from imgwriter.container import ContainerOptions, one_of
from imgwriter.errors import SpecError
from imgwriter.spec import boot, nix
from imgwriter.units import MiB, format_size

HostPath: TypeAlias = str | bytes | os.PathLike[str]
"""A path on the host, as the os module takes it."""

TableKind: TypeAlias = Literal["legacy", "legacy+boot", "legacy+gpt", "efi", "efixbootldr", "hybrid", "none"]
Compat: TypeAlias = Literal["seed", "nixpkgs"]
FsType: TypeAlias = Literal["ext4", "ext3", "ext2", "vfat"]
Owner: TypeAlias = tuple[int, int]
"""(uid, gid)."""

PARTITION_TABLES: tuple[str, ...] = get_args(TableKind)
COMPATS: tuple[str, ...] = get_args(Compat)
FS_TYPES: tuple[str, ...] = get_args(FsType)
HOLES = ("keep", "fill", "detect")
HARD_LINKS = ("error", "break")
SECTOR_SIZES = (512, 4096)
BLOCK_SIZES = (1024, 2048, 4096)
FAT_TYPES = (12, 16, 32)

ESP_TABLES = ("efi", "efixbootldr", "hybrid")
"""Tables with an EFI system partition."""
BOOT_TABLES = ("legacy+boot", "efixbootldr")
"""Tables with a boot partition that is not an ESP."""

DEFAULT_ADDITIONAL_SPACE = 512 * MiB
"""Bytes left free for files where the disk's size is worked out, as in current nixpkgs."""
DEFAULT_LABEL = "nixos"
DEFAULT_STORE_LABEL = "nix-store"
"""The label of an image of the Nix store alone."""
DEFAULT_NAME = "nixos-disk-image"

_KNOWN_FS_TYPES = (
    "xfs", "btrfs", "bcachefs", "f2fs", "zfs", "squashfs", "erofs", "jfs", "reiserfs", "nilfs2",
    "exfat", "ntfs", "iso9660",
)  # fmt: skip

TIME_LIMIT = (1 << 31) + 3 * (1 << 32)
"""The first second since the epoch that ext4's inodes cannot say, in 2446 (kernel ext4/inodes.rst)."""


class Content(NamedTuple):
    """One entry of the list of contents: a host path grafted into the image.

    Attributes:
        source: A file or directory on the host; a pattern where it holds ``*``.
        target: The path inside the image; the directory that receives the matches of a pattern.
        mode: Permission bits as octal digits or as rsync's --chmod; None keeps the source's.
        user, group: Owner as a number or a name in the image's own /etc/passwd and /etc/group; both or none.
    """

    source: HostPath
    target: str
    mode: str | None = None
    user: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec(ContainerOptions):
    """A disk image, as it is asked for; its container is described by :class:`ContainerOptions`.

    Attributes:
        trees: Directories, tar files, or "-" for a tar on standard input: layers, the last one on top.
        excludes: Patterns of what the trees leave out (tree/exclude.py).
        contents: Host paths grafted into the tree.
        content_nest: A directory goes into its target by its own name, as the seed's script did.
        overrides: A file of owners, modes and devices by path, or None.
        owner: (uid, gid) of entries that come from directories; None keeps their own.
        xattrs: Which extended attributes are kept (tree/xattrs.py).
        holes: "keep", "fill" or "detect" (tree/holes.py).
        hard_links: What happens past 65,000 names of one file: "error", or "break" it into several.
        time: Seconds since the epoch on everything imgwriter itself makes.
        clamp: Seconds since the epoch that no file's mtime exceeds (SOURCE_DATE_EPOCH), or None.
        partition_table: One of :data:`PARTITION_TABLES`.
        compat: "seed", or "nixpkgs" for current nixpkgs' boundaries and identifiers.
        boot_end: Where the boot partition ends, in bytes from the disk's start, or None for 256 MiB.
        disk_size: Bytes of the disk; None: as few as hold the tree and ``additional_space``.
        additional_space: Bytes left free for files where ``disk_size`` is None; None for 512 MiB.
        sector_size: Bytes in a sector: 512 or 4,096.
        fs_type: The root file system; others than ext4 only without a partition table.
        label: The root file system's label; None for "nixos", or "nix-store" of the Nix store alone.
        block_size: Bytes in a block of the root file system, or None for 4,096.
        features: Changes to the file system's features, in mke2fs's -O syntax.
        inodes: How many inodes the root has at least, or None.
        inode_ratio: Bytes per inode, or None.
        fat_type: 12, 16 or 32 for every FAT file system, or None for the one that suits the size.
        esp_contents: What goes into the EFI system partition.
        boot_contents: What goes into the boot partition that is not an ESP.
        seed: What every identifier derives from that is not given.
        disk_guid, partition_guids, disk_signature: Identifiers of the table; GUIDs by partition number.
        root_gpuid: The GUID of the root partition, whatever its number.
        root_uuid, hash_seed: The root file system's UUID and the seed of its directory hashes.
        fat_volume_id: Volume ID of the first FAT file system on the disk.
        name: The directory that receives the image where ``output`` is None; in Nix, the derivation.
        output: The directory that receives the image, made when missing; "-" for standard output.
        base_name: The image's name without its suffix.
        manifest: Where to write the extents as JSON lines, or None.
        bmap, sha256: Whether to write these files beside the image.
        sync: Whether to wait until the image is on the disk.
        workers: How many processes write or compress, or None for as many as pay.
        toplevel: The NixOS system that the root is prepared for, a store path, or None.
        shell: What /bin/sh points to: a program in the store, or a store path with bin/sh in it; None: the
            system's own.
        closures: Files and directories of the host that say which store paths go in (docs/inputs-nix.md).
        store_root: The directory that the host's ``nix/store`` is in; None for the host's root.
        verify_nar: Whether a store path is hashed where its closure says its hash.
        channel: The channel of the image's root user, a store path, or None.
        nixpkgs: A nixpkgs on the host that the channel is made from, or None.
        copy_channel: Whether a channel that is given goes in.
        additional_paths: Store paths that go in beside the toplevel's closure.
        config_file: What /etc/nixos/configuration.nix is, or None.
        only_nix_store: Whether the image's root is what /nix/store has, and nothing else goes in.
        root_variant: Which script prepares the root: one of :data:`.nix.ROOT_VARIANTS`.
        nix_version: (major, minor) of the Nix whose database is written, or None for a recent one.
        install_boot_loader: Whether a boot loader is installed; None: where one is named, or a system given.
        boot_loader: Which: one of :data:`.boot.BOOT_LOADERS`; None: see :func:`.boot.choose`.
        boot_command: What the image's shell runs in a guest to install it, or None.
        activate: Whether the guest runs the toplevel's activation script first.
        esp_mount: Where the ESP is mounted in the image's system; None: /boot, or /efi with efixbootldr.
        boot_mount: Where the other boot partition is.
        installer_noise: Which of the files that an installer in a guest leaves behind are dropped
            (install/noise.py).
        keep_guest_image: Whether the image is the one that the guest wrote to, which no build repeats.
        vm_kernel, vm_modules, vm_busybox: What the guest boots, on the host; None: from the tree.
        vm_qemu: QEMU on the host; None: qemu-system-ARCHITECTURE from PATH.
        vm_timeout: Seconds that the guest may take.
        accel: "tcg", "kvm" or "auto".
        qemu_sandbox: "on", or "off" where QEMU cannot give up system calls.
        mem_size: MiB of memory of the guest, where one runs.
        touch_efi_vars: Whether the EFI variables that the installer sets are kept beside the image.
        efi_firmware, efi_variables: The guest's firmware and its variables' template; None: OVMF's, found.
        kernel_parameters: What a boot loader's entries have besides the root.
        boot_timeout: Seconds that its menu waits, or None.
        grub_config: A grub.cfg on the host, or None for the tree's own or one made of its kernels.
        grub_modules: Modules that GRUB's core image has beside those that reach the root.
        post_vm: Shell code of make-disk-image.nix's, which is refused here.
        deterministic: Always true; make-disk-image.nix can do without.
        size_formula: How the disk's size is worked out: one of :data:`.nix.SIZE_FORMULAS`.

    Raises:
        SpecError: The request contradicts itself.
    """

    trees: Sequence[HostPath] = ()
    excludes: Sequence[str] = ()
    contents: Sequence[Content] = ()
    content_nest: bool = False
    overrides: HostPath | None = None
    owner: Owner | None = (0, 0)
    xattrs: str = "default"
    holes: str = "keep"
    hard_links: str = "error"
    time: int = 1
    clamp: int | None = None

    partition_table: TableKind = "legacy"
    compat: Compat = "seed"
    boot_end: int | None = None
    disk_size: int | None = None
    additional_space: int | None = None
    sector_size: int = 512

    fs_type: FsType = "ext4"
    label: str | None = None
    block_size: int | None = None
    features: str = ""
    inodes: int | None = None
    inode_ratio: int | None = None

    fat_type: int | None = None
    esp_contents: Sequence[Content] = ()
    boot_contents: Sequence[Content] = ()

    seed: str | None = None
    disk_guid: UUID | None = None
    partition_guids: Mapping[int, UUID] = field(default_factory=lambda: MappingProxyType({}))
    root_gpuid: UUID | None = None
    disk_signature: int | None = None
    root_uuid: UUID | None = None
    hash_seed: UUID | None = None
    fat_volume_id: int | None = None

    toplevel: str | None = None
    shell: str | None = None
    closures: Sequence[HostPath] = ()
    store_root: HostPath | None = None
    verify_nar: bool = True
    channel: str | None = None
    nixpkgs: HostPath | None = None
    copy_channel: bool = True
    additional_paths: Sequence[str] = ()
    config_file: HostPath | None = None
    only_nix_store: bool = False
    root_variant: str = "prepare-root"
    nix_version: tuple[int, int] | None = None
    install_boot_loader: bool | None = None
    boot_loader: str | None = None
    boot_command: str | None = None
    activate: bool = False
    esp_mount: str | None = None
    boot_mount: str = "/boot"
    installer_noise: str = "default"
    keep_guest_image: bool = False
    vm_kernel: HostPath | None = None
    vm_modules: HostPath | None = None
    vm_busybox: HostPath | None = None
    vm_qemu: HostPath | None = None
    vm_timeout: float = boot.DEFAULT_VM_TIMEOUT
    accel: boot.Accelerator = "tcg"
    qemu_sandbox: str = "on"
    mem_size: int = boot.DEFAULT_MEMORY_MIB
    touch_efi_vars: bool = False
    efi_firmware: HostPath | None = None
    efi_variables: HostPath | None = None
    kernel_parameters: str = ""
    boot_timeout: int | None = None
    grub_config: HostPath | None = None
    grub_modules: Sequence[str] = ()
    post_vm: str = ""
    deterministic: bool = True
    size_formula: str = "closed"

    name: str = DEFAULT_NAME
    output: HostPath | None = None
    base_name: str = "nixos"
    manifest: HostPath | None = None
    bmap: bool = False
    sha256: bool = False
    sync: bool = False
    workers: int | None = None

    def __post_init__(self) -> None:
        ContainerOptions.__post_init__(self)
        for check in (
            _check_choices,
            nix.check,
            boot.check,
            _check_inputs,
            _check_sizes,
            _check_file_system,
            _check_fat,
            _check_output,
        ):
            check(self)

    @property
    def streams(self) -> bool:
        """Whether the image goes to standard output."""
        return os.fsencode(self.directory) == b"-"

    @property
    def directory(self) -> HostPath:
        """Where the image goes."""
        return self.name if self.output is None else self.output

    @property
    def root_label(self) -> str:
        """The root file system's label."""
        if self.label is not None:
            return self.label
        return DEFAULT_STORE_LABEL if self.only_nix_store else DEFAULT_LABEL

    @property
    def boot_choice(self) -> boot.Choice:
        """Who installs a boot loader, and why."""
        return boot.choose(self)

    @property
    def has_fat(self) -> bool:
        """Whether some file system on the disk is FAT."""
        return self.fs_type == "vfat" or self.partition_table in (*ESP_TABLES, *BOOT_TABLES)


def _check_choices(spec: ImageSpec) -> None:
    one_of("partition table", spec.partition_table, PARTITION_TABLES)
    one_of("compatibility", spec.compat, COMPATS)
    one_of("holes", spec.holes, HOLES)
    one_of("hard links", spec.hard_links, HARD_LINKS)
    one_of("sector size", spec.sector_size, SECTOR_SIZES)
    if spec.block_size is not None:
        one_of("block size", spec.block_size, BLOCK_SIZES)
    if spec.fat_type is not None:
        one_of("FAT type", spec.fat_type, FAT_TYPES)


def _check_inputs(spec: ImageSpec) -> None:
    if not spec.trees and not spec.contents and not spec.closures:
        raise SpecError(
            "nothing is given to put into the image; name a tree, a content or a closure"
            " (an empty directory will do)"
        )
    if sum(os.fsencode(source) == b"-" for source in (*spec.trees, *spec.closures)) > 1:
        raise SpecError(
            "standard input is given as a tree or closure twice, but can be read once;"
            " name a file for one of them"
        )
    for content in (*spec.contents, *spec.esp_contents, *spec.boot_contents):
        _check_content(content)
    for content in (*spec.esp_contents, *spec.boot_contents):
        if content.mode or content.user:
            raise SpecError(
                f"content for {content.target!r} has a mode or an owner, but FAT has neither; leave them out"
            )
    if not 0 <= spec.time < TIME_LIMIT:
        raise SpecError(
            f"time {spec.time} is not from 0 to {TIME_LIMIT - 1} seconds since the epoch; give one that is"
        )
    if spec.owner is not None and not all(0 <= number < 1 << 32 for number in spec.owner):
        raise SpecError(
            f"owner {spec.owner[0]}:{spec.owner[1]} is not two numbers of 32 bits; give two that are"
        )


def _check_content(content: Content) -> None:
    source = os.fsencode(content.source)
    if not source or not content.target:
        raise SpecError(
            f"content {os.fsdecode(source)!r} with target {content.target!r} lacks one of them;"
            " name both ('/' is the root)"
        )
    if (content.user is None) != (content.group is None):
        raise SpecError(f"content for {content.target!r} has a user or a group alone; give both or none")


def _check_sizes(spec: ImageSpec) -> None:
    for what, size in (("disk size", spec.disk_size), ("boot end", spec.boot_end)):
        if size is not None and size <= 0:
            raise SpecError(f"{what} {size:,} B is not more than nothing; give a size")
    if spec.additional_space is not None:
        if spec.additional_space < 0:
            raise SpecError(
                f"additional space {spec.additional_space:,} B is less than nothing; give 0 or more"
            )
        if spec.disk_size is not None:
            raise SpecError(
                f"additional space {format_size(spec.additional_space)} has no meaning"
                f" with the fixed disk size {format_size(spec.disk_size)}; leave one of them out"
            )
    for what, count in (
        ("inodes", spec.inodes),
        ("inode ratio", spec.inode_ratio),
        ("workers", spec.workers),
    ):
        if count is not None and count < 1:
            raise SpecError(f"{what}: {count} is not a positive number; give one")
    if spec.inodes is not None and spec.inode_ratio is not None:
        raise SpecError("both a number of inodes and bytes per inode are given; leave one of them out")


def check_fs_type(name: str) -> None:
    """Refuse what is not a file system that is written.

    Raises:
        SpecError: It is not.
    """
    if name in _KNOWN_FS_TYPES:
        raise SpecError(
            f"file system type {name!r} is not written by imgwriter; use one of {', '.join(FS_TYPES)}"
        )
    one_of("file system type", name, FS_TYPES)


def _check_file_system(spec: ImageSpec) -> None:
    fs_type = spec.fs_type
    check_fs_type(fs_type)
    if fs_type != "ext4" and spec.partition_table != "none":
        raise SpecError(
            f"file system type {fs_type!r} needs partition table 'none', not {spec.partition_table!r};"
            " use ext4 or leave the table out"
        )
    room = 11 if fs_type == "vfat" else 16
    label = spec.root_label
    length = len(label.encode("utf-8", "surrogateescape"))
    if length > room:
        raise SpecError(
            f"label {label!r} has {length} bytes, a label of {fs_type} has room for {room}; shorten it"
        )
    if "\0" in label:
        raise SpecError(f"label {label!r} holds a NUL character; leave it out")
    if spec.block_size is not None and spec.block_size < spec.sector_size:
        raise SpecError(
            f"block size {spec.block_size} is less than the sector size {spec.sector_size};"
            " use blocks of 4096 bytes"
        )
    if fs_type == "vfat":
        _refuse_with(
            "file system type 'vfat' has no such setting",
            {
                "a block size": spec.block_size,
                "features": spec.features,
                "a number of inodes": spec.inodes,
                "bytes per inode": spec.inode_ratio,
                "a root UUID": spec.root_uuid,
                "a hash seed": spec.hash_seed,
            },
        )


def _check_fat(spec: ImageSpec) -> None:
    table = spec.partition_table
    if spec.esp_contents and table not in ESP_TABLES:
        raise SpecError(
            f"contents for an ESP are given, but partition table {table!r} has none;"
            f" use one of {', '.join(ESP_TABLES)}"
        )
    if spec.boot_contents and table not in BOOT_TABLES:
        raise SpecError(
            f"contents for a boot partition are given, but partition table {table!r} has none beside an ESP;"
            f" use one of {', '.join(BOOT_TABLES)}"
        )
    if not spec.has_fat:
        _refuse_with(
            f"partition table {table!r} with {spec.fs_type} has no FAT file system",
            {"a FAT type": spec.fat_type, "a FAT volume ID": spec.fat_volume_id},
        )
    if spec.fat_volume_id is not None and not 0 <= spec.fat_volume_id < 1 << 32:
        raise SpecError(
            f"FAT volume ID {spec.fat_volume_id:#x} is not a number of 32 bits; give one from 0 to FFFF-FFFF"
        )


def _check_output(spec: ImageSpec) -> None:
    for what, name in (("name", spec.name), ("base name", spec.base_name)):
        if not name or "/" in name or "\0" in name or name in (".", ".."):
            raise SpecError(f"{what} {name!r} is not the name of a file; the output is a setting of its own")
    if spec.bmap and spec.format != "raw":
        raise SpecError(
            f"a block map is for writing a raw image to a device, not for format {spec.format!r};"
            " leave it out or use format raw"
        )
    if spec.format == "vpc" and spec.sector_size != 512:
        raise SpecError(
            f"a VHD has sectors of 512 bytes, not {spec.sector_size}; use sector size 512 or another format"
        )
    if spec.streams:
        _refuse_with(
            "the image goes to standard output, where nothing is beside it",
            {"a block map": spec.bmap, "a checksum": spec.sha256, "a sync": spec.sync},
        )


def _refuse_with(reason: str, settings: Mapping[str, object]) -> None:
    for what, value in settings.items():
        if value:
            raise SpecError(f"{what} is given, but {reason}; leave it out")
