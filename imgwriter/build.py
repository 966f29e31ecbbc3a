"""The recipe, from top to bottom: scan, sizes, plan, compose, write.

::

    ImageSpec ── plan_image ──> ImagePlan ── volume() ──> Volume ── encoder.encode ── sink ──> the file
                 scan, decide   (a value)    encode                 its container      write

Everything that can be refused is refused by :func:`plan_image`. It reads the trees' metadata and decides all
the rest by arithmetic; a plan of a disk of 16 TiB costs what its content costs. Nothing here decides how a
structure looks: that is ``ext4/``, ``fat/`` and ``disk``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias
from uuid import UUID

from imgwriter import disk, encoder, ext4, fat, nixpkgs_size, sidecar, sink
from imgwriter.deferred import Deferred
from imgwriter.disk import DiskIdentifiers, Layout, Partition, Role
from imgwriter.errors import OutputError, SpecError, show
from imgwriter.extent import Volume
from imgwriter.filedata import Amount
from imgwriter.identifiers import DEFAULT_SEED, derive_u32, derive_uuid
from imgwriter.spec import BOOT_TABLES, DEFAULT_ADDITIONAL_SPACE, ESP_TABLES, Content, HostPath, ImageSpec
from imgwriter.tree import contents as grafts
from imgwriter.tree.inventory import Inventory
from imgwriter.tree.scan import TreeRequest, scan
from imgwriter.units import MiB

if TYPE_CHECKING:
    from imgwriter.nix.system import System

Progress: TypeAlias = Callable[[Amount, Amount], None]
"""Called with (what is written, all of it): bytes and files."""

STANDARD_OUTPUT = 1

ESP_LABEL = "ESP"
BOOT_LABEL = "BOOT"
"""Labels of the FAT file systems, as nixpkgs gives them to mkfs.vfat."""


class FileSystemPlan(Protocol):
    """What the plans of ext4 and FAT have in common; sizes are bytes."""

    @property
    def size(self) -> int: ...
    @property
    def used(self) -> int: ...
    @property
    def free(self) -> int: ...
    @property
    def type_name(self) -> str: ...
    def volume(self) -> Volume: ...


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A planned file system and the partition it stands in.

    Attributes:
        partition: Its place on the disk.
        plan: What it looks like.
        label: Its label.
        uuid: What fstab has after ``UUID=``.
        names: How many names it holds, the root's not counted.
    """

    partition: Partition
    plan: FileSystemPlan
    label: str
    uuid: str
    names: int


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """A disk image, decided down to the last byte; nothing is written.

    Attributes:
        spec: What was asked for.
        layout: The disk and its partitions.
        file_systems: In the partitions' order; a partition may have none.
        inventory: The root file system's tree.
        warnings: Sentences about what went in otherwise than one might think.
    """

    spec: ImageSpec
    layout: Layout
    file_systems: tuple[FileSystem, ...]
    inventory: Inventory
    warnings: tuple[str, ...]

    @property
    def path(self) -> bytes:
        """Where the image goes."""
        return image_path(self.spec)

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self.layout.disk_size

    def file_system(self, partition: Partition) -> FileSystem | None:
        """Return the file system of a partition, or None."""
        return next((f for f in self.file_systems if f.partition == partition), None)

    def volume(self) -> Volume:
        """Return the bytes of the whole disk."""
        return disk.compose_disk(
            self.layout, {f.partition.number: f.plan.volume() for f in self.file_systems}
        )


@dataclass(frozen=True, slots=True)
class Result:
    """An image that was written.

    Attributes:
        plan: What was built.
        path: The image.
        size: Bytes of the file: of a container other than raw, not the disk's.
        allocated: Bytes of it that were written; the others are zeros, and holes where they can be.
        sha256: The image's checksum in hexadecimal, where it was asked for.
        sidecars: Files that were written beside it, by what they are: "bmap", "sha256", "manifest".
        seconds: How long it took.
    """

    plan: ImagePlan
    path: bytes
    size: int
    allocated: int
    sha256: str | None
    sidecars: Mapping[str, bytes]
    seconds: float


def build_image(spec: ImageSpec, progress: Progress | None = None) -> Result:
    """Make the image that ``spec`` asks for, replacing one that is there, or change nothing.

    Args:
        spec: What to make.
        progress: Called a few times a second while the image is written, in this thread.

    Raises:
        ImgwriterError: It cannot be made; the message says why and what to change.
    """
    started = time.monotonic()
    return write_image(plan_image(spec), progress, started)


def image_path(spec: ImageSpec) -> bytes:
    """Return the path of the image; "-" where it goes to standard output."""
    if spec.streams:
        return b"-"
    return os.path.join(os.fsencode(spec.directory), os.fsencode(spec.base_name + spec.suffix))


def plan_image(spec: ImageSpec) -> ImagePlan:
    """Read what goes in and decide everything; write nothing.

    Raises:
        SpecError: The request contradicts itself.
        SourceError: Something in the trees cannot go in.
        CapacityError: It does not fit.
    """
    _check_table(spec)
    _check_manifest(spec)
    trees: dict[Role, Inventory] = {}
    root = scan(_root_request(spec, _system(spec)))
    trees["root"] = root.inventory
    warnings = [*_output_warnings(spec), *root.warnings]
    for role, contents in _fat_contents(spec).items():
        found = scan(_fat_request(spec, contents))
        trees[role] = found.inventory
        warnings += found.warnings
    demand = None if spec.fs_type == "vfat" else ext4.survey(root.inventory, _ext4_parameters(spec))
    size = encoder.disk_size(spec, _disk_size(spec, root.inventory, demand))
    layout = _layout(spec, size)
    file_systems = tuple(
        _file_system(spec, layout, partition, trees[partition.role], demand)
        for partition in layout.partitions
        if partition.role in trees
    )
    return ImagePlan(spec, layout, file_systems, root.inventory, tuple(warnings))


def write_image(plan: ImagePlan, progress: Progress | None = None, started: float | None = None) -> Result:
    """Write a planned image, and the files beside it that were asked for.

    Args:
        plan: From :func:`plan_image`.
        progress: As for :func:`build_image`.
        started: When the build began, by time.monotonic(); now when None.

    Raises:
        OutputError: A file cannot be written.
        SourceError: A source cannot be read, or is not what was scanned.
    """
    started = time.monotonic() if started is None else started
    spec, path = plan.spec, plan.path
    volume = plan.volume()
    content = encoder.encode(spec, volume, _seed(spec), spec.time)
    total = encoder.total(content)

    def tell(done: Amount) -> None:
        if progress is not None:
            progress(done, total)

    workers = encoder.workers(spec, spec.workers)
    if spec.streams:
        written = sink.stream(
            content, STANDARD_OUTPUT, directory=_spool_directory(spec), progress=tell, workers=workers
        )
    else:
        with _directory(os.path.dirname(path)):
            written = sink.write(content, path, sync=spec.sync, progress=tell, workers=workers)
    sidecars, checksum = _write_sidecars(spec, volume, content, written)
    seconds = time.monotonic() - started
    return Result(plan, path, written.size, written.allocated, checksum, sidecars, seconds)


# What goes in


def _system(spec: ImageSpec) -> System | None:
    """Read the closures that go in, or return None where there are none."""
    if not spec.closures:
        return None
    # What only NixOS needs: 30 ms that other builds do without.
    from imgwriter.nix.system import SystemRequest, read_system

    def path(given: HostPath | None) -> bytes | None:
        return None if given is None else os.fsencode(given)

    return read_system(
        SystemRequest(
            closures=[os.fsencode(closure) for closure in spec.closures],
            toplevel=path(spec.toplevel),
            store_root=path(spec.store_root) or b"/",
            channel=path(spec.channel) if spec.copy_channel else None,
            nixpkgs=path(spec.nixpkgs) if spec.copy_channel else None,
            additional_paths=[os.fsencode(each) for each in spec.additional_paths],
            config_file=path(spec.config_file),
            only_nix_store=spec.only_nix_store,
            shell=path(spec.shell),
            root_variant=spec.root_variant,
            nix_version=spec.nix_version,
            verify_nar=spec.verify_nar,
            time=spec.time,
            spool_directory=_spool_directory(spec),
            workers=sink.WORKERS if spec.workers is None else spec.workers,
        )
    )


def _root_request(spec: ImageSpec, system: System | None) -> TreeRequest:
    return TreeRequest(
        trees=[os.fsencode(tree) for tree in spec.trees],
        excludes=[os.fsencode(pattern) for pattern in spec.excludes],
        contents=_grafts(spec.contents),
        content_nest=spec.content_nest,
        overrides=None if spec.overrides is None else os.fsencode(spec.overrides),
        owner=spec.owner,
        xattrs=spec.xattrs,
        holes=spec.holes,
        hard_links=spec.hard_links,
        time=spec.time,
        clamp=spec.clamp,
        prepare=None if system is None else system.install,
        spool_directory=_spool_directory(spec),
    )


def _spool_directory(spec: ImageSpec) -> bytes | None:
    """Return where the contents of streamed tars go: beside the image, for its room and its reflinks.

    None, the system's own place, where nothing can be written beside it, or it goes to standard output.
    """
    if spec.streams:
        return None
    path = os.path.dirname(os.path.abspath(image_path(spec)))
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path if os.access(path, os.W_OK | os.X_OK) else None


def _fat_request(spec: ImageSpec, contents: Sequence[Content]) -> TreeRequest:
    return TreeRequest(
        contents=_grafts(contents), content_nest=spec.content_nest, time=spec.time, clamp=spec.clamp
    )


def _fat_contents(spec: ImageSpec) -> dict[Role, Sequence[Content]]:
    """Return the contents of each FAT partition that the table has, by role."""
    contents: dict[Role, Sequence[Content]] = {}
    if spec.partition_table in ESP_TABLES:
        contents["esp"] = spec.esp_contents
    if spec.partition_table in BOOT_TABLES:
        contents["boot"] = spec.boot_contents
    return contents


def _grafts(contents: Sequence[Content]) -> list[grafts.Content]:
    return [grafts.Content(os.fsdecode(c.source), c.target, c.mode, c.user, c.group) for c in contents]


def _output_warnings(spec: ImageSpec) -> list[str]:
    """Return warnings about an earlier build: files beside its image, and trees that its image lies in."""
    path = os.path.realpath(image_path(spec))
    if spec.streams or not os.path.exists(path):
        return []
    return [*_stale(spec)] + [
        f"{show(path)}, made by an earlier build, lies in the tree {show(os.fsencode(tree))} and goes into"
        " this image; exclude it or choose another output"
        for tree in spec.trees
        if path.startswith(os.path.join(os.path.realpath(os.fsencode(tree)), b""))
    ]


def _stale(spec: ImageSpec) -> Iterator[str]:
    """Yield a warning for each file beside the image that will not be of it any more."""
    for suffix, written in ((b".sha256", spec.sha256), (b".bmap", spec.bmap)):
        beside = image_path(spec) + suffix
        if not written and os.path.exists(beside):
            yield f"{show(beside)} is of the image that was there before; remove it"


# Sizes and the disk


def _check_table(spec: ImageSpec) -> None:
    """Refuse what the table alone refuses, before the trees are read."""
    _layout(spec, spec.disk_size or _disk_size_for(spec, MiB))


def _disk_size(spec: ImageSpec, inventory: Inventory, demand: ext4.Demand | None) -> int:
    if spec.disk_size is not None:
        return spec.disk_size
    spare = DEFAULT_ADDITIONAL_SPACE if spec.additional_space is None else spec.additional_space
    if spec.size_formula == "nixpkgs":
        return nixpkgs_size.disk_size(spec.partition_table, inventory, spec.boot_end, spare)
    if demand is None:
        root_size = fat.minimum_size(inventory, _fat_parameters(spec, "root", 0), spare)
    else:
        root_size = ext4.minimum_size_of(demand, spare)
    return _disk_size_for(spec, root_size)


def _disk_size_for(spec: ImageSpec, root_size: int) -> int:
    return disk.disk_size_for(
        spec.partition_table,
        root_size,
        boot_end=spec.boot_end,
        sector_size=spec.sector_size,
        compat=spec.compat,
    )


def _layout(spec: ImageSpec, disk_size: int) -> Layout:
    identifiers = DiskIdentifiers.derive(
        _seed(spec),
        disk_guid=spec.disk_guid,
        partition_guids=_partition_guids(spec),
        disk_signature=spec.disk_signature,
    )
    return disk.plan(
        spec.partition_table,
        disk_size,
        identifiers=identifiers,
        boot_end=spec.boot_end,
        sector_size=spec.sector_size,
        compat=spec.compat,
    )


def _partition_guids(spec: ImageSpec) -> Mapping[int, UUID]:
    """Return the GUIDs asked for by number, the root's among them."""
    if spec.root_gpuid is None:
        return spec.partition_guids
    number = disk.root_number(spec.partition_table)
    if spec.partition_guids.get(number, spec.root_gpuid) != spec.root_gpuid:
        raise SpecError(
            f"partition {number} is the root, and is given two GUIDs, {spec.partition_guids[number]} and"
            f" {spec.root_gpuid}; leave one of them out"
        )
    return {**spec.partition_guids, number: spec.root_gpuid}


# File systems


def _file_system(
    spec: ImageSpec, layout: Layout, partition: Partition, tree: Inventory, root: ext4.Demand | None
) -> FileSystem:
    place = f"partition {partition.number} '{partition.role}'" if partition.number else "the disk"
    if partition.role == "root" and root is not None:
        planned = ext4.plan_demand(root, partition.size, place)
        return FileSystem(
            partition, planned, spec.root_label, str(UUID(bytes=root.parameters.uuid)), tree.names
        )
    fat_parameters = _fat_parameters(spec, partition.role, partition.start // spec.sector_size)
    fat_plan = fat.plan(tree, fat_parameters, partition.size, place)
    return FileSystem(
        partition, fat_plan, fat_parameters.label, _fat_uuid(fat_parameters.volume_id), tree.names
    )


def _ext4_parameters(spec: ImageSpec) -> ext4.Parameters:
    seed = _seed(spec)
    # nixpkgs' rootFSUID is its rootGPUID where nothing else is said.
    nixpkgs = spec.compat == "nixpkgs" and spec.fs_type == "ext4"
    usual = spec.root_gpuid or disk.NIXPKGS_ROOT_GUID if nixpkgs else None
    uuid = spec.root_uuid or usual or derive_uuid(seed, "root file system uuid")
    return ext4.Parameters(
        uuid=uuid.bytes,
        hash_seed=(spec.hash_seed or derive_uuid(seed, "root file system hash seed")).bytes,
        label=spec.root_label.encode("utf-8", "surrogateescape"),
        time=spec.time,
        fs_type=spec.fs_type,
        block_size=spec.block_size or 4096,
        inodes=spec.inodes,
        inode_ratio=spec.inode_ratio,
        features=spec.features,
    )


def _fat_parameters(spec: ImageSpec, role: Role, hidden_sectors: int) -> fat.Parameters:
    label = {"esp": ESP_LABEL, "boot": BOOT_LABEL}.get(role, spec.root_label)
    # With both an ESP and a boot partition, the ESP is the first on the disk: the ID asked for is its own.
    is_first = role != "boot" or spec.partition_table not in ESP_TABLES
    asked = spec.fat_volume_id if is_first else None
    return fat.Parameters(
        label=label,
        volume_id=derive_u32(_seed(spec), f"{role} volume id") if asked is None else asked,
        time=spec.time,
        fat_type=spec.fat_type,
        sector_size=spec.sector_size,
        hidden_sectors=hidden_sectors,
    )


def _fat_uuid(volume_id: int) -> str:
    return f"{volume_id >> 16:04X}-{volume_id & 0xFFFF:04X}"


def _seed(spec: ImageSpec) -> str:
    return DEFAULT_SEED if spec.seed is None else spec.seed


# Output


def _check_manifest(spec: ImageSpec) -> None:
    """Refuse before the image is written what would fail after it."""
    if spec.manifest is not None:
        path = os.fsencode(spec.manifest)
        if os.path.isdir(path) or not os.path.isdir(os.path.dirname(path) or b"."):
            raise OutputError(
                f"manifest {show(path)} is not in a directory that exists; name a file", show(path)
            )


def _write_sidecars(
    spec: ImageSpec, disk_volume: Volume, content: Volume | Deferred, written: sink.Written
) -> tuple[dict[str, bytes], str | None]:
    """Write the files beside the image; return their paths, and the checksum where it was asked for."""
    path = image_path(spec)
    texts: dict[str, tuple[bytes, str]] = {}
    if spec.manifest is not None:
        texts["manifest"] = os.fsencode(spec.manifest), sidecar.manifest(disk_volume)
    if spec.bmap:
        texts["bmap"] = path + b".bmap", sidecar.bmap(disk_volume, path)
    if spec.sha256:
        texts["sha256"] = (
            path + b".sha256",
            sidecar.sha256(written.size, encoder.runs(content, written.size), path),
        )
    for target, text in texts.values():
        sink.write_bytes(target, os.fsencode(text), sync=spec.sync)
    checksum = sidecar.digest(texts["sha256"][1]) if spec.sha256 else None
    return {name: target for name, (target, _) in texts.items()}, checksum


@contextmanager
def _directory(path: bytes) -> Iterator[None]:
    """Make a directory and those above it; when the block fails, remove again what was made."""
    made: list[bytes] = []
    try:
        _make_directories(path, made)
        yield
    except BaseException:
        for directory in reversed(made):
            # Somebody may have put a file there meanwhile: then it stays.
            with suppress(OSError):
                os.rmdir(directory)
        raise


def _make_directories(path: bytes, made: list[bytes]) -> None:
    if not path or os.path.isdir(path):
        return
    _make_directories(os.path.dirname(path.rstrip(b"/")), made)
    try:
        os.mkdir(path)
    except FileExistsError:
        if os.path.isdir(path):  # somebody else made it at the same moment
            return
        raise _no_directory(path, "a file is there") from None
    except OSError as error:
        raise _no_directory(path, error.strerror or "") from error
    made.append(path)


def _no_directory(path: bytes, reason: str) -> OutputError:
    name = show(path)
    return OutputError(f"{name}: the directory cannot be made: {reason}; choose another output", name)
