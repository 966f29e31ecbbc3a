"""What goes in, as a request names it: a tree for each file system of the disk.

::

    ImageSpec ── closures ──> System ─┐
              ── trees, contents ─────┴─ tree.scan ──> the root's Inventory
              ── esp_contents, boot_contents ────────> those of the FAT partitions
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from imgwriter import sink
from imgwriter.disk import Role
from imgwriter.spec import BOOT_TABLES, ESP_TABLES, Content, HostPath, ImageSpec
from imgwriter.tree import contents as grafts
from imgwriter.tree.inventory import Inventory
from imgwriter.tree.scan import TreeRequest, scan

if TYPE_CHECKING:
    from imgwriter.nix.system import System


class Sources(NamedTuple):
    """What was read.

    Attributes:
        trees: By the role of the partition that they go into.
        warnings: Sentences for the user.
    """

    trees: Mapping[Role, Inventory]
    warnings: tuple[str, ...]


def read_sources(spec: ImageSpec) -> Sources:
    """Read the metadata of all that goes in; nothing on the host is changed.

    Raises:
        SpecError: A pattern, a mode or the overrides file cannot be understood.
        SourceError: A source is missing, cannot be read, or does not fit the others.
    """
    root = scan(_root_request(spec, _system(spec)))
    trees: dict[Role, Inventory] = {"root": root.inventory}
    warnings = [*root.warnings]
    for role, contents in _fat_contents(spec).items():
        found = scan(_fat_request(spec, contents))
        trees[role] = found.inventory
        warnings += found.warnings
    return Sources(trees, tuple(warnings))


def image_path(spec: ImageSpec) -> bytes:
    """Return the path of the image; "-" where it goes to standard output."""
    if spec.streams:
        return b"-"
    return os.path.join(os.fsencode(spec.directory), os.fsencode(spec.base_name + spec.suffix))


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
            spool_directory=spool_directory(spec),
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
        spool_directory=spool_directory(spec),
    )


def spool_directory(spec: ImageSpec) -> bytes | None:
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
