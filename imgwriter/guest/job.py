"""What the guest does: what it mounts, what it runs there, what it takes away again.

A :class:`Job` is written down as a shell script of assignments and function calls that ``init.sh`` sources:

::

    clock 1577836800
    mount_root /dev/vda2 ext4
    mount_at /boot /dev/vda1 vfat
    run install required env -i HOME=/root ... chroot /mnt /nix/.../switch-to-configuration boot
    clear_away etc/machine-id

Every word is quoted, so that it stays one word whatever it holds.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from imgwriter.errors import SpecError, show

EARLIEST_CLOCK = 86_400
"""Seconds since the epoch: the kernel refuses a time of less than it has run for (settimeofday: EINVAL)."""

BOOT_LOADER_ENVIRONMENT: Mapping[str, str] = MappingProxyType({"NIXOS_INSTALL_BOOTLOADER": "1"})
"""What NixOS's switch-to-configuration looks for."""

DEFAULT_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "HOME": "/root",
        "LC_ALL": "C",
        "PATH": (
            "/nix/var/nix/profiles/system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        ),
        "TERM": "dumb",
        "TZ": "UTC",
    }
)
"""What a command finds in its environment: this and nothing of the host's."""

ROOT = "/mnt"
"""Where init.sh mounts the image's root."""

NOISE = (b"etc/machine-id",)
"""What programs make when they first run, and an image must not have in common with its copies."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system of the disk.

    Attributes:
        partition: Its number; 0 is the whole disk.
        fs_type: As mount(8) has it: "ext4", "vfat".
        path: Where it goes, inside the image; b"/" is the root.
        uuid, label, partuuid: What programs may look for it by, below /dev/disk, where udev would name it;
            "" is not named.
    """

    partition: int
    fs_type: str
    path: bytes = b"/"
    uuid: str = ""
    label: str = ""
    partuuid: str = ""

    @property
    def device(self) -> str:
        """Its device in the guest."""
        return f"/dev/vda{self.partition}" if self.partition else "/dev/vda"

    @property
    def names(self) -> Iterator[tuple[str, str]]:
        """(folder, name) below /dev/disk."""
        for folder, name in (
            ("by-uuid", self.uuid),
            ("by-label", self.label),
            ("by-partuuid", self.partuuid),
        ):
            if name and "/" not in name:
                yield folder, name


@dataclass(frozen=True, slots=True)
class Command:
    """A program of the image, run with the image as its root.

    Attributes:
        arguments: The program's absolute path inside the image, and its arguments.
        stage: What it is called while it runs: one word.
        environment: Variables beside those of DEFAULT_ENVIRONMENT, or in their place.
        required: Whether the job has failed when it fails.
    """

    arguments: tuple[str | bytes, ...]
    stage: str = "install"
    environment: Mapping[str, str] = field(default_factory=lambda: BOOT_LOADER_ENVIRONMENT)
    required: bool = True


@dataclass(frozen=True, slots=True)
class Job:
    """All that one guest does.

    Attributes:
        root: The root file system.
        mounts: Others below it, in any order.
        commands: What is run, in order; a required one that fails is the last.
        remove: Paths inside the image of files that are removed at the end.
        clock: What the clock says at first, in seconds since the epoch; EARLIEST_CLOCK at least.
        efi_variables: Whether the commands see EFI variables, in /sys/firmware/efi/efivars.

    Raises:
        SpecError: A command has no absolute path, a stage is no word, or a path leads out of the image.
    """

    root: Mount
    commands: tuple[Command, ...]
    mounts: tuple[Mount, ...] = ()
    remove: tuple[bytes, ...] = NOISE
    clock: int = 0
    efi_variables: bool = False

    def __post_init__(self) -> None:
        for command in self.commands:
            program = os.fsencode(command.arguments[0]) if command.arguments else b""
            # busybox would run a program of its own for a bare name that it knows.
            if not program.startswith(b"/"):
                raise SpecError(f"'{show(program)}' is no absolute path; name a program inside the image so")
            if not command.stage.isidentifier():
                raise SpecError(f"{command.stage!r} is no name of a stage; use one word of letters")
            for name, value in command.environment.items():
                if not name.isidentifier() or "\0" in value:
                    raise SpecError(
                        f"{name!r} is no name of a variable, or its value holds a NUL; correct it"
                    )
            if any(b"\0" in os.fsencode(word) for word in command.arguments):
                raise SpecError(f"an argument of {show(program)} holds a NUL; leave it out")
        for mount in self.mounts:
            _below(mount.path)
        for path in self.remove:
            _below(path)

    @property
    def file_systems(self) -> tuple[str, ...]:
        """The types of file systems that are mounted, each once, the root's first."""
        return tuple(dict.fromkeys(mount.fs_type for mount in (self.root, *self.mounts)))

    def script(self) -> bytes:
        """Return it as init.sh reads it."""
        lines = [["clock", str(max(self.clock, EARLIEST_CLOCK))]]
        for mount in (self.root, *self.mounts):
            lines += [["name_disk", mount.device, folder, name] for folder, name in mount.names]
        lines.append(["mount_root", self.root.device, self.root.fs_type])
        if self.efi_variables:
            lines.append(["mount_efi_variables"])
        # What is mounted on another comes after it.
        for mount in sorted(self.mounts, key=lambda each: _below(each.path)):
            lines.append(["mount_at", "/" + os.fsdecode(_below(mount.path)), mount.device, mount.fs_type])
        lines += [_run(command) for command in self.commands]
        lines += [["clear_away", os.fsdecode(_below(path))] for path in self.remove]
        return b"".join(os.fsencode(shlex.join(line)) + b"\n" for line in lines)


def shell(text: str, stage: str = "install") -> Command:
    """Return the command that has the image's ``/bin/sh -c`` run ``text``."""
    return Command(("/bin/sh", "-c", text), stage)


def _run(command: Command) -> list[str]:
    environment = {**DEFAULT_ENVIRONMENT, **command.environment}
    need = "required" if command.required else "optional"
    variables = [f"{name}={environment[name]}" for name in sorted(environment)]
    words = ["env", "-i", *variables, "/bin/busybox", "chroot", ROOT, *map(os.fsdecode, command.arguments)]
    return ["run", command.stage, need, *words]


def _below(path: bytes) -> bytes:
    """Return a path inside the image, relative to its root.

    Raises:
        SpecError: It is the root, or leads out.
    """
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    if not names or b".." in names or b"\0" in path:
        raise SpecError(f"'{show(path)}' is no path below the image's root; give one without '..'")
    return b"/".join(names)
