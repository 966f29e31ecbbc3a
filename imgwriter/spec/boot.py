"""The checks of what is asked for that concern boot loaders, and the choice of who installs one.

::

    --boot-loader NAME                    that one, without a guest; "guest"; "none"
    --boot-command TEXT                   the guest: only the image's own programs know what the text does
    a toplevel (NixOS)                    the guest: the system's own installer decides what it is
    a plain tree, nothing of these        none

They are part of :class:`~imgwriter.spec.ImageSpec`, and apart only for length.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

from imgwriter.container import one_of
from imgwriter.errors import SpecError

if TYPE_CHECKING:
    from imgwriter.spec.image_spec import ImageSpec

GUEST = "guest"
NONE = "none"
GRUB = "grub"
WITHOUT_GUEST = (GRUB, "grub-bios", "grub-efi", "systemd-boot")
"""What is installed by imgwriter alone; "grub" is both halves of it, where the table has a place for them."""
BOOT_LOADERS = (GUEST, *WITHOUT_GUEST, NONE)

Accelerator: TypeAlias = Literal["tcg", "kvm", "auto"]
"""Software emulation; the processor's own virtualisation; that where a guest boots with it."""
ACCELERATORS: tuple[Accelerator, ...] = get_args(Accelerator)
QEMU_SANDBOXES = ("on", "off")
EFI_VARIABLE_TABLES = ("hybrid", "efi", "efixbootldr", "legacy+gpt")
"""The tables that current nixpkgs allows EFI variables with."""

DEFAULT_VM_TIMEOUT = 600.0
"""Seconds until a guest counts as hung. The slowest installer that was measured takes 18 s by software."""
DEFAULT_MEMORY_MIB = 1024
MIN_MEMORY_MIB = 64
"""Enough for a kernel, its initramfs and busybox."""

_FIRMWARE_FIELDS = ("efi_firmware", "efi_variables")
_GUEST_FIELDS = (
    "vm_kernel", "vm_modules", "vm_busybox", "vm_qemu", "vm_timeout", "accel", "qemu_sandbox", "mem_size",
    *_FIRMWARE_FIELDS,
)  # fmt: skip
"""What says how a guest is run, and nothing else."""

_NO_GUEST = "no guest is run for this image; leave it out, or give a boot command or a NixOS system"

SYSTEM_INSTALLER = "/nix/var/nix/profiles/system/bin/switch-to-configuration"
"""What installs the boot loader of a NixOS; run with the word "boot"."""


class Choice(NamedTuple):
    """Who installs the boot loader.

    Attributes:
        loader: One of BOOT_LOADERS.
        reason: Why, as a part of a sentence; empty where it was named, or there is none.
    """

    loader: str
    reason: str = ""


def choose(spec: ImageSpec) -> Choice:
    """Return who installs the boot loader."""
    if spec.boot_loader is not None:
        return Choice(spec.boot_loader)
    if spec.boot_command is not None:
        return Choice(GUEST, "the boot command is run by the image's own shell")
    if spec.install_boot_loader is not False and spec.toplevel is not None and not spec.only_nix_store:
        return Choice(GUEST, "the NixOS system's own installer knows which boot loader it has")
    return Choice(NONE)


def without_guest(spec: ImageSpec) -> tuple[str, ...]:
    """Return the loaders that imgwriter itself installs: none, one, or both halves of GRUB."""
    loader = choose(spec).loader
    if loader == GRUB:
        uefi_alone = spec.partition_table in ("efi", "efixbootldr")
        has_esp = uefi_alone or spec.partition_table == "hybrid"
        return (*(() if uefi_alone else ("grub-bios",)), *(("grub-efi",) if has_esp else ()))
    return (loader,) if loader in WITHOUT_GUEST else ()


def instead_of_guest(spec: ImageSpec) -> str:
    """Return what one does to have no guest, as a part of a sentence."""
    if spec.boot_command is not None:
        return "leave --boot-command out"
    option = "--no-install-boot-loader" if spec.boot_loader is None else f"--boot-loader {NONE}"
    return f"install no boot loader ({option})"


def esp_mount(spec: ImageSpec) -> bytes:
    """Return where the ESP is mounted in the running system, as make-disk-image.nix has it unless given."""
    if spec.esp_mount is not None:
        return os.fsencode(spec.esp_mount)
    return b"/efi" if spec.partition_table == "efixbootldr" else b"/boot"


def check(spec: ImageSpec) -> None:
    """Refuse what contradicts itself.

    Raises:
        SpecError: It does.
    """
    if spec.boot_loader is not None:
        one_of("boot loader", spec.boot_loader, BOOT_LOADERS)
    one_of("accelerator", spec.accel, ACCELERATORS)
    one_of("QEMU sandbox", spec.qemu_sandbox, QEMU_SANDBOXES)
    _check_asked(spec)
    _check_guest(spec)
    _check_paths(spec)
    loader = choose(spec).loader
    if loader != GUEST:
        _need_guest(spec)
    if loader not in WITHOUT_GUEST:
        _refuse(
            "only a boot loader that is installed without a guest has that; name one with --boot-loader",
            {
                "a line of kernel parameters": spec.kernel_parameters,
                "a menu's timeout": spec.boot_timeout is not None,
                "a grub.cfg": spec.grub_config,
                "a module for GRUB": spec.grub_modules,
            },
        )


def _check_asked(spec: ImageSpec) -> None:
    asked = {
        "boot loader " + repr(spec.boot_loader): spec.boot_loader not in (None, NONE),
        "a boot command": spec.boot_command is not None,
    }
    if spec.install_boot_loader is False:
        _refuse("no boot loader is to be installed; leave one of them out", asked)
    if spec.boot_command is not None:
        if not spec.boot_command.strip():
            raise SpecError("the boot command is empty; give what installs the boot loader, or leave it out")
        if spec.boot_loader not in (None, GUEST):
            raise SpecError(
                f"a boot command is given with boot loader {spec.boot_loader!r}, which needs none;"
                " leave one of them out"
            )
    nothing_to_run = spec.toplevel is None and spec.boot_command is None
    if spec.boot_loader == GUEST and nothing_to_run:
        raise SpecError(
            "a guest is to install the boot loader, but nothing says how; give a boot command"
            " (--boot-command 'grub-install /dev/vda') or a NixOS system (--toplevel)"
        )
    if spec.install_boot_loader and spec.boot_loader in (None, NONE) and nothing_to_run:
        raise SpecError(
            "a boot loader is to be installed, but nothing says which; name one (--boot-loader"
            f" {'|'.join(WITHOUT_GUEST)}) or give a boot command (--boot-command)"
        )


def _check_guest(spec: ImageSpec) -> None:
    if spec.mem_size < 1:
        raise SpecError(f"memory of {spec.mem_size} MiB is not more than nothing; give some MiB")
    if choose(spec).loader == GUEST and spec.mem_size < MIN_MEMORY_MIB:
        raise SpecError(
            f"a guest does not start in {spec.mem_size} MiB of memory; give it {MIN_MEMORY_MIB} MiB or more"
        )
    if not 0 < spec.vm_timeout < float("inf"):
        raise SpecError(f"a guest may take some seconds, not {spec.vm_timeout}; correct --vm-timeout")
    if choose(spec).loader == GUEST and spec.fs_type == "vfat":
        raise SpecError("no system runs from a root of vfat, so that none can install itself there; use ext4")
    if spec.touch_efi_vars and spec.partition_table not in EFI_VARIABLE_TABLES:
        raise SpecError(
            f"EFI variables can be used only with a partition table of {', '.join(EFI_VARIABLE_TABLES)},"
            f" not with {spec.partition_table!r}; use one of them or leave the variables out"
        )
    if spec.touch_efi_vars and spec.streams:
        raise SpecError(
            "EFI variables are a file beside the image, which goes to standard output; leave one of them out"
        )


def _check_paths(spec: ImageSpec) -> None:
    for what, path in (("ESP", spec.esp_mount), ("boot partition", spec.boot_mount)):
        names = [] if path is None else [name for name in path.split("/") if name]
        if path is not None and (not path.startswith("/") or not names or ".." in names or "\0" in path):
            raise SpecError(
                f"the {what} cannot be mounted at {path!r}; give a path such as /boot inside the image"
            )
    both = spec.partition_table == "efixbootldr" and choose(spec).loader != NONE
    if both and os.path.normpath(esp_mount(spec)) == os.path.normpath(os.fsencode(spec.boot_mount)):
        raise SpecError(
            f"the ESP and the boot partition are both to be mounted at {spec.boot_mount!r}; give one of them"
            " another place (--esp-mount, --boot-mount)"
        )
    for word in spec.grub_modules:
        if not word.replace("_", "").replace("-", "").isalnum():
            raise SpecError(f"{word!r} is no name of a module of GRUB's; correct it")
    try:
        shlex.split(spec.kernel_parameters)
    except ValueError as error:
        raise SpecError(f"the kernel parameters are no words ({error}); close the quotation") from error
    if "\n" in spec.kernel_parameters:
        raise SpecError("the kernel parameters are more than one line; give one")
    if spec.boot_timeout is not None and not 0 <= spec.boot_timeout <= 86_400:
        raise SpecError(f"a menu waits some seconds, not {spec.boot_timeout}; give 0 to 86400")


def _need_guest(spec: ImageSpec) -> None:
    _refuse(
        _NO_GUEST,
        {
            "an activation": spec.activate,
            "leave to keep the guest's image": spec.keep_guest_image,
            "a wish for EFI variables": spec.touch_efi_vars,
            "a list of what an installer leaves behind": spec.installer_noise != "default",
        },
    )


def refuse_unused(spec: ImageSpec, options: Collection[str]) -> None:
    """Refuse what was said on a command line of a guest that is not run.

    A spec file may say it all the same: one file serves several builds, and Nix always says how much memory.

    Args:
        spec: The whole request.
        options: Which of its fields the command line gave.

    Raises:
        SpecError: One of them has no effect.
    """
    if choose(spec).loader != GUEST:
        given = [name for name in _GUEST_FIELDS if name in options]
        _refuse(_NO_GUEST, {_option(name): True for name in given})
    if not spec.touch_efi_vars:
        given = [name for name in _FIRMWARE_FIELDS if name in options]
        _refuse(
            "no EFI variables are kept; leave it out, or add --touch-efi-vars",
            {_option(name): True for name in given},
        )


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")


def _refuse(reason: str, settings: Mapping[str, object]) -> None:
    for what, value in settings.items():
        if value:
            raise SpecError(f"{what} is given, but {reason}")
