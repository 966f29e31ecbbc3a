"""The sink on real file systems: full ones, ones that share blocks, ones that do neither.

Judges: the kernel (through mount, filefrag and statvfs), cmp, sha256sum and bmaptool.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imgwriter import sidecar, sink
from imgwriter.errors import OutputError
from imgwriter.extent import Bytes, Extent, Generated, Volume, extent
from imgwriter.sink import target
from imgwriter.units import KiB, MiB
from tests.oracles.tools import require
from tests.unit.test_filedata import handle, scanned
from tests.unit.test_sink import assert_holds

pytestmark = pytest.mark.compat

MAKERS = {
    "ext4": (["mkfs.ext4", "-q", "-F"], 16 * MiB),
    "xfs": (["mkfs.xfs", "-q", "-m", "reflink=1"], 320 * MiB),
    "btrfs": (["mkfs.btrfs", "-q"], 128 * MiB),
}


@contextmanager
def mounted(kind: str, tmp_path: Path) -> Iterator[Path]:
    """A small file system of a kind, for as long as the block runs."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system to fill it, or to share its blocks")
    point = tmp_path / f"mounted-{kind}"
    point.mkdir()
    if kind == "tmpfs":
        command = ["-t", "tmpfs", "-o", "size=2m", "tmpfs"]
    else:
        (maker, *options), size = MAKERS[kind]
        device = tmp_path / f"device-{kind}"
        device.touch()
        os.truncate(device, size)
        subprocess.run([require(maker), *options, device], check=True, capture_output=True)
        command = ["-o", "loop", os.fspath(device)]
    result = subprocess.run([require("mount"), *command, point], capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"this machine cannot mount {kind}: {result.stderr.strip()}")
    try:
        yield point
    finally:
        # Lazily: a failed assertion still holds the test's open files.
        subprocess.run([require("umount"), "--lazy", point], check=True)


def computed(length: int) -> Volume:
    pieces = [
        extent(i, Generated(256 * KiB, lambda a, b: b"x" * (b - a)), i) for i in range(0, length, 256 * KiB)
    ]
    return Volume(length, pieces)


def from_file(length: int, directory: Path) -> Volume:
    path = directory / "long"
    path.write_bytes(os.urandom(length))
    return Volume(length, [extent(0, scanned(path), "long")])


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize(
    "make", [lambda size, directory: computed(size), from_file], ids=["computed", "file"]
)
def test_a_full_file_system(
    kind: str, existing: bool, make: Callable[[int, Path], Volume], tmp_path: Path
) -> None:
    with mounted(kind, tmp_path) as point:
        output = point / "nixos.img"
        if existing:
            output.write_bytes(b"old")
        before = sorted(os.listdir(point))
        free = os.statvfs(point).f_bfree
        with pytest.raises(
            OutputError, match=r"nixos\.img: cannot be written: No space left on device; free space"
        ):
            sink.write(make(20 * MiB, tmp_path), output)
        assert sorted(os.listdir(point)) == before
        assert not existing or output.read_bytes() == b"old"
        os.sync()
        assert os.statvfs(point).f_bfree == free
        small = make(1 * MiB, tmp_path)
        sink.write(small, output)
        assert_holds(output, small)


def test_a_size_that_the_file_system_cannot_hold(tmp_path: Path) -> None:
    """ext4's largest file with 4 KiB blocks is 16 TiB - 4 KiB; with the 1 KiB blocks of a small one less."""
    with mounted("ext4", tmp_path) as point:
        with pytest.raises(OutputError, match="File too large; make the image smaller"):
            sink.write(Volume(16 << 40, []), point / "nixos.img")
        assert os.listdir(point) == ["lost+found"]


def shared_bytes(path: Path) -> int:
    """What filefrag says is shared; its lines are "n: first..last: first..last: length: ... flags"."""
    subprocess.run(["sync", "-f", path], check=True)
    said = subprocess.run(
        [require("filefrag"), "-v", "-b1", path], check=True, capture_output=True, text=True
    )
    lines = re.findall(r"^ *\d+:.*?\.\. *\d+: *\d+\.\. *\d+: *(\d+):(.*)$", said.stdout, re.MULTILINE)
    assert lines, said.stdout
    return sum(int(length) for length, flags in lines if "shared" in flags)


def sharing_volume(source: Path) -> Volume:
    """73 and 2 blocks of 4 KiB that can be shared, and what lies off the boundaries of blocks."""
    return Volume(
        4 * MiB,
        [
            Extent(1 * MiB, 300_000, scanned(source), 0, "whole: 73 blocks shared, 992 bytes copied"),
            extent(2 * MiB, handle(source, 4096, 8192), "tar member on a boundary: 2 blocks"),
            extent(2 * MiB + 64 * KiB, handle(source, 512, 65536), "tar member off a boundary"),
            extent(3 * MiB + 512, handle(source, 4096, 65536), "target off a boundary"),
            extent(0, Bytes(b"MBR"), "MBR"),
        ],
    )


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_blocks_are_shared_where_they_can_be(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """filefrag sees the shared blocks; it sees none where clones are refused, which shows that it can."""
    require("filefrag")
    with mounted(kind, tmp_path) as point:
        source, output = point / "source", point / "nixos.img"
        source.write_bytes(os.urandom(300_000))
        volume = sharing_volume(source)
        monkeypatch.setattr(os, "copy_file_range", _not_here)  # which may share blocks as well
        sink.write(volume, output)
        assert_holds(output, volume)
        assert shared_bytes(output) == 75 * 4096
        monkeypatch.setattr(target, "ioctl", _not_here)
        sink.write(volume, output)
        assert_holds(output, volume)
        assert shared_bytes(output) == 0


def _not_here(*_: object) -> int:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_the_source_is_on_another_file_system(kind: str, tmp_path: Path) -> None:
    volume = from_file(3 * MiB + 17, tmp_path)
    with mounted(kind, tmp_path) as point:
        sink.write(volume, point / "nixos.img", sync=True)
        assert_holds(point / "nixos.img", volume)


def test_what_is_in_no_extent_is_a_hole(tmp_path: Path) -> None:
    output = tmp_path / "nixos.img"
    sink.write(Volume(1 << 40, [extent(1 << 39, Bytes(b"x" * 4096), "x")]), output)
    assert output.stat().st_size == 1 << 40
    assert output.stat().st_blocks * 512 <= 64 * KiB


def test_sha256sum_agrees_and_objects(tmp_path: Path) -> None:
    output = tmp_path / "nixos\\n.img"
    volume = computed(1 * MiB)
    sink.write(volume, output)
    runs = [(e.start, e.end) for e in volume.extents]
    sink.write_bytes(tmp_path / "sums", sidecar.sha256(volume.size, runs, output).encode())
    check = [require("sha256sum"), "--check", "--strict", "sums"]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True).returncode == 0
    os.truncate(output, 1 * MiB - 1)
    assert subprocess.run(check, cwd=tmp_path, capture_output=True).returncode == 1


def test_bmaptool_copies_by_the_map_and_objects(tmp_path: Path) -> None:
    """bmaptool checks the map's own checksum and each range's."""
    bmaptool = require("bmaptool")
    output, block_map, copy = tmp_path / "nixos.img", tmp_path / "nixos.bmap", tmp_path / "copy"
    blocks = [extent(i * 65536, Bytes(os.urandom(5000)), i) for i in range(20)]
    volume = Volume(3 * MiB + 100, [*blocks, extent(3 * MiB, Bytes(b"e" * 100), "end")])
    sink.write(volume, output)
    sink.write_bytes(block_map, sidecar.bmap(volume, output).encode())

    def run() -> subprocess.CompletedProcess[str]:
        command = [bmaptool, "copy", "--bmap", block_map, output, copy]
        return subprocess.run(command, capture_output=True, text=True)

    result = run()
    assert result.returncode == 0, result.stderr
    assert_holds(copy, volume)
    with output.open("r+b") as damaged:
        damaged.seek(65536)
        damaged.write(b"damaged")
    assert run().returncode != 0
    sink.write(volume, output)
    block_map.write_text(block_map.read_text().replace("<BlocksCount>", "<BlocksCount> "))
    assert run().returncode != 0
