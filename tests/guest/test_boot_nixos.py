"""A system in the shape of a NixOS boots by the entries that its own installer would have written.

The store is made here: a kernel and an initramfs in store paths of their own, a toplevel with a boot.json and
a switch-to-configuration that leads to the installer, and the system of the boot tree behind ``init=``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.building import ROOT
from tests.oracles import boot
from tests.oracles.tools import CACHE, require_file
from tests.unit.bootloader.test_nixos import BUILDER_TEXT

pytestmark = [pytest.mark.guest, pytest.mark.slow]

STORE = "/nix/store/"
SYSTEM, KERNEL, INITRD, SYSTEMD, BUILDER, INSTALL, EXTRA, SHELL, GRUB = (
    "abcdfghij"[index] * 32 + "-" + name
    for index, name in enumerate(
        (
            "nixos-system-x-1", "linux-6.1", "initrd-6.1", "systemd-258", "systemd-boot",
            "install-systemd-boot.sh", "copy-extra-files", "bash-5.2", "grub-2.06",
        )
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with nix/store, a closure.json, and a tree of what is not in the store."""
    tree = require_file(CACHE / "boot-tree" / ".ready").parent / "root"
    top = tmp_path_factory.mktemp("nixos")
    store = top / "nix" / "store"
    (kernel,) = tree.glob("boot/vmlinuz-*")
    (initrd,) = tree.glob("boot/initrd.img-*")
    for source, target in ((kernel, f"{KERNEL}/bzImage"), (initrd, f"{INITRD}/initrd")):
        (store / target).parent.mkdir(parents=True)
        shutil.copy(source, store / target)
    shutil.copytree(tree / "usr/lib/systemd/boot", store / SYSTEMD / "lib/systemd/boot")
    shutil.copytree(tree / "usr/lib/grub", store / GRUB / "lib/grub", symlinks=True)
    (store / SHELL / "bin").mkdir(parents=True)
    shutil.copy(tree / "bin/busybox", store / SHELL / "bin/bash")
    (store / SHELL / "bin/sh").symlink_to("bash")
    system = store / SYSTEM
    (system / "bin").mkdir(parents=True)
    (system / "init").symlink_to("/bin/busybox")
    spec = {
        "init": f"{STORE}{SYSTEM}/init",
        "initrd": f"{STORE}{INITRD}/initrd",
        "kernel": f"{STORE}{KERNEL}/bzImage",
        "kernelParams": ["root=LABEL=nixos", "console=ttyS0,115200"],
        "label": "NixOS 1",
        "system": "x86_64-linux",
        "toplevel": STORE + SYSTEM,
    }
    document = {"org.nixos.bootspec.v1": spec, "org.nixos.specialisation.v1": {}}
    (system / "boot.json").write_text(json.dumps(document))
    (system / "bin/switch-to-configuration").write_text(f"INSTALL_BOOTLOADER={STORE}{INSTALL}\n")
    (store / INSTALL).write_text(f'#!/bin/sh\n{STORE}{BUILDER}/bin/systemd-boot "$@"\n')
    (store / BUILDER / "bin").mkdir(parents=True)
    text = BUILDER_TEXT.replace("e" * 32 + "-copy", EXTRA)
    assert f'SYSTEMD = "{STORE}{SYSTEMD}"' in text
    (store / BUILDER / "bin/systemd-boot").write_text(text)
    (store / EXTRA).write_text("#!/bin/bash\n")
    paths = [{"path": STORE + path.name, "references": []} for path in sorted(store.iterdir())]
    paths[0]["references"] = [each["path"] for each in paths]
    (top / "closure.json").write_text(json.dumps(paths))
    for name in ("proc", "sys", "dev", "bin", "etc"):
        (top / "tree" / name).mkdir(parents=True)
    shutil.copy(tree / "bin/busybox", top / "tree/bin/busybox")
    for name in ("inittab", "passwd", "group"):
        shutil.copy(tree / "etc" / name, top / "tree/etc" / name)
    return top


@pytest.mark.parametrize(
    ("loader", "table", "firmware"),
    [("systemd-boot", "efi", "efi"), ("grub-efi", "efi", "efi"), ("grub-bios", "legacy", "bios")],
)
def test_to_the_login_prompt(
    loader: str, table: str, firmware: boot.Firmware, host: Path, tmp_path: Path
) -> None:
    words = ["--closure", str(host / "closure.json"), "--store-root", str(host), "--toplevel", STORE + SYSTEM]
    words += ["--tree", str(host / "tree"), "--boot-loader", loader, "--partition-table", table]
    words += ["--boot-timeout", "0", "--additional-space", "16M", "--output", str(tmp_path)]
    command = [sys.executable, "-W", "error", "-m", "imgwriter", "build", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = boot.check(tmp_path / "nixos.img", firmware=firmware)
    assert f"init={STORE}{SYSTEM}/init root=LABEL=nixos" in text
