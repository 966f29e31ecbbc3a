"""imgwriter beside its peers, in one run: medians, ratios, peak memory, and the goals.

Usage: bench.py [--only PART] [--tree own|DIR]... [--runs N] [--quick] [--million] [--work DIR]

Whole processes are timed, from fork to wait4, in turn: round after round, so that a machine that gets
slower gets slower for all. Everything is read once before (warm cache). Nobody syncs what he writes: that
is done before the next one starts. mke2fs -d gets a file system of the size of imgwriter's disk.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import booting
import containers
from measure import ROOT, Contestant, MiB, imgwriter, measure, median, memory, rounds, share, verdict

OWN = "own"
"""The tree that is made here."""

LARGEST_DISK = "16777215MiB"
"""The largest file that ext4 holds, in whole MiB."""


GOALS = {"mke2fs -d": (1 / 25, 1 / 15), "tar cf": (2.0, 3.0), "loop mount, cp -a": (1 / 3, 1 / 2)}
"""imgwriter's time as a share of each peer's: what is wanted, and the least."""


def main() -> int:
    arguments = _arguments()
    # As pip installs it. Else each start would compile what was edited, where nothing may be cached
    # (PYTHONDONTWRITEBYTECODE).
    compileall.compile_dir(ROOT / "imgwriter", quiet=1)
    work = Path(tempfile.mkdtemp(prefix="imgwriter-bench-", dir=arguments.work))
    try:
        _run(arguments, work)
    finally:
        shutil.rmtree(work)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="imgwriter beside mke2fs -d, tar, a loop mount with cp, and qemu-img"
    )
    parts = ("raw", "containers", "convert", "nix", "boot")
    parser.add_argument("--only", choices=parts, help="one part (default all)")
    parser.add_argument(
        "--tree",
        action="append",
        help="a tree to take; may be repeated (default: own, made here)",
    )
    parser.add_argument("--runs", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--quick", action="store_true", help="a tenth of each tree, fewer rounds")
    parser.add_argument("--million", action="store_true", help="1,000,000 small files, too")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp"), help="where trees and images go")
    return parser.parse_args()


def _run(arguments: argparse.Namespace, work: Path) -> None:
    small = 10 if arguments.quick else 1
    runs = min(arguments.runs, 3) if arguments.quick else arguments.runs
    if arguments.only in (None, "nix"):
        _closure(work, 100_000 // small, 1000 // small, runs)
    if arguments.only in (None, "boot"):
        booting.booting(work, runs)
    if arguments.only in ("nix", "boot"):
        return
    for name in arguments.tree or [OWN]:
        tree, kind = (work / "share", "share") if name == OWN else (Path(name), "existing")
        entries, size = _tree(kind, tree, 50_000 // small, 700 // small)
        megabytes = size / 10**6
        print(f"{name}: {entries:,} entries, {megabytes:,.0f} MB; median of {runs}; {os.cpu_count()} cores\n")
        if arguments.only in (None, "raw"):
            _beside_peers(tree, work, runs)
            _largest_disk(tree, work, runs)
        if arguments.only in (None, "containers"):
            containers.building(tree, work, runs)
        if arguments.only in (None, "convert"):
            containers.converting(tree, work, runs)
    if arguments.only in (None, "raw"):
        _one_directory(work, 100_000 // small, runs)
        if arguments.million:
            _million(work, 1_000_000 // small)
        _start(work, runs)


def _tree(kind: str, top: Path, *numbers: int) -> tuple[int, int]:
    """Make and read a tree in another process, and return its entries and bytes.

    A process's peak memory starts at its parent's: this one has to stay small.
    """
    script = Path(__file__).with_name("trees.py")
    words = [sys.executable, str(script), kind, str(top), *map(str, numbers)]
    entries, size = subprocess.run(words, check=True, capture_output=True).stdout.split()
    return int(entries), int(size)


# --- What is measured ---


def _beside_peers(tree: Path, work: Path, runs: int) -> None:
    own = imgwriter("imgwriter, efi", tree, work / "efi", "--partition-table", "efi")
    measure(own, work)
    size = own.output.stat().st_size
    image, tar = work / "peer.img", work / "peer.tar"
    mke2fs = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(tree), str(image), f"{size // 1024}k"]
    contestants = [
        own,
        Contestant("mke2fs -d", mke2fs, image),
        Contestant("tar cf", ["tar", "cf", str(tar), "-C", str(tree), "."], tar),
    ]
    if os.geteuid() == 0:
        contestants.append(_loop_mount(tree, work, size))
    results = rounds(contestants, work, runs)
    seconds = {name: median(samples) for name, samples in results.items()}
    print(f"{'':22}{'seconds':>9}{'lowest':>9}{'memory':>10}   imgwriter / it   goal (least)")
    for name, samples in results.items():
        lowest = min(sample.seconds for sample in samples)
        peak = memory(samples)
        said = _against(seconds[own.name] / seconds[name], name)
        if name == own.name:
            said = f"{'':14}   150 MiB: {verdict(peak, 150, 150)}"
        print(f"{name:22}{seconds[name]:9.2f}{lowest:9.2f}{peak:6.0f} MiB   {said}")
    print()


def _against(ratio: float, peer: str) -> str:
    goal, least = GOALS.get(peer, (1.0, 1.0))
    return f"{share(ratio):>14}   {share(goal)} ({share(least)}): {verdict(ratio, goal, least)}"


def _largest_disk(tree: Path, work: Path, runs: int) -> None:
    efi = ("--partition-table", "efi", "--disk-size")
    pair = [
        imgwriter("a disk of 2 GiB", tree, work / "small", *efi, "2GiB"),
        imgwriter("a disk of 16 TiB", tree, work / "large", *efi, LARGEST_DISK),
    ]
    results = rounds(pair, work, runs, keep=True)
    small, large = (median(results[each.name]) for each in pair)
    for each, seconds in zip(pair, (small, large), strict=True):
        held = each.output.stat().st_blocks * 512 / MiB
        print(f"{each.name:22}{seconds:9.2f} s   {held:8.0f} MiB allocated")
        each.output.unlink()
    print(f"{'':22}{large / small:9.2f} x   goal 2 x: {verdict(large / small, 2, 2)}\n")


def _one_directory(work: Path, entries: int, runs: int) -> None:
    tree = work / "directory"
    _tree("one_directory", tree, entries)
    own = imgwriter(f"{entries:,} in one place", tree, work / "one")
    (samples,) = rounds([own], work, runs).values()
    seconds, peak = median(samples), memory(samples)
    print(f"{own.name:22}{seconds:9.2f} s   {peak:8.0f} MiB memory   goal 3 s: {verdict(seconds, 3, 3)}\n")
    shutil.rmtree(tree)


def _million(work: Path, entries: int) -> None:
    """A tenth of the files first: linear is as much for each file."""
    for count in (entries // 10, entries):
        tree = work / "million"
        _tree("many_files", tree, count)
        own = imgwriter(f"{count:,} small files", tree, work / "many")
        sample = measure(own, work)
        peak, each = sample.memory / MiB, sample.seconds / count * 1e6
        print(f"{own.name:22}{sample.seconds:9.2f} s   {peak:8.0f} MiB memory   {each:.1f} us a file")
        own.output.unlink()
        shutil.rmtree(tree)
    print(f"{'':22}goal 1,229 MiB: {verdict(peak, 1229, 1229)}\n")


def _closure(work: Path, files: int, size: int, runs: int) -> None:
    """A Nix closure without hashes: all of it is hashed for its database, then written."""
    top = work / "closure"
    _tree("store", top, files, size)
    words = ("--closure", str(top / "closure"), "--store-root", str(top), "--partition-table", "efi")
    command = [sys.executable, "-m", "imgwriter", "build", *words, "--quiet", "--output", str(work / "nix")]
    own = Contestant(f"{files // 50:,} store paths", command, work / "nix" / "nixos.img")
    (samples,) = rounds([own], work, runs).values()
    print(
        f"{own.name:22}{median(samples):9.2f} s   {memory(samples):8.0f} MiB memory"
        f"   {files:,} files, {size:,} MB, hashed and registered\n"
    )
    shutil.rmtree(top)


def _start(work: Path, runs: int) -> None:
    version = Contestant(
        "imgwriter --version", [sys.executable, "-m", "imgwriter", "--version"], work / "none"
    )
    (samples,) = rounds([version], work, max(runs, 5)).values()
    seconds = median(samples)
    print(f"{version.name:22}{seconds:9.3f} s   goal 0.1 s: {verdict(seconds, 0.1, 0.1)}")


# --- Contestants ---


def _loop_mount(tree: Path, work: Path, size: int) -> Contestant:
    """What root does by hand: an empty file system in a file, mounted, filled by cp -a, unmounted."""
    image, folder = work / "loop.img", work / "mnt"
    folder.mkdir(exist_ok=True)
    script = (
        f"truncate -s {size} {image}; mke2fs -q -F -t ext4 {image}; mount -o loop {image} {folder}; "
        f"cp -a {tree}/. {folder}/; umount {folder}"
    )
    return Contestant("loop mount, cp -a", ["sh", "-e", "-c", script], image)


if __name__ == "__main__":
    sys.exit(main())
