"""Run the command line as a user does, and make trees worth putting into an image."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

from tests.oracles.tools import ROOT, run

INDEXED = 1500
"""Names in the tree's large directory: past one block, so that it needs an index (18 blocks of 4 KiB)."""

SUFFIXES = {"raw": "img", "qcow2": "qcow2", "qcow2-compressed": "qcow2", "vpc": "vhd", "vdi": "vdi"}
"""What the image's name ends in, by format, as make-disk-image.nix has it."""


def build(tree: Path, output: Path, *options: str) -> Path:
    """Run ``imgwriter build`` in a process of its own and return the image it made.

    Owners are preserved, and everything imgwriter stamps itself is 2023-11-14 22:13:20 UTC.
    """
    command = [sys.executable, "-W", "error", "-m", "imgwriter", "build", "--tree", str(tree)]
    command += ["--output", str(output), "--owner", "preserve", "--time", "1700000000", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, env=environment)
    message = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, f"$ {' '.join(command)}\n{message}[exit {done.returncode}]"
    image_format = options[options.index("--format") + 1] if "--format" in options else "raw"
    return output / f"nixos.{SUFFIXES[image_format]}"


def varied_tree(top: Path) -> Path:
    """Make a tree with every kind of entry that the builder may make; as root also devices and owners."""
    top.mkdir(parents=True)
    _contents(top / "data")
    _names(top / "names")
    _large_directory(top / "many")
    _permissions(top / "modes")
    _attributes(top / "attributes")
    if os.geteuid() == 0:
        _devices(top / "nodes")
    # Last: making entries changes the times of their directories.
    _times(top / "data")
    os.utime(top, ns=(0, 1_600_000_000_123_456_789))
    return top


def _contents(top: Path) -> None:
    top.mkdir()
    # Around inline, block and chunk limits; content that is not the same in any two blocks.
    for size in (0, 1, 59, 60, 1023, 1024, 1025, 4095, 4096, 4097, 65536, 3_000_001):
        (top / f"{size}").write_bytes(b"".join(b"%07d\n" % n for n in range(size // 8 + 1))[:size])
    with (top / "sparse").open("wb") as file:
        # Thirteen separate runs: more than the four that an inode itself holds.
        for run_number in range(13):
            file.seek(run_number * 300_000)
            file.write(b"run %d" % run_number)
        file.truncate(40_000_000)
    (top / "empty-but-long").touch()
    os.truncate(top / "empty-but-long", 5_000_000)
    os.link(top / "4097", top / "second-name")


def _names(top: Path) -> None:
    top.mkdir()
    folder = os.fsencode(top)
    for name in (
        b"\xff\xfe not UTF-8",
        b"line\nbreak",
        b"back\\slash",
        "übung-日本".encode(),
        b"n" * 255,
        b" ",
    ):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(name)
    for length in (1, 59, 60, 61, 1000):
        (top / f"link{length}").symlink_to("t" * length)
    os.mkfifo(top / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        # A socket's path has 107 bytes at most; a descriptor's name is short.
        descriptor = os.open(top, os.O_PATH)
        listener.bind(f"/proc/self/fd/{descriptor}/socket")
        os.close(descriptor)
    deep = top
    for level in range(30):
        deep = deep / f"level{level}"
    deep.mkdir(parents=True)
    (deep / "bottom").write_text("deep\n")


def _large_directory(top: Path) -> None:
    top.mkdir()
    for number in range(INDEXED):
        (top / f"entry-{number:05d}-with-a-name-of-some-length").write_bytes(b"%d" % number)


def _permissions(top: Path) -> None:
    top.mkdir()
    # Only root reads what nobody may read.
    for mode in (0o0000 if os.geteuid() == 0 else 0o0400, 0o0644, 0o4755, 0o2755, 0o6711, 0o1777):
        path = top / f"{mode:04o}"
        path.touch()
        path.chmod(mode)
    (top / "sticky").mkdir()
    (top / "sticky").chmod(0o1777)
    if os.geteuid() == 0:
        for number in (1, 65535, 65536, 4294967294):
            path = top / f"owner-{number}"
            path.touch()
            os.chown(path, number, number - 1)


def _attributes(top: Path) -> None:
    top.mkdir()
    for size in (0, 1, 60, 900):
        path = top / f"value{size}"
        path.touch()
        os.setxattr(path, "user.value", b"v" * size)
    for twin in ("twin1", "twin2"):  # the same block of attributes twice: it can be shared
        (top / twin).touch()
        for number in range(8):
            os.setxattr(top / twin, f"user.attribute-{number}", bytes([number]) * 90)
    (top / "acl").mkdir()
    run("setfacl", "-m", "u:1000:rwx,g:100:r", "-d", "-m", "u:7:rx", top / "acl")
    if os.geteuid() == 0:
        (top / "capable").write_bytes(b"#!/bin/true\n")
        run("setcap", "cap_net_raw,cap_net_admin+ep", top / "capable")
        os.setxattr(top / "capable", "trusted.mark", b"\x00\x01")


def _devices(top: Path) -> None:
    top.mkdir()
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(top / "disk", stat.S_IFBLK | 0o660, os.makedev(8, 255))
    os.mknod(top / "large", stat.S_IFCHR | 0o600, os.makedev(4095, 1_000_000))


def _times(top: Path) -> None:
    # Before 1970, past 2038 and past 2106, each with nanoseconds.
    for name, seconds in (("0", -1_000_000_000), ("1", 0), ("59", 2**31), ("60", 2**32 + 5)):
        os.utime(top / name, ns=(0, seconds * 10**9 + 999_999_999))
