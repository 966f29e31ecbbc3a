"""What a guest needs is found, or refused, by the plan: on a dry run, and before anything is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from imgwriter import report
from imgwriter.build import build_image, plan_image
from imgwriter.errors import GuestError, ImgwriterError, SourceError, SpecError
from imgwriter.spec import ImageSpec
from imgwriter.spec.boot import instead_of_guest
from tests.unit.guest.elves import AARCH64, PT_INTERP, PT_LOAD, bzimage, elf, module

VERSION = "6.1.0-9-amd64"
MODULES = Path("lib/modules", VERSION, "kernel")
BUSYBOX = elf(programs=(PT_LOAD,))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with all that a guest needs but QEMU."""
    top = tmp_path / "tree"
    _write(top / "boot" / f"vmlinuz-{VERSION}", bzimage(VERSION))
    for name, depends in (("virtio_pci", ""), ("virtio_blk", "virtio_pci"), ("ext4", "")):
        _write(top / MODULES / f"{name}.ko", module(f"depends={depends}", f"vermagic={VERSION} SMP "))
    _write(top / "bin" / "busybox", BUSYBOX)
    return top


@pytest.fixture
def qemu(tmp_path: Path) -> Path:
    """A program: to be found, not to be run."""
    path = tmp_path / "qemu"
    path.touch()
    path.chmod(0o755)
    return path


def spec(root: Path, qemu: Path, **more: object) -> ImageSpec:
    given = {"boot_command": "true", "vm_qemu": qemu, "output": root.parent / "out"} | more
    return ImageSpec(trees=[root], **given)  # type: ignore[arg-type]  # a test's own keywords


def test_what_is_found_is_told(root: Path, qemu: Path) -> None:
    plan = plan_image(spec(root, qemu))
    guest = report.document(plan)["boot_loader"]["guest"]
    assert guest == {
        "architecture": "x86_64",
        "kernel": f"the tree, boot/vmlinuz-{VERSION}",
        "version": VERSION,
        "module_directory": f"the tree, lib/modules/{VERSION}",
        "modules": ["virtio_pci", "virtio_blk", "ext4"],
        "busybox": "the tree, bin/busybox",
        "qemu": str(qemu),
        "firmware": None,
    }
    text = report.text(plan, None)
    for words in (
        f"kernel   the tree, boot/vmlinuz-{VERSION}, version {VERSION}, for x86_64\n",
        f"modules  the tree, lib/modules/{VERSION}: virtio_pci, virtio_blk, ext4\n",
        "busybox  the tree, bin/busybox\n",
        f"QEMU     {qemu}\n",
    ):
        assert words in text


def test_a_kernel_without_modules_has_all_built_in(root: Path, qemu: Path, tmp_path: Path) -> None:
    _write(tmp_path / "kernel", bzimage("7.7.7-nowhere"))
    text = report.text(plan_image(spec(root, qemu, vm_kernel=tmp_path / "kernel")), None)
    assert f"kernel   {tmp_path}/kernel, version 7.7.7-nowhere, for x86_64\n" in text
    assert "modules  none: all is built in\n" in text


def _no_kernel(root: Path, qemu: Path) -> None:
    (root / "boot" / f"vmlinuz-{VERSION}").unlink()


def _no_module(root: Path, qemu: Path) -> None:
    (root / MODULES / "virtio_blk.ko").unlink()


def _no_static_busybox(root: Path, qemu: Path) -> None:
    _write(root / "bin" / "busybox", elf(AARCH64, programs=(PT_LOAD, PT_INTERP)))


def _no_qemu(root: Path, qemu: Path) -> None:
    qemu.chmod(0o644)


@pytest.mark.parametrize(
    ("lack", "kind", "says"),
    [
        (_no_kernel, SourceError, "the tree has no kernel"),
        (_no_module, SourceError, "the guest needs module virtio_blk which is neither there"),
        (_no_static_busybox, SourceError, "the guest needs a static busybox for x86_64"),
        (_no_qemu, GuestError, "is not there or is no program; install QEMU"),
    ],
)
def test_what_is_missing_is_refused_before_anything_is_written(
    lack: Callable[[Path, Path], None],
    kind: type[ImgwriterError],
    says: str,
    root: Path,
    qemu: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the dry run, in the build's own words."""
    monkeypatch.setenv("PATH", os.devnull)  # the host's busybox
    lack(root, qemu)
    with pytest.raises(kind) as planned:
        plan_image(spec(root, qemu))
    assert says in str(planned.value)
    stages: list[str] = []
    with pytest.raises(kind) as built:
        build_image(spec(root, qemu), stages=stages.append)
    assert str(built.value) == str(planned.value)
    assert stages == [] and not (root.parent / "out").exists()


SYSTEM: dict[str, object] = {"toplevel": "/nix/store/00000000000000000000000000000000-s", "closures": ["c"]}


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({"boot_command": "true"}, "leave --boot-command out"),
        ({"boot_command": "true", "boot_loader": "guest"}, "leave --boot-command out"),
        (SYSTEM, "install no boot loader (--no-install-boot-loader)"),
        (SYSTEM | {"install_boot_loader": True}, "install no boot loader (--no-install-boot-loader)"),
        (SYSTEM | {"boot_loader": "guest"}, "install no boot loader (--boot-loader none)"),
    ],
)
def test_how_one_does_without_a_guest(given: dict[str, object], remedy: str) -> None:
    asked = ImageSpec(trees=["tree"], **given)  # type: ignore[arg-type]  # a test's own keywords
    assert asked.boot_choice.loader == "guest"
    assert instead_of_guest(asked) == remedy


def test_where_there_is_no_kernel_one_may_do_without_a_guest(root: Path, qemu: Path) -> None:
    _no_kernel(root, qemu)
    with pytest.raises(SourceError, match=r"--vm-kernel .*, or leave --boot-command out$"):
        plan_image(spec(root, qemu))


def test_no_guest_needs_nothing(root: Path, qemu: Path) -> None:
    _no_kernel(root, qemu)
    plan = plan_image(spec(root, qemu, boot_command=None))
    assert plan.parts is None and report.document(plan)["boot_loader"] is None


def test_noise_that_is_no_list_is_refused(root: Path, qemu: Path) -> None:
    with pytest.raises(SpecError, match="'logs' is none of default, none"):
        plan_image(spec(root, qemu, installer_noise="logs"))


@pytest.mark.skipif(os.access("/dev/kvm", os.R_OK | os.W_OK), reason="KVM can be had here")
def test_kvm_that_is_not_there_is_refused(root: Path, qemu: Path) -> None:
    with pytest.raises(GuestError, match=r"/dev/kvm makes no machine .* use --accel tcg"):
        plan_image(spec(root, qemu, accel="kvm"))
