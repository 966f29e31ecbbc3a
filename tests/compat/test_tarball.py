"""Archives by GNU tar and bsdtar become the same tree as the directory they were made from."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from imgwriter.errors import FormatError
from imgwriter.filedata import HandleSlice
from imgwriter.tree import directory, tarball
from imgwriter.tree.holes import Holes
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.tree.rules import SourceRules
from tests.oracles.tools import require, require_root

pytestmark = pytest.mark.compat

KEEP = SourceRules(owner=None)
SECOND = 10**9
TIME = 1_600_000_000 * SECOND + 123_456_789


def content(inode: Inode) -> bytes:
    return b"".join(bytes(piece) for piece in inode.data.chunks(0, inode.size)) if inode.data else b""


def described(root: Inode, tick: int = 1, links: bool = True) -> dict[bytes, tuple[object, ...]]:
    """Return what each path is; times in whole ``tick`` nanoseconds, hard links as the first path."""
    first: dict[int, bytes] = {}
    return {
        path: (
            oct(inode.mode),
            (inode.uid, inode.gid),
            inode.mtime_ns // tick,
            inode.size,
            inode.target,
            inode.rdev,
            dict(inode.xattrs),
            first.setdefault(id(inode), path) if links else None,
            content(inode),
        )
        for path, inode in Inventory(root).walk()
        if not stat.S_ISSOCK(inode.mode)
    }


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Return a tree with a file of every kind that v7 tar knows, and one that is sparse."""
    tree = tmp_path / "tree"
    (tree / "usr/lib").mkdir(parents=True)
    (tree / "lib").symlink_to("usr/lib")
    (tree / "dangling").symlink_to("/no/where/../at all")
    (tree / "empty").touch()
    (tree / "usr/lib/file").write_bytes(b"some\0bytes" * 1000)
    (tree / "usr/lib/again").hardlink_to(tree / "usr/lib/file")
    os.mkfifo(tree / "fifo")
    Path(os.fsdecode(bytes(tree) + b"/\xff\xfe\n name")).write_bytes(b"x")
    with (tree / "sparse").open("wb") as file:
        for piece in range(30):
            file.seek(piece * 65536 + 8192)
            file.write(bytes([65 + piece]) * 4096)
        file.truncate(3_000_000)
    (tree / "suid").write_bytes(b"x")
    (tree / "suid").chmod(0o6711)
    for path in sorted(tree.rglob("*"), reverse=True):
        os.utime(path, ns=(TIME, TIME), follow_symlinks=False)
    os.utime(tree, ns=(-SECOND * 5, TIME))
    return tree


def make(tool: str, archive: Path, tree: Path, *options: str) -> bytes:
    command: Sequence[str | Path] = [require(tool), *options, "-cf", archive, "-C", tree, "."]
    subprocess.run(command, check=True, capture_output=True)
    return bytes(archive)


@pytest.mark.parametrize(
    ("tool", "form"),
    [
        *(("tar", form) for form in ("v7", "oldgnu", "gnu", "ustar", "pax")),
        *(("bsdtar", form) for form in ("v7", "gnutar", "ustar", "pax")),
    ],
)
def test_formats(tool: str, form: str, top: Path, tmp_path: Path) -> None:
    if form == "v7":
        (top / "fifo").unlink()  # v7 has none
        os.utime(top, ns=(TIME, TIME))
    archive = make(tool, tmp_path / "x.tar", top, f"--format={form}")
    tick = 1 if form == "pax" else SECOND
    assert described(tarball.read(archive, KEEP), tick) == described(directory.read(bytes(top), KEEP), tick)


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_extreme_names_owners_and_times(form: str, top: Path, tmp_path: Path) -> None:
    require_root()
    deep = top.joinpath(*["d" * 120] * 4)
    deep.mkdir(parents=True)
    (deep / ("f" * 255)).symlink_to("t" * 1000)
    (deep / "hard").hardlink_to(
        deep / ("f" * 255),
    )
    for name, number, when in (("a", 4_000_000_000, -2_000_000_000), ("b", 3_000_000, 15_000_000_000)):
        (top / name).touch()
        os.chown(top / name, number, number)
        os.utime(top / name, ns=(TIME, when * SECOND + 500_000_000))
    os.mknod(top / "device", stat.S_IFCHR | 0o600, os.makedev(4095, 1048575))
    os.mknod(top / "disk", stat.S_IFBLK | 0o600, os.makedev(259, 70000))
    archive = make("tar", tmp_path / "x.tar", top, f"--format={form}")
    tick = 1 if form == "pax" else SECOND
    assert described(tarball.read(archive, KEEP), tick) == described(directory.read(bytes(top), KEEP), tick)


SPARSE = [
    ["--format=gnu"],
    ["--format=pax", "--sparse-version=0.0"],
    ["--format=pax", "--sparse-version=0.1"],
    ["--format=pax", "--sparse-version=1.0"],
]


@pytest.mark.parametrize("compressed", [[], ["--zstd"]])
@pytest.mark.parametrize("options", SPARSE)
def test_sparse_files(options: list[str], compressed: list[str], top: Path, tmp_path: Path) -> None:
    with (top / "all hole").open("wb") as file:
        file.truncate(1 << 40)
    archive = make("tar", tmp_path / "x.tar", top, "--sparse", *options, *compressed)
    ours = Inventory(tarball.read(archive, KEEP, spool_directory=bytes(tmp_path))).root.entries or {}
    theirs = Inventory(directory.read(bytes(top), KEEP)).root.entries or {}
    assert content(ours[b"sparse"]) == content(theirs[b"sparse"])
    assert ours[b"sparse"].runs == theirs[b"sparse"].runs
    assert ours[b"all hole"].size == 1 << 40 and not ours[b"all hole"].data_runs()


def test_sparse_files_by_bsdtar(top: Path, tmp_path: Path) -> None:
    archive = make("bsdtar", tmp_path / "x.tar", top, "--format=pax", "--read-sparse")
    ours = tarball.read(archive, KEEP)
    assert described(ours) == described(directory.read(bytes(top), KEEP))
    assert (ours.entries or {})[b"sparse"].runs


@pytest.mark.parametrize(
    "command",
    [
        ["tar", "--format=pax", "--xattrs", "--xattrs-include=*", "--acls"],
        ["tar", "--format=pax", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner"],
        ["bsdtar", "--format=pax", "--xattrs", "--acls"],
    ],
    ids=" ".join,
)
def test_attributes_and_acls(command: list[str], top: Path, tmp_path: Path) -> None:
    require_root()
    file = top / "usr/lib/file"
    os.setxattr(file, "user.comment", b"= \n\0\xff bytes")
    os.setxattr(file, "user.empty", b"")
    for name in ("user.a=b", "user.50%", "user.%3D", "user.%25"):  # both programs escape these
        os.setxattr(file, name, name.encode())
    os.setxattr(file, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    os.setxattr(top / "usr", "trusted.x", b"1")
    (top / "etc").mkdir()
    for name in ("passwd", "group"):
        (top / "etc" / name).write_bytes(Path("/etc", name).read_bytes())
    setfacl = require("setfacl")
    subprocess.run([setfacl, "-m", "u:daemon:r,u:12345:rwx,g:sys:x", file], check=True)
    subprocess.run([setfacl, "-d", "-m", "u::rwx,g::rx,o::-", top / "usr"], check=True)
    subprocess.run([setfacl, "-m", "u:root:rwx", top / "usr"], check=True)
    archive = make(command[0], tmp_path / "x.tar", top, *command[1:])
    ours, theirs = described(tarball.read(archive, KEEP)), described(directory.read(bytes(top), KEEP))
    assert len(theirs[b"usr/lib/file"][6]) >= 4 and len(theirs[b"usr"][6]) == 3  # type: ignore[arg-type]  # dicts
    assert ours == theirs


def test_appended_duplicates_and_links(top: Path, tmp_path: Path) -> None:
    archive = make("tar", tmp_path / "x.tar", top)
    (top / "empty").write_bytes(b"not any more")
    subprocess.run([require("tar"), "-rf", os.fsdecode(archive), "-C", top, "./empty", "./usr"], check=True)
    theirs = described(directory.read(bytes(top), KEEP), SECOND)
    assert described(tarball.read(archive, KEEP), SECOND) == theirs


@pytest.mark.parametrize("program", ["gzip", "xz", "zstd", "bzip2"])
def test_compressed_by_each_program_and_streamed(program: str, top: Path, tmp_path: Path) -> None:
    archive = make("tar", tmp_path / "x.tar", top, f"--use-compress-program={require(program)}")
    theirs = described(directory.read(bytes(top), KEEP), SECOND)
    assert described(tarball.read(archive, KEEP, spool_directory=bytes(tmp_path)), SECOND) == theirs
    with subprocess.Popen(["cat", archive], stdout=subprocess.PIPE) as pipe:
        assert pipe.stdout is not None
        assert described(tarball.read(pipe.stdout, KEEP), SECOND) == theirs  # type: ignore[arg-type]  # IO[bytes]


def test_zeros_cost_no_disk(tmp_path: Path) -> None:
    """A compressed gigabyte of zeros leaves a spool without blocks."""
    info = tarfile.TarInfo("zeros")
    info.size = 1 << 30
    stream = tmp_path / "x.tar.zst"
    zeros = subprocess.Popen(
        ["sh", "-c", "(cat; head -c 1073742848 /dev/zero) | zstd -q -1 > x.tar.zst"],
        stdin=subprocess.PIPE,
        cwd=tmp_path,
    )
    zeros.communicate(info.tobuf(tarfile.GNU_FORMAT))
    require("zstd")
    rules = SourceRules(holes=Holes.KEEP)
    file = (tarball.read(bytes(stream), rules, spool_directory=bytes(tmp_path)).entries or {})[b"zeros"]
    assert isinstance(file.data, HandleSlice)
    status = os.fstat(file.data.file.fd)
    assert (file.size, status.st_size, status.st_blocks) == (1 << 30, 1 << 30, 0)


def test_what_tar_rejects_is_rejected(top: Path, tmp_path: Path) -> None:
    """GNU tar is the judge of a damaged archive: it objects, and so does the reader."""
    archive = bytearray(Path(os.fsdecode(make("tar", tmp_path / "x.tar", top))).read_bytes())
    archive[512 * 3 + 200] ^= 0xFF
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes(archive)
    assert subprocess.run([require("tar"), "-tf", damaged], capture_output=True).returncode == 2
    with pytest.raises(FormatError, match="damaged"):
        tarball.read(bytes(damaged), KEEP)
    with pytest.raises(FormatError, match="damaged"):
        tarball.read(io.BytesIO(archive), KEEP)
