"""What a NixOS system says of its boot: boot.json (bootspec), and how its own installer is configured.

::

    TOPLEVEL/boot.json                                     kernel, initrd, init, parameters, specialisations
    TOPLEVEL/bin/switch-to-configuration
       └─> .../install-systemd-boot.sh                     more than one line: commands of the administrator's
              └─> .../systemd-boot  (Python)               TIMEOUT = "5"  BOOT_MOUNT_POINT = Path("/boot") ...
                     └─> COPY_EXTRA_FILES, a script        more than its first line: files of all kinds

What the installer would run beyond writing files, only a guest can do: :func:`demand` says so, and why.

Spec: NixOS RFC 0125 (bootspec, org.nixos.bootspec.v1, org.nixos.specialisation.v1); nixpkgs,
nixos/modules/system/boot/loader/systemd-boot/ (systemd-boot.nix, systemd-boot-builder.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from imgwriter.bootloader import kernels
from imgwriter.bootloader.target import Target
from imgwriter.errors import SourceError, show
from imgwriter.tree.inventory import Inode
from imgwriter.tree.lookup import Lookup

_BOOTSPEC = "org.nixos.bootspec.v1"
_SPECIALISATIONS = "org.nixos.specialisation.v1"
_SYSTEMD_BOOT = "org.nixos.systemd-boot"
_LIMIT = 16 << 20
_PATH_MAX = 4096  # include/uapi/linux/limits.h

_PROFILE = b"nix/var/nix/profiles/system"
_GENERATION = re.compile(rb"system-([0-9]+)-link")
_INSTALLER = re.compile(rb"/nix/store/[0-9a-z]{32}-install-([a-z-]+)\.(?:sh|pl)")
_COMMAND = re.compile(r'(/nix/store/\S+) "\$@"')
_ASSIGNMENT = re.compile(r'^([A-Z_]+) *= *(?:(?:Path|bool|int|str)\()?\s*"([^"\n]*)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Generation:
    """One thing that can be booted.

    Attributes:
        label: What the system calls its version.
        kernel, initrd: Paths in the store.
        parameters: The kernel's, ``init=`` first.
        sort_key: Where it stands in systemd-boot's menu.
        devicetree: A path in the store, or None.
        secrets: A program that would append secrets to the initrd, or None.
        specialisation: Its name, where it is one; else "".
        specialisations: Its variants, by name.
    """

    label: str
    kernel: bytes
    initrd: bytes | None
    parameters: tuple[str, ...]
    sort_key: str
    devicetree: bytes | None
    secrets: str | None
    specialisation: str = ""
    specialisations: Mapping[str, Generation] = field(default_factory=dict)

    def all(self) -> Iterator[Generation]:
        """Yield the system itself, and its variants in the order of their names."""
        yield self
        for _, each in sorted(self.specialisations.items()):
            yield each


@dataclass(frozen=True, slots=True)
class Builder:
    """How nixpkgs' installer of systemd-boot is configured.

    Attributes:
        systemd: The package that its program is in.
        esp_mount, boot_mount: Where the ESP is mounted, and what kernels go to.
        directory: Where kernels are on the latter, between slashes.
        timeout: Seconds, or a word, as loader.conf takes it.
        has_editor: Whether the menu lets change a kernel's parameters.
        console_mode: As loader.conf takes it.
        is_bitlocker: Whether Windows is booted by a restart.
        name: What the system calls itself.
    """

    systemd: bytes
    esp_mount: str
    boot_mount: str
    directory: str
    timeout: str
    has_editor: bool
    console_mode: str
    is_bitlocker: bool
    name: str


def read(root: Inode, target: Target) -> Generation:
    """Return what the system at the target's toplevel says of its boot.

    Raises:
        SourceError: It has no boot.json, or one that is no bootspec.
    """
    path = _toplevel(target) + b"/boot.json"
    inode = kernels.find(root, path)
    if inode is None:
        raise SourceError(
            f"the system has no {show(path)}, which says what is booted; set boot.bootspec.enable in its"
            " configuration, or install its boot loader in a guest (boot loader 'guest')",
            path,
        )
    try:
        document = json.loads(kernels.read(inode, path, _LIMIT))
        return _generation(document, "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(
            f"{show(path)} is no bootspec of version 1 ({error!r}); install the boot loader in a guest"
            " (boot loader 'guest')",
            path,
        ) from error


def generation_number(root: Inode) -> int:
    """Return the number of the system's generation; 1 where the tree has no profile."""
    names = _PROFILE.split(b"/")
    try:
        holder = Lookup(root).follow(names[:-1])
    except SourceError:
        return 1
    link = (holder.entries or {}).get(names[-1])
    found = None if link is None else _GENERATION.fullmatch(link.target.rpartition(b"/")[2])
    return int(found[1]) if found else 1


def machine_id(root: Inode) -> str | None:
    """Return the tree's machine ID, or None where it gets one when it first runs."""
    inode = kernels.find(root, b"etc/machine-id")
    text = b"" if inode is None else kernels.read(inode, b"etc/machine-id", _LIMIT).strip()
    return text.decode() if re.fullmatch(rb"[0-9a-f]{32}", text) else None


def demand(root: Inode, target: Target) -> str | None:
    """Return why systemd-boot has to be installed in a guest, as a sentence; None where it need not be.

    Raises:
        SourceError: boot.json is no bootspec.
    """
    try:
        read_builder(root, target)
    except SourceError as error:
        return str(error)
    for each in read(root, target).all():
        if each.secrets is not None:
            return f"the initrd of {each.specialisation or 'the system'} gets secrets ({each.secrets})"
        if each.initrd is None:
            return f"{each.specialisation or 'the system'} has no initrd"
    return None


def read_builder(root: Inode, target: Target) -> Builder:
    """Return how the system's installer of systemd-boot is configured.

    Raises:
        SourceError: It is not that installer, not one that is known here, or does more.
    """
    path, kind = _installer(root, target)
    if kind != "systemd-boot":
        raise SourceError(
            f"the system's own boot loader is installed by {show(path)}, not systemd-boot's", path
        )
    commands = list(_commands(_text(root, path)))
    builder = _COMMAND.fullmatch(commands[0]) if commands else None
    if builder is None or len(commands) > 1:
        raise SourceError(f"{show(path)} has commands of its own (extraInstallCommands)", path)
    program = builder[1].encode()
    values = dict(_ASSIGNMENT.findall(_text(root, program)))
    extra = values.get("COPY_EXTRA_FILES", "")
    missing = {"SYSTEMD", "TIMEOUT", "COPY_EXTRA_FILES", "EFI_SYS_MOUNT_POINT"} - values.keys()
    if missing:
        raise SourceError(
            f"{show(program)} is not an installer that is known here: no {min(missing)}", program
        )
    if list(_commands(_text(root, extra.encode()))):
        raise SourceError(
            f"{extra} copies more files (extraFiles, extraEntries or memtest86)", extra.encode()
        )
    return Builder(
        systemd=values["SYSTEMD"].encode(),
        esp_mount=values["EFI_SYS_MOUNT_POINT"],
        boot_mount=values.get("BOOT_MOUNT_POINT") or values["EFI_SYS_MOUNT_POINT"],
        directory=values.get("NIXOS_DIR", "/EFI/nixos").strip("/"),
        timeout=values["TIMEOUT"],
        has_editor=values.get("EDITOR", "1") == "1",
        console_mode=values.get("CONSOLE_MODE", "keep"),
        is_bitlocker=bool(values.get("REBOOT_FOR_BITLOCKER")),
        name=values.get("DISTRO_NAME", "NixOS"),
    )


def _toplevel(target: Target) -> bytes:
    assert target.toplevel is not None, "only asked of a NixOS"
    return target.toplevel.strip(b"/")


def _generation(document: Any, specialisation: str) -> Generation:
    spec = document[_BOOTSPEC]
    extension = document.get(_SYSTEMD_BOOT, {})
    variants = document.get(_SPECIALISATIONS, {})
    parameters = (f"init={_string(spec['init'])}", *map(_string, spec["kernelParams"]))
    return Generation(
        label=_string(spec["label"]),
        kernel=_path(spec["kernel"]),
        initrd=None if spec.get("initrd") is None else _path(spec["initrd"]),
        parameters=parameters,
        sort_key=_string(extension.get("sortKey", "nixos")),
        devicetree=None if extension.get("devicetree") is None else _path(extension["devicetree"]),
        secrets=None if spec.get("initrdSecrets") is None else _string(spec["initrdSecrets"]),
        specialisation=specialisation,
        specialisations={_name(name): _generation(each, name) for name, each in variants.items()},
    )


def _string(value: object) -> str:
    if not isinstance(value, str) or "\n" in value or "\0" in value:
        raise TypeError(f"{value!r} is no text of one line")
    return value


def _name(value: str) -> str:
    if not value or "/" in _string(value):
        raise ValueError(f"{value!r} is no name of a specialisation")
    return value


def _path(value: object) -> bytes:
    path = _string(value).encode("utf-8", "surrogateescape").lstrip(b"/")
    if len(path) >= _PATH_MAX:
        raise ValueError(f"a path has {len(path):,} bytes, the kernel takes {_PATH_MAX:,}")
    return path


def _installer(root: Inode, target: Target) -> tuple[bytes, str]:
    path = _toplevel(target) + b"/bin/switch-to-configuration"
    inode = kernels.find(root, path)
    found = None if inode is None else _INSTALLER.search(kernels.read(inode, path, _LIMIT))
    if found is None:
        raise SourceError(f"{show(path)} does not say how the system's boot loader is installed", path)
    return found[0], found[1].decode()


def _text(root: Inode, path: bytes) -> str:
    inode = kernels.find(root, path)
    if inode is None:
        raise SourceError(f"{show(path)}, of the system's boot loader, is not in the tree", path)
    return kernels.read(inode, path, _LIMIT).decode("utf-8", "replace")


def _commands(text: str) -> Iterator[str]:
    """Yield the lines of a shell script that are neither empty nor comments."""
    for line in text.splitlines():
        if (stripped := line.strip()) and not stripped.startswith("#"):
            yield stripped
