"""A prepared NixOS in the hands of the Linux kernel: every entry of its store is as Nix itself has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.compat.test_nix_system import Closure, imgwriter
from tests.oracles import e2fsck, guest, sgdisk
from tests.oracles.snapshot import Entry, Snapshot, difference, of_directory

pytestmark = [pytest.mark.guest, pytest.mark.slow]

STORE = b"nix/store/"


def expected(closure: Closure) -> Snapshot:
    """The closure's paths in the store that Nix made, as root owns them."""
    wanted: Snapshot = {}
    for path in closure.paths:
        place = closure.nix.real(path)
        if place.is_dir() and not place.is_symlink():
            found = of_directory(place)
            wanted |= {os.path.join(os.fsencode(path[1:]), name).rstrip(b"/"): e for name, e in found.items()}
        else:
            wanted[os.fsencode(path[1:])] = of_directory(place.parent)[os.fsencode(place.name)]
    return {path: entry._replace(uid=0, gid=0, same_as=path) for path, entry in wanted.items()}


def test_the_kernel_sees_the_store_that_nix_made(tmp_path: Path) -> None:
    closure = Closure(tmp_path / "nix")
    given = ("--toplevel", closure.toplevel, "--channel", closure.channel, "--no-install-boot-loader")
    table = ("--partition-table", "efi", "--additional-space", "8M", "--output", tmp_path / "out")
    done = imgwriter(*closure.words("closure-info"), *given, *table)
    assert done.returncode == 0, done.stderr.decode()
    image = tmp_path / "out" / "nixos.img"
    # The profile leads to a program that runs: its shell is the closure's own.
    job = (
        "mount -o ro $(root) /mnt\nsnapshot /mnt\n"
        "[ $(chroot /mnt /nix/var/nix/profiles/system/sw/bin/sh -c 'echo $((6 * 7))') = 42 ]\n"
        "[ $(chroot /mnt /bin/sh -c 'read it </run/current-system/nixos-version; echo $it') = 1.0 ]\n"
        "umount /mnt\n"
    )
    found = guest.check([image], job).snapshot
    store = {path: entry for path, entry in found.items() if path.startswith(STORE)}
    assert difference(expected(closure), store) == []
    assert found[b"nix/store"].mode & 0o7777 == 0o1775
    assert found[b"run/current-system"].target == b"/nix/var/nix/profiles/system"
    e2fsck.check(image, 256 << 20)
    sgdisk.verify(image)


def test_the_comparison_objects() -> None:
    entry = Entry(0o100444, 0, 0, 10**9, 1, "a", b"", (0, 0), b"x")
    assert difference({b"x": entry}, {b"x": entry._replace(mode=0o100644)})
    assert difference({b"x": entry}, {b"x": entry._replace(mtime_ns=0)})
