"""A boot loader that is installed without a guest: its files join the trees before anything is planned."""

from __future__ import annotations

import os
from collections.abc import Mapping

from imgwriter import spec_boot
from imgwriter.bootloader.loaders import install
from imgwriter.bootloader.outcome import Installed
from imgwriter.bootloader.target import LoaderOptions, Target
from imgwriter.disk import Role
from imgwriter.image_plan import provisional_layout, root_identity
from imgwriter.spec import ImageSpec
from imgwriter.tree.inventory import Inventory


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
        esp_mount=spec_boot.esp_mount(spec),
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
    installed = install(spec.boot_choice.loader, roots, target, options)
    return {role: Inventory(root) for role, root in roots.items()}, installed
