"""A NixOS's entries as its own installer writes them, and what only a guest can do.

Spec: NixOS RFC 0125; nixpkgs (late 2025), systemd-boot.nix, systemd-boot-builder.py: BOOT_ENTRY, loader.conf,
generation_conf_filename, copy_from_file.
"""

from __future__ import annotations

import json
from copy import deepcopy

import pytest

from imgwriter.bootloader import nixos
from imgwriter.bootloader.loaders import install
from imgwriter.bootloader.target import LoaderOptions
from imgwriter.errors import SourceError, SpecError
from tests.unit.bootloader import grubs
from tests.unit.bootloader.targets import target, trees
from tests.unit.tree.graph import at, content, shape, tree


def name(letter: str, rest: str) -> str:
    return letter * 32 + "-" + rest


SYSTEM = name("s", "nixos-system-host-25.11")
KERNEL, INITRD, SPECIAL = (
    name("k", "linux-6.12.1"),
    name("i", "initrd-linux-6.12.1"),
    name("j", "initrd-special"),
)
SYSTEMD, BUILDER, SCRIPT, EXTRA = (
    name("d", "systemd-258"),
    name("b", "systemd-boot"),
    name("x", ""),
    name("e", "copy"),
)
INSTALL = name("x", "install-systemd-boot.sh")
STORE = "/nix/store/"
TOPLEVEL = (STORE + SYSTEM).encode()


def bootspec(initrd: str = INITRD, **more: object) -> dict[str, object]:
    return {
        "org.nixos.bootspec.v1": {
            "init": f"{STORE}{SYSTEM}/init",
            "initrd": f"{STORE}{initrd}/initrd",
            "kernel": f"{STORE}{KERNEL}/bzImage",
            "kernelParams": ["console=tty1", "loglevel=4"],
            "label": "NixOS Xantusia 25.11 (Linux 6.12.1)",
            "system": "x86_64-linux",
            "toplevel": STORE + SYSTEM,
            **more,
        },
        "org.nixos.specialisation.v1": {},
    }


BOOTSPEC = bootspec()
BUILDER_TEXT = f"""\
#! /nix/store/python3/bin/python3 -B
import os
EFI_SYS_MOUNT_POINT = Path("/boot")
BOOT_MOUNT_POINT = Path("/boot")
NIXOS_DIR = Path(
    "/EFI/nixos".strip("/")
)
TIMEOUT = "5"
EDITOR = "1" == "1"  # noqa: PLR0133
CONSOLE_MODE = "keep"
DISTRO_NAME = "NixOS"
SYSTEMD = "{STORE}{SYSTEMD}"
REBOOT_FOR_BITLOCKER = bool("")
COPY_EXTRA_FILES = "{STORE}{EXTRA}"
"""


def system(
    document: object = BOOTSPEC, *, installer: str = "", builder: str = BUILDER_TEXT, extra: str = "", **top
):
    """Return the root of a NixOS."""
    wrapper = f"#!/bin/sh\nexport INSTALL_BOOTLOADER='{STORE}{INSTALL}'\n"
    script = f'#!/bin/sh\n{STORE}{BUILDER}/bin/systemd-boot "$@"\n{installer}\n'
    files = {
        "boot.json": document if isinstance(document, bytes) else json.dumps(document).encode(),
        "bin": {"switch-to-configuration": wrapper.encode()},
    }
    store = {
        SYSTEM: files,
        KERNEL: {"bzImage": b"kernel"},
        INITRD: {"initrd": b"initramfs"},
        SPECIAL: {"initrd": b"special"},
        SYSTEMD: {"lib": {"systemd": {"boot": {"efi": {"systemd-bootx64.efi": b"MZ"}}}}},
        BUILDER: {"bin": {"systemd-boot": builder.encode()}},
        INSTALL: script.encode(),
        EXTRA: f"#!/bin/bash\n\n{extra}\n".encode(),
        name("g", "grub-2.12"): {"lib": {"grub": {"x86_64-efi": grubs.efi_files()}}},
    }
    profiles = {"system": "system-7-link", "system-7-link": STORE + SYSTEM}
    return tree({"nix": {"store": store, "var": {"nix": {"profiles": profiles}}}, **top})


def installed(root, table="efi", options=None, loader="systemd-boot"):
    into = trees(table, root)
    install(loader, into, target(table, toplevel=TOPLEVEL), options or LoaderOptions())
    return into


def demand(root) -> str | None:
    return nixos.demand(root, target("efi", toplevel=TOPLEVEL))


ENTRY = f"""\
title NixOS
sort-key nixos
version Generation 7 NixOS Xantusia 25.11 (Linux 6.12.1), built on 2023-11-14
linux /EFI/nixos/{KERNEL}-bzImage.efi
initrd /EFI/nixos/{INITRD}-initrd.efi
options init={STORE}{SYSTEM}/init console=tty1 loglevel=4
"""


def test_all_that_the_installer_writes():
    esp = shape(installed(system())["esp"])
    assert esp == {
        "EFI": {
            "systemd": {"systemd-bootx64.efi": b"MZ"},
            "BOOT": {"BOOTX64.EFI": b"MZ"},
            "nixos": {f"{KERNEL}-bzImage.efi": b"kernel", f"{INITRD}-initrd.efi": b"initramfs"},
        },
        "loader": {
            "loader.conf": b"timeout 5\ndefault nixos-generation-7.conf\nconsole-mode keep\n",
            "entries.srel": b"type1\n",
            "entries": {"nixos-generation-7.conf": ENTRY.encode()},
        },
    }
    assert demand(system()) is None


def test_what_is_configured():
    text = BUILDER_TEXT.replace('"5"', '"menu-force"').replace('"keep"', '"max"').replace('"1" ==', '"0" ==')
    text = text.replace('bool("")', 'bool("1")').replace('"NixOS"', '"Mine"')
    loader = shape(installed(system(builder=text))["esp"])["loader"]
    assert loader["loader.conf"].decode() == (
        "timeout menu-force\ndefault nixos-generation-7.conf\neditor 0\nreboot-for-bitlocker yes\n"
        "console-mode max\n"
    )
    assert loader["entries"]["nixos-generation-7.conf"].startswith(b"title Mine\n")


def test_what_is_asked_for_goes_before():
    options = LoaderOptions(timeout=0, kernel_parameters="console=ttyS0")
    loader = shape(installed(system(), options=options)["esp"])["loader"]
    assert loader["loader.conf"].startswith(b"timeout 0\n")
    assert b" loglevel=4 console=ttyS0\n" in loader["entries"]["nixos-generation-7.conf"]


def test_variants():
    document = deepcopy(BOOTSPEC)
    variants = document["org.nixos.specialisation.v1"]
    variants["b"] = {**bootspec(SPECIAL), "org.nixos.systemd-boot": {"sortKey": "z"}}
    variants["a"] = bootspec()
    esp = shape(installed(system(document))["esp"])
    entries = esp["loader"]["entries"]
    names = ["nixos-generation-7.conf", *(f"nixos-generation-7-specialisation-{v}.conf" for v in "ab")]
    assert entries.keys() == set(names)
    special = entries[names[2]].decode()
    assert special.startswith("title NixOS (b)\nsort-key z\nversion Generation 7 ")
    assert f"initrd /EFI/nixos/{SPECIAL}-initrd.efi\n" in special
    # The kernel that they share is there once.
    assert len(esp["EFI"]["nixos"]) == 3
    assert esp["loader"]["loader.conf"].splitlines()[1] == b"default nixos-generation-7.conf"


def test_a_device_tree_and_a_machine_s_identity():
    document = {**BOOTSPEC, "org.nixos.systemd-boot": {"devicetree": f"{STORE}{KERNEL}/board.dtb"}}
    root = system(document, etc={"machine-id": b"0123456789abcdef0123456789abcdef\n"})
    at(root, f"nix/store/{KERNEL}").entries[b"board.dtb"] = tree(b"dtb")
    entry = content(at(installed(root)["esp"], "loader/entries/nixos-generation-7.conf")).decode()
    assert entry == ENTRY + (
        f"machine-id 0123456789abcdef0123456789abcdef\ndevicetree /EFI/nixos/{KERNEL}-board.dtb.efi\n"
    )


@pytest.mark.parametrize("text", [b"", b"uninitialized\n", b"x" * 32])
def test_a_machine_that_has_no_identity_yet(text):
    entry = content(
        at(installed(system(etc={"machine-id": text}))["esp"], "loader/entries/nixos-generation-7.conf")
    )
    assert entry == ENTRY.encode()


def test_symlinks_inside_the_store():
    """A file is named after the store path that it really is in, and alone where it is a path of its own."""
    single = name("l", "kernel-image")
    root = system()
    store = at(root, "nix/store")
    store.entries[single.encode()] = tree(b"kernel")
    at(root, f"nix/store/{KERNEL}").entries[b"bzImage"] = tree(f"../{single}")
    assert f"{single}.efi" in shape(installed(root)["esp"])["EFI"]["nixos"]


def test_kernels_on_xbootldr():
    text = BUILDER_TEXT.replace('EFI_SYS_MOUNT_POINT = Path("/boot")', 'EFI_SYS_MOUNT_POINT = Path("/efi")')
    into = installed(system(builder=text), "efixbootldr")
    assert shape(into["boot"])["loader"]["entries"] == {"nixos-generation-7.conf": ENTRY.encode()}
    assert "entries" not in shape(into["esp"])["loader"]
    with pytest.raises(SpecError, match="partition table 'efi' has none; use 'efixbootldr'"):
        installed(system(builder=text), "efi")
    # A system that does not use the partition has all on its ESP.
    into = installed(system(), "efixbootldr")
    assert shape(into["boot"]) == {}


def test_a_tree_without_a_profile_is_its_first_generation():
    root = system()
    del at(root, "nix").entries[b"var"]
    assert "nixos-generation-1.conf" in shape(installed(root)["esp"])["loader"]["entries"]


def test_grub_has_the_same_choice():
    document = deepcopy(BOOTSPEC)
    document["org.nixos.specialisation.v1"]["special"] = bootspec(SPECIAL)
    root = installed(system(document), loader="grub-efi")["root"]
    text = content(at(root, "boot/grub/grub.cfg")).decode()
    assert f"linux {STORE}{KERNEL}/bzImage init={STORE}{SYSTEM}/init console=tty1 loglevel=4\n" in text
    assert f"initrd {STORE}{SPECIAL}/initrd\n" in text
    assert text.index("menuentry 'NixOS - Default'") < text.index("menuentry 'NixOS - special'")


# --- What demands a guest ---


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        (system(installer="cp a b"), "commands of its own (extraInstallCommands)"),
        (system(extra="install -Dp a /boot/b"), "copies more files"),
        (system(bootspec(initrdSecrets="/nix/store/append")), "gets secrets (/nix/store/append)"),
        (system(builder="TIMEOUT = 5\n"), "is not an installer that is known here: no COPY_EXTRA_FILES"),
    ],
)  # fmt: skip
def test_what_demands_a_guest(root, reason):
    assert reason in (demand(root) or "")
    with pytest.raises(SourceError) as caught:
        installed(root)
    assert reason in str(caught.value) and str(caught.value).endswith("use boot loader 'guest'")


def test_a_system_with_another_loader():
    root = system()
    wrapper = f"INSTALL_BOOTLOADER={STORE}{name('x', 'install-grub.sh')}\n"
    at(root, f"nix/store/{SYSTEM}/bin").entries[b"switch-to-configuration"] = tree(wrapper.encode())
    assert "install-grub.sh, not systemd-boot's" in (demand(root) or "")


@pytest.mark.parametrize(
    "missing", [f"{SYSTEM}/bin/switch-to-configuration", f"{BUILDER}/bin/systemd-boot", INSTALL]
)
def test_a_system_that_is_not_whole(missing):
    root = system()
    above, _, last = f"nix/store/{missing}".rpartition("/")
    del at(root, above).entries[last.encode()]
    assert demand(root) is not None


@pytest.mark.parametrize(
    "document",
    [
        b"", b"{", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000,
        b'{"org.nixos.bootspec.v1": {}}', b'{"org.nixos.bootspec.v1": null}',
        json.dumps(bootspec(label=1)).encode(), json.dumps(bootspec(kernelParams=[1])).encode(),
        json.dumps(bootspec(label="two\nlines")).encode(),
        json.dumps({**bootspec(), "org.nixos.specialisation.v1": {"a/b": bootspec()}}).encode(),
        json.dumps({**bootspec(), "org.nixos.specialisation.v1": []}).encode(),
        json.dumps(bootspec(kernel="/a" * 2049)).encode(),
    ],
    ids=len,
)  # fmt: skip
def test_a_boot_json_that_is_no_bootspec(document):
    with pytest.raises(SourceError, match=r"boot\.json is no bootspec of version 1"):
        installed(system(document))


def test_without_a_boot_json():
    root = system()
    del at(root, f"nix/store/{SYSTEM}").entries[b"boot.json"]
    with pytest.raises(SourceError, match=r"has no .*boot\.json.*boot\.bootspec\.enable"):
        installed(root)


def test_a_kernel_that_is_elsewhere():
    root = system(bootspec(kernel="/boot/vmlinuz"), boot={"vmlinuz": b"k"})
    with pytest.raises(SourceError, match="is not in the store"):
        installed(root)
    root = system(bootspec(kernel=f"{STORE}{name('m', 'missing')}/bzImage"))
    with pytest.raises(SourceError, match="leads to nothing"):
        installed(root)
