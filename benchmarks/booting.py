"""Boot loaders: in a guest beside the same job by hand, and without a guest beside the plain build."""

from __future__ import annotations

import sys
from pathlib import Path

from measure import ROOT, Contestant, imgwriter, median, rounds, verdict

TREE = ROOT / ".cache" / "boot-tree" / "root"
"""scripts/fetch-boot-tree's."""

COMMAND = "grub-install --target=i386-pc --no-floppy /dev/vda"
SCRIPT = Path(__file__).with_name("boot_by_hand.sh")

GUEST_GOAL = 1.2
"""The guest's time as a share of the same by hand."""
ADDED_GOAL = 0.2
"""Seconds that a loader without a guest may add to a build."""


def booting(work: Path, runs: int) -> None:
    """Measure, and print."""
    if not TREE.is_dir():
        print("boot loaders: left out, as `make setup` has not made a tree that boots\n")
        return
    by_hand = work / "by-hand"
    command = [str(SCRIPT), str(TREE), str(by_hand), COMMAND, sys.executable]
    guest = imgwriter("in imgwriter's guest", TREE, work / "guest", "--boot-command", COMMAND)
    hand = Contestant("by hand: QEMU, a script", command, by_hand / "nixos.img")
    plain = imgwriter("no boot loader", TREE, work / "plain")
    alone = imgwriter("grub-bios, no guest", TREE, work / "alone", "--boot-loader", "grub-bios")
    results = rounds([guest, hand, plain, alone], work, runs)
    seconds = {name: median(samples) for name, samples in results.items()}
    said = {
        guest.name: _ratio(seconds[guest.name] / seconds[hand.name]),
        alone.name: _added(seconds[alone.name] - seconds[plain.name]),
    }
    print(f"{'boot loaders':26}{'seconds':>9}")
    for name, value in seconds.items():
        print(f"{name:26}{value:9.2f}   {said.get(name, '')}".rstrip())
    print()


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f} x by hand   goal {GUEST_GOAL}: {verdict(ratio, GUEST_GOAL, GUEST_GOAL)}"


def _added(added: float) -> str:
    return (
        f"{added:+.2f} s over the plain build   goal {ADDED_GOAL}: {verdict(added, ADDED_GOAL, ADDED_GOAL)}"
    )
