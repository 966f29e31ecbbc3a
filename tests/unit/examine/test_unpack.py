"""Trees are written into directories of the host, and nowhere else."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imgwriter import sink
from imgwriter.errors import FormatError, OutputError, SourceError
from imgwriter.examine.places import MAX_DEPTH
from imgwriter.examine.unpack import Unpacked, unpack
from imgwriter.extent import Generated
from imgwriter.filedata import PACK_LIMIT, Amount
from imgwriter.tree.inventory import Inode, Inventory
from tests import trees
from tests.compat.ext4_images import everything
from tests.oracles import inodes
from tests.oracles.snapshot import difference, of_directory

ORDINARY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices and gives files away")


def write(entries: dict[bytes, Inode], target: Path, overwrite: bool = False) -> Unpacked:
    return unpack(trees.inventory(entries), os.fsencode(target), owners=False, overwrite=overwrite)


def as_ordinary_user(folder: Path, action: Callable[[], object]) -> None:
    """Do something as somebody who is not root; what is in the folder is theirs."""
    if os.geteuid() != 0:
        action()
        return
    for each in (folder, *list(folder.parents)[:-1]):
        each.chmod(each.stat().st_mode | 0o011)
    for each in folder.iterdir():
        os.chown(each, ORDINARY, ORDINARY)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(ORDINARY, ORDINARY, ORDINARY)
            os.setresuid(ORDINARY, ORDINARY, ORDINARY)
            action()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def chain(depth: int) -> Inode:
    """Return a directory that has so many below it, and a file at the bottom."""
    directory = trees.directory({b"f": trees.file(b"bottom")})
    for _ in range(depth):
        directory = trees.directory({b"d": directory})
    return directory


@needs_root
def test_everything(tmp_path: Path) -> None:
    entries = everything()
    # The sample's are not what the kernel takes: a capability of zeros, and an ACL beside another mode.
    entries[b"attributes"].xattrs = {b"user.one": b"1", b"trusted.two": b"\0"}
    entries[b"acl"].mode = stat.S_IFREG | 0o640
    tree = trees.inventory(entries)
    done = unpack(tree, os.fsencode(tmp_path / "out"), owners=True)
    assert difference(inodes.of_tree(tree.root), of_directory(tmp_path / "out")) == []
    assert (done.names, done.left_out) == (tree.names, ())
    assert done.written == sum(high - low for i in tree.inodes for low, high in i.data_runs())


@pytest.mark.parametrize("size", [0, 1, PACK_LIMIT - 1, PACK_LIMIT, PACK_LIMIT + 1, 5_000_000])
def test_sizes_around_the_two_ways_to_write(size: int, tmp_path: Path) -> None:
    content = b"%d," % size * (size // 3 + 1)
    write({b"f": trees.file(content[:size])}, tmp_path / "out")
    assert (tmp_path / "out" / "f").read_bytes() == content[:size]


def test_holes_stay_holes(tmp_path: Path) -> None:
    runs = ((0, 4096), (1 << 30, (1 << 30) + 4096))
    write({b"f": trees.zeros(2 << 30, runs), b"hole": trees.zeros(1 << 40, ())}, tmp_path / "out")
    status = (tmp_path / "out" / "f").stat()
    assert (status.st_size, status.st_blocks) == (2 << 30, 16)
    assert (tmp_path / "out" / "hole").stat().st_size == 1 << 40
    assert (tmp_path / "out" / "hole").stat().st_blocks == 0
    with (tmp_path / "out" / "f").open("rb") as file:
        file.seek(1 << 30)
        assert file.read(4097) == b"x" * 4096 + b"\0"


def test_modes_and_times_whatever_the_umask(tmp_path: Path) -> None:
    entries = {b"f": trees.file(b"x", 0o666, mtime_ns=-1), b"d": trees.directory(mode=0o1777, mtime_ns=5)}
    before = os.umask(0o077)
    try:
        write(entries, tmp_path / "out")
    finally:
        os.umask(before)
    file, directory = (tmp_path / "out" / name for name in ("f", "d"))
    assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_mtime_ns) == (0o666, -1)
    assert (stat.S_IMODE(directory.stat().st_mode), directory.stat().st_mtime_ns) == (0o1777, 5)
    assert (tmp_path / "out").stat().st_mtime_ns == trees.MTIME


def test_directories_that_nobody_may_enter_are_filled_first(tmp_path: Path) -> None:
    closed = trees.directory({b"f": trees.file(b"x"), b"d": trees.directory(mode=0)}, mode=0)
    linked = trees.file(b"y")
    assert closed.entries is not None
    closed.entries[b"l"] = linked
    entries = {b"closed": closed, b"z": trees.directory({b"again": linked})}
    (tmp_path / "out").mkdir()
    as_ordinary_user(tmp_path, lambda: write(entries, tmp_path / "out"))
    assert stat.S_IMODE((tmp_path / "out" / "closed").stat().st_mode) == 0
    (tmp_path / "out" / "closed").chmod(0o700)
    assert (tmp_path / "out" / "closed" / "l").samefile(tmp_path / "out" / "z" / "again")


def test_without_owners_nothing_is_lent(tmp_path: Path) -> None:
    """A set-user-ID file of root must not become one of the caller."""
    entries = {
        b"suid": trees.file(b"x", 0o4755),
        b"sgid": trees.file(b"x", 0o2755),
        b"capable": trees.file(
            b"x", xattrs={b"security.capability": bytes.fromhex("0100000200200000" + "00" * 12)}
        ),
        b"directory": trees.directory(mode=0o2755),
    }
    done = write(entries, tmp_path / "out")
    modes = {
        name: (tmp_path / "out" / name).stat().st_mode & 0o7777 for name in ("suid", "sgid", "directory")
    }
    assert modes == {"suid": 0o755, "sgid": 0o755, "directory": 0o2755}
    assert os.listxattr(tmp_path / "out" / "capable") == []
    assert sorted(map(str, done.left_out)) == [
        "security.* attributes of 1 file were left out, first of capable",
        "set-user-ID and set-group-ID bits of 2 files were left out, first of sgid",
    ]


@needs_root
def test_an_owner_that_no_file_can_have_is_left_out(tmp_path: Path) -> None:
    """chown(2) takes 2^32 - 1 for "leave it": the file must not keep the mode that goes with that owner."""
    tree = trees.inventory({b"f": trees.file(b"x", 0o4755, uid=0xFFFFFFFF), b"g": trees.file(uid=0xFFFFFFFE)})
    done = unpack(tree, os.fsencode(tmp_path / "out"), owners=True)
    assert (tmp_path / "out" / "f").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out" / "g").stat().st_uid == 0xFFFFFFFE
    assert [str(left) for left in done.left_out] == [
        "owners of 1 file were left out, first of f",
        "set-user-ID and set-group-ID bits of 1 file were left out, first of f",
    ]


@needs_root
def test_without_privileges(tmp_path: Path) -> None:
    entries = everything()
    entries[b"attributes"].xattrs = {b"user.one": b"1", b"trusted.two": b"2", b"trusted.three": b"3"}
    twin = trees.device(stat.S_IFBLK, 8, 1)
    entries |= {b"twin": twin, b"twin too": twin}
    (tmp_path / "out").mkdir()

    def action() -> None:
        done = unpack(trees.inventory(entries), os.fsencode(tmp_path / "out"), owners=False)
        told = {str(left) for left in done.left_out}
        assert "device nodes of 3 files were left out, first of block" in told, told
        assert "trusted.* attributes of 2 files were left out, first of attributes" in told, told

    as_ordinary_user(tmp_path, action)
    made = of_directory(tmp_path / "out")
    expected = {
        name
        for name in inodes.of_tree(trees.directory(entries))
        if name not in (b"block", b"char", b"twin", b"twin too")
    }
    assert set(made) == expected
    assert {entry.uid for entry in made.values()} == {ORDINARY}
    assert made[b"attributes"].xattrs == {"user.one": b"1"}


# --- nothing outside ---


@pytest.mark.parametrize("name", [b"", b".", b"..", b"../out", b"/tmp/out", b"a/b", b"a\0b"])
def test_names_that_no_file_can_have(name: bytes, tmp_path: Path) -> None:
    for inode in (trees.file(b"x"), trees.directory(), trees.symlink(b"t")):
        with pytest.raises(FormatError, match="which no file can have"):
            write({b"d": trees.directory({name: inode})}, tmp_path / "in" / "out")
    assert list(tmp_path.iterdir()) == []


def test_symlinks_of_the_image_are_made_and_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    entries = {
        b"absolute": trees.symlink(os.fsencode(outside)),
        b"relative": trees.symlink(b"../outside"),
        b"file": trees.symlink(os.fsencode(outside / "f")),
        b"dangling": trees.symlink(b"/nowhere"),
    }
    write(entries, tmp_path / "out")
    assert list(outside.iterdir()) == []
    assert {n: os.readlink(tmp_path / "out" / os.fsdecode(n)) for n in entries} == {
        name: os.fsdecode(inode.target) for name, inode in entries.items()
    }


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A directory with symlinks that lead out of it, and the place to which they lead."""
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir(mode=0o755)
    (outside / "f").write_text("precious")
    out.mkdir()
    (out / "dir").symlink_to(outside)
    (out / "file").symlink_to(outside / "f")
    (out / "new").symlink_to(outside / "new")
    yield out, outside
    assert (outside / "f").read_text() == "precious"
    assert os.listdir(outside) == ["f"]
    assert outside.stat().st_mode & 0o7777 == 0o755


def planted_entries() -> dict[bytes, Inode]:
    return {
        b"dir": trees.directory({b"f": trees.file(b"overwritten"), b"g": trees.file(b"added")}, mode=0o777),
        b"file": trees.file(b"overwritten", 0o777),
        b"new": trees.file(b"made"),
    }


def test_a_directory_that_is_not_empty_is_refused(planted: tuple[Path, Path]) -> None:
    with pytest.raises(OutputError, match="is not empty; choose a new directory, or allow --overwrite"):
        write(planted_entries(), planted[0])
    assert (planted[0] / "dir").is_symlink()


def test_planted_symlinks_are_replaced_and_not_followed(planted: tuple[Path, Path]) -> None:
    write(planted_entries(), planted[0], overwrite=True)
    assert not (planted[0] / "dir").is_symlink() and (planted[0] / "dir" / "g").read_text() == "added"
    assert not (planted[0] / "file").is_symlink() and (planted[0] / "file").read_text() == "overwritten"


def test_symlinks_planted_meanwhile_end_it(tmp_path: Path) -> None:
    """Another process replaces a directory by a symlink between its making and its filling."""
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()

    def swap(start: int, stop: int) -> bytes:
        (out / "victim").rmdir()
        (out / "victim").symlink_to(outside)
        return b"x" * (stop - start)

    trap = trees.file(b"x")
    trap.data = Generated(1, swap)
    entries = {b"victim": trees.directory({b"f": trees.file(b"x")}), b"zzz": trap}
    with pytest.raises(OutputError, match="something else is in its place") as caught:
        write(entries, out)
    assert caught.value.__notes__ == [
        f"{out} holds an unfinished tree, 2 of 3 names: remove it before you extract again"
    ]
    assert list(outside.iterdir()) == []


def test_files_planted_meanwhile_are_neither_followed_nor_written_to(tmp_path: Path) -> None:
    """What gets the next name is a symlink that leads out, or a file with another name outside."""
    outside, out = tmp_path / "outside", tmp_path / "out"
    for plant in (os.symlink, os.link):
        outside.write_text("precious")

        def swap(start: int, stop: int, plant: Callable[[Path, Path], None] = plant) -> bytes:
            plant(outside, out / "z")
            return b"x" * (stop - start)

        trap = trees.file(b"x")
        trap.data = Generated(1, swap)
        with pytest.raises(OutputError, match="/out/z: cannot be written: File exists; something else"):
            write({b"a": trap, b"z": trees.file(b"overwritten")}, out)
        assert outside.read_text() == "precious"
        (out / "z").unlink()
        (out / "a").unlink()


def test_a_node_that_is_swapped_meanwhile_ends_it(tmp_path: Path) -> None:
    """The mode of a FIFO would be given to what a symlink in its place points to, were it set by name.

    The other process comes between two system calls, so its work is done in the first of these.
    """
    outside = tmp_path / "outside"
    outside.write_text("precious")
    outside.chmod(0o600)
    fifo = trees.file()
    fifo.mode = stat.S_IFIFO | 0o666
    real = os.mknod

    def mknod(name: bytes, *arguments: int, dir_fd: int) -> None:
        real(name, *arguments, dir_fd=dir_fd)
        os.unlink(name, dir_fd=dir_fd)
        os.symlink(outside, name, dir_fd=dir_fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "mknod", mknod)
        with pytest.raises(OutputError, match="something else is in its place"):
            write({b"fifo": fifo}, tmp_path / "out")
    assert outside.stat().st_mode & 0o7777 == 0o600


def test_default_acls_of_the_place_are_not_inherited(tmp_path: Path) -> None:
    acl = bytes.fromhex(
        "0200000001000700ffffffff020007000100000004000500ffffffff10000700ffffffff20000500ffffffff"
    )
    out = tmp_path / "out"
    out.mkdir()
    try:
        os.setxattr(out, "system.posix_acl_default", acl)
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP
        pytest.skip("the file system has no ACLs")
    write({b"d": trees.directory({b"f": trees.file(b"x")})}, out)
    assert [os.listxattr(path) for path in (out, out / "d", out / "d" / "f")] == [[], [], []]


# --- replacing ---


def test_what_is_there_is_replaced_where_that_is_allowed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "kept").mkdir(parents=True)
    (out / "kept" / "stays").write_text("s")
    (out / "kept" / "old").write_text("old")
    (out / "was-file").write_text("x")
    os.link(out / "kept" / "old", tmp_path / "elsewhere")
    linked = trees.file(b"new")
    entries = {
        b"kept": trees.directory({b"old": linked}, mode=0o711),
        b"was-file": trees.directory({b"f": trees.file(b"y")}),
        b"linked": linked,
    }
    write(entries, out, overwrite=True)
    assert (out / "kept" / "stays").read_text() == "s"
    assert (out / "kept" / "old").read_text() == "new"
    assert (tmp_path / "elsewhere").read_text() == "old", "another name of a replaced file was written to"
    assert (out / "was-file" / "f").read_text() == "y"
    assert (out / "linked").samefile(out / "kept" / "old")
    assert (out / "kept").stat().st_mode & 0o7777 == 0o711


def test_a_directory_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "out" / "f" / "full").mkdir(parents=True)
    with pytest.raises(OutputError, match="something else is in its place"):
        write({b"f": trees.file(b"x")}, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "f" / "full").is_dir()


# --- depth ---


def test_a_deep_tree_takes_few_descriptors(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    seen = 0

    def count(start: int, stop: int) -> bytes:
        nonlocal seen
        seen = len(os.listdir("/proc/self/fd"))
        return b"x" * (stop - start)

    deep = chain(300)
    bottom = deep
    while b"d" in (bottom.entries or {}):
        assert bottom.entries is not None
        bottom = bottom.entries[b"d"]
    probe = trees.file(b"x")
    probe.data = Generated(1, count)
    assert bottom.entries is not None
    bottom.entries[b"probe"] = probe
    write({b"a": deep, b"b": chain(200)}, tmp_path / "out")
    assert seen - before < 70
    assert len(os.listdir("/proc/self/fd")) == before
    assert (tmp_path / "out" / "a" / "/".join("d" * 300) / "f").read_text() == "bottom"
    assert (tmp_path / "out" / "b" / "/".join("d" * 200)).stat().st_mtime_ns == trees.MTIME


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH])
def test_the_depth_has_a_limit(depth: int, tmp_path: Path) -> None:
    entries = {b"a": chain(depth)}
    if depth == MAX_DEPTH:
        with pytest.raises(OutputError, match=r"more than 2,048 directories deep.*--to-tar"):
            write(entries, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    else:
        assert write(entries, tmp_path / "out").names == MAX_DEPTH + 1
        _flatten(tmp_path / "out")


def _flatten(top: Path) -> None:
    """Remove a tree that is too deep for shutil.rmtree: it recurses, and pytest clears away with it."""
    subprocess.run(["rm", "-rf", top], check=True)


# --- what fails ---


def test_a_place_that_is_not_ones_own(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)

    def action() -> None:
        with pytest.raises(OutputError, match="Permission denied; choose a directory that you may write to"):
            write({}, tmp_path / "closed" / "out")
        with pytest.raises(OutputError, match="Permission denied; choose a directory that you may write to"):
            write({b"f": trees.file(b"x")}, tmp_path / "closed")

    as_ordinary_user(tmp_path, action)
    assert os.listdir(tmp_path / "closed") == []


def test_a_place_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Not a directory"):
        write({}, tmp_path / "file")
    with pytest.raises(OutputError, match="Not a directory"):
        write({}, tmp_path / "file" / "out")


def test_a_name_that_the_host_has_not(tmp_path: Path) -> None:
    """FAT's names have up to 255 UTF-16 units, which may be 765 bytes."""
    with pytest.raises(OutputError, match=r"File name too long.*--to-tar"):
        write({"日".encode() * 86: trees.file(b"x")}, tmp_path / "out")


def test_a_source_that_fails_leaves_word_of_what_is_there(tmp_path: Path) -> None:
    def fail(start: int, stop: int) -> bytes:
        raise SourceError("the image went away")

    broken = trees.file(b"x")
    broken.data = Generated(1, fail)
    entries = {b"a": trees.file(b"a"), b"b": broken, b"c": trees.file(b"c")}
    with pytest.raises(SourceError, match="went away") as caught:
        write(entries, tmp_path / "out")
    assert caught.value.__notes__ == [
        f"{tmp_path}/out holds an unfinished tree, 1 of 3 names: remove it before you extract again"
    ]
    assert sorted(os.listdir(tmp_path / "out")) == ["a", "b"]


def test_progress_ends_with_all(tmp_path: Path) -> None:
    told: list[Amount] = []
    tree = trees.inventory(
        {b"a": trees.file(b"a" * 10), b"b": trees.file(b"b" * PACK_LIMIT), b"e": trees.file()}
    )
    progress: sink.Progress = told.append
    unpack(tree, os.fsencode(tmp_path / "out"), owners=False, progress=progress)
    assert told[-1] == Amount(PACK_LIMIT + 10, 2)


def test_an_empty_tree(tmp_path: Path) -> None:
    done = unpack(Inventory(trees.directory(mode=0o700)), os.fsencode(tmp_path / "a" / "b"), owners=False)
    assert (done, os.listdir(tmp_path / "a" / "b")) == (Unpacked(0, 0, ()), [])
