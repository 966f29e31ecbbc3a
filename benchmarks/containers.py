"""Containers: building into one beside mke2fs -d and qemu-img convert, and converting beside qemu-img."""

from __future__ import annotations

import sys
from pathlib import Path

from measure import Contestant, MiB, Sample, imgwriter, measure, median, memory, rounds, share, verdict

MEMORY = 200
"""MiB at most."""

PLAIN = 1.15
"""Times our own raw, at most: qcow2 and vpc."""

COMPRESSED = {"zlib": 1 / 10, "zstd": 1 / 14}
"""Of the time of mke2fs -d and qemu-img convert -c, at most."""

LARGER = 1.05
"""Times the size of qemu-img's compressed file, at most."""

CONVERT_PLAIN, CONVERT_COMPRESSED = 1.5, 1 / 3
"""Of the time of qemu-img convert, at most."""

_EFI = ("--partition-table", "efi")
_COMPRESSED = ("--format", "qcow2-compressed", "--compression")


def building(tree: Path, work: Path, runs: int) -> None:
    """Print what it takes to build into each container."""
    raw = imgwriter("imgwriter, raw", tree, work / "raw", *_EFI)
    own = {
        "qcow2": imgwriter("qcow2", tree, work / "qcow2", *_EFI, "--format", "qcow2", suffix="qcow2"),
        "vpc": imgwriter("vpc", tree, work / "vpc", *_EFI, "--format", "vpc", suffix="vhd"),
        "vdi": imgwriter("vdi", tree, work / "vdi", *_EFI, "--format", "vdi", suffix="vdi"),
        "zlib": imgwriter(
            "compressed, zlib", tree, work / "zlib", *_EFI, *_COMPRESSED, "zlib", suffix="qcow2"
        ),
        "zstd": imgwriter(
            "compressed, zstd", tree, work / "zstd", *_EFI, *_COMPRESSED, "zstd", suffix="qcow2"
        ),
    }
    measure(raw, work)
    size = raw.output.stat().st_size
    peers = {name: _peer(name, tree, work, size) for name in COMPRESSED}
    # The peers' image stays for the sizes: it is an ext4 of its own, of the same tree.
    results = rounds([raw, *own.values(), *peers.values()], work, runs, keep=True)
    base = median(results[raw.name])
    print(f"{'':26}{'seconds':>9}{'memory':>10}{'file':>11}   to raw   to mke2fs -d + qemu-img -c   its size")
    _line(raw, results[raw.name], "")
    for name, contestant in own.items():
        samples = results[contestant.name]
        seconds = median(samples)
        if name in COMPRESSED:
            peer = peers[name]
            ratio = seconds / median(results[peer.name])
            larger = contestant.output.stat().st_size / peer.output.stat().st_size
            goal = COMPRESSED[name]
            said = f"{'':9}{share(ratio)} ({share(goal)}: {verdict(ratio, goal, goal)})"
            said += f"   {larger:.3f} x ({LARGER} x: {verdict(larger, LARGER, LARGER)})"
        else:
            said = f"{seconds / base:.2f} x ({PLAIN} x: {verdict(seconds / base, PLAIN, PLAIN)})"
        _line(contestant, samples, said)
    for peer in peers.values():
        _line(peer, results[peer.name], "")
    largest = max(memory(results[each.name]) for each in own.values())
    print(f"{'':26}memory {largest:.0f} MiB   goal {MEMORY} MiB: {verdict(largest, MEMORY, MEMORY)}\n")
    for each in (raw, *own.values(), *peers.values()):
        each.output.unlink()


def _line(contestant: Contestant, samples: list[Sample], said: str) -> None:
    size = contestant.output.stat().st_size / MiB
    print(f"{contestant.name:26}{median(samples):9.2f}{memory(samples):6.0f} MiB{size:7.0f} MiB   {said}")


def _peer(compression: str, tree: Path, work: Path, size: int) -> Contestant:
    image, output = work / "peer.img", work / f"peer-{compression}.qcow2"
    options = f"-o compression_type={compression}"
    script = (
        f"rm -f {image}; mke2fs -q -F -t ext4 -d {tree} {image} {size // 1024}k; "
        f"qemu-img convert -f raw -O qcow2 -c {options} {image} {output}; rm {image}"
    )
    return Contestant(f"mke2fs -d, -c {compression}", ["sh", "-e", "-c", script], output)


def converting(tree: Path, work: Path, runs: int) -> None:
    """Print what it takes to convert a raw image."""
    raw = imgwriter("raw", tree, work / "convert", *_EFI)
    measure(raw, work)
    print(f"{'':26}{'seconds':>9}{'memory':>10}{'file':>11}   to qemu-img")
    for name, ours, theirs, goal in (
        ("qcow2", ("qcow2",), ("qcow2",), CONVERT_PLAIN),
        ("vpc", ("vpc", "--force-size"), ("vpc", "-o", "force_size"), CONVERT_PLAIN),
        (
            "zlib",
            (*_COMPRESSED[1:], "zlib"),
            ("qcow2", "-c", "-o", "compression_type=zlib"),
            CONVERT_COMPRESSED,
        ),
        (
            "zstd",
            (*_COMPRESSED[1:], "zstd"),
            ("qcow2", "-c", "-o", "compression_type=zstd"),
            CONVERT_COMPRESSED,
        ),
    ):
        own = _convert(f"convert, {name}", raw.output, work / "ours", *ours)
        peer_command = [
            "qemu-img",
            "convert",
            "-f",
            "raw",
            "-O",
            *theirs,
            str(raw.output),
            str(work / "theirs"),
        ]
        peer = Contestant(f"qemu-img convert, {name}", peer_command, work / "theirs")
        results = rounds([own, peer], work, runs, keep=True)
        ratio = median(results[own.name]) / median(results[peer.name])
        _line(own, results[own.name], f"{share(ratio)} ({share(goal)}: {verdict(ratio, goal, goal)})")
        _line(peer, results[peer.name], "")
        own.output.unlink()
        peer.output.unlink()
    raw.output.unlink()


def _convert(name: str, image: Path, output: Path, *options: str) -> Contestant:
    command = [sys.executable, "-m", "imgwriter", "convert", str(image), str(output), "--quiet", "--format"]
    return Contestant(name, [*command, *options], output)
