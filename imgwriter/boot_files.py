"""A boot loader that is installed without a guest: its files join the trees before anything is planned."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from imgwriter.bootloader.loaders import install
from imgwriter.bootloader.outcome import Installed
from imgwriter.bootloader.target import LoaderOptions, Target
from imgwriter.disk import Role
from imgwriter.ext4 import features
from imgwriter.image_plan import provisional_layout, root_identity
from imgwriter.spec import ImageSpec, boot
from imgwriter.tree.inventory import Inventory

_NEW_TO_GRUB = (features.Incompat.CSUM_SEED, features.Incompat.LARGEDIR)


def with_boot_loader(
    spec: ImageSpec, trees: Mapping[Role, Inventory]
) -> tuple[dict[Role, Inventory], Installed]:
    """Return the trees with the files of the boot loader that was named, and its boot code.

    Args:
        spec: What was asked for.
        trees: By role; they are changed, and not to be used any more.

    Raises:
        SpecError: The table has no place for it.
        SourceError: The tree lacks the loader or a kernel, or something is in a file's place.
        CapacityError: Its boot code does not fit.
    """
    uuid, label = root_identity(spec)
    target = Target(
        layout=provisional_layout(spec),
        root_uuid=uuid,
        root_label=label,
        root_fs_type=spec.fs_type,
        time=spec.time,
        esp_mount=boot.esp_mount(spec),
        boot_mount=os.fsencode(spec.boot_mount),
        toplevel=None if spec.toplevel is None else os.fsencode(spec.toplevel),
    )
    options = LoaderOptions(
        kernel_parameters=spec.kernel_parameters,
        timeout=spec.boot_timeout,
        grub_config=None if spec.grub_config is None else os.fsencode(spec.grub_config),
        grub_modules=tuple(spec.grub_modules),
    )
    roots = {role: tree.root for role, tree in trees.items()}
    halves = [install(name, roots, target, options) for name in boot.without_guest(spec)]
    return {role: Inventory(root) for role, root in roots.items()}, _together(spec, halves)


def _together(spec: ImageSpec, halves: Sequence[Installed]) -> Installed:
    """Return what one or more loaders come to; a path that both have is told once."""
    changes = {change._replace(path=change.path.lstrip(b"/")) for each in halves for change in each.changes}
    return Installed(
        spec.boot_choice.loader,
        patches=tuple(patch for each in halves for patch in each.patches),
        changes=tuple(sorted(changes, key=lambda change: change.path)),
        warnings=tuple(dict.fromkeys([w for each in halves for w in each.warnings] + list(_unread(spec)))),
    )


def _unread(spec: ImageSpec) -> Iterator[str]:
    """Yield a warning where the loader reads the root itself, and may not know a feature that it has."""
    if not spec.boot_choice.loader.startswith("grub") or spec.fs_type == "vfat":
        return
    asked = features.parse(spec.fs_type, spec.features)
    names = [features.name_of(flag) for flag in _NEW_TO_GRUB if asked.has(flag)]
    if names:
        yield (
            f"GRUB before 2.12 cannot read an ext4 with {' and '.join(names)}; leave that out, or use a newer"
            " GRUB or systemd-boot"
        )
