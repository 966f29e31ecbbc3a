"""What an installer did is done to the tree, and nothing else is."""

from __future__ import annotations

import stat
from collections.abc import Mapping

import pytest

from imgwriter.bootloader.outcome import Change
from imgwriter.ext4.tree_reader import Node
from imgwriter.extent import Bytes, Generated
from imgwriter.install.difference import Rules, apply, same_bytes
from imgwriter.install.noise import Noise
from imgwriter.tree.inventory import Inode

CLOCK = 1_000 * 10**9
TIME = 7 * 10**9
OLD = 500 * 10**9
RULES = Rules(Noise.parse("default"), (CLOCK, CLOCK + 60 * 10**9), TIME)
FAT = Rules(Noise.parse("default"), (CLOCK, CLOCK + 60 * 10**9), TIME, attributes=False, prefix=b"boot")


def file(content: bytes = b"x", mtime_ns: int = OLD, mode: int = 0o644, **others: object) -> Inode:
    inode = Inode(stat.S_IFREG | mode, mtime_ns=mtime_ns, **others)  # type: ignore[arg-type]  # a test's own
    inode.size, inode.data = len(content), Bytes(content) if content else None
    return inode


def link(target: bytes, mtime_ns: int = OLD) -> Inode:
    return Inode(stat.S_IFLNK | 0o777, mtime_ns=mtime_ns, target=target, size=len(target))


def folder(entries: Mapping[bytes, Inode], mtime_ns: int = OLD, mode: int = 0o755) -> Inode:
    inode = Inode(stat.S_IFDIR | mode, mtime_ns=mtime_ns)
    inode.entries = dict(entries)
    return inode


def changes(before: Inode, after: Inode, rules: Rules = RULES) -> list[tuple[str, str]]:
    return [(kind, path.decode()) for kind, path in apply(before, after, rules)]


def test_nothing_that_was_not_touched_is_another() -> None:
    kept = file(b"abc")
    before = folder({b"a": kept, b"l": link(b"a"), b"d": folder({})})
    after = folder({b"a": file(b"abc"), b"l": link(b"a"), b"d": folder({}), b"lost+found": folder({})})
    assert changes(before, after) == []
    assert before.entries is not None and before.entries[b"a"] is kept
    assert sorted(before.entries) == [b"a", b"d", b"l"]
    assert before.mtime_ns == OLD


def test_a_file_that_is_written_anew_with_the_same_bytes_is_not_another() -> None:
    kept = file(b"abc")
    before, after = folder({b"a": kept}), folder({b"a": file(b"abc", CLOCK + 5)}, CLOCK + 5)
    assert changes(before, after) == []
    assert before.entries == {b"a": kept} and kept.mtime_ns == OLD and before.mtime_ns == OLD


@pytest.mark.parametrize(
    "after",
    [
        file(b"abd"),
        file(b"abcd"),
        file(b""),
        file(b"abc", mode=0o600),
        file(b"abc", uid=1),
        file(b"abc", gid=1),
        file(b"abc", mtime_ns=OLD + 1),
        file(b"abc", xattrs={b"user.a": b"1"}),
        link(b"abc"),
        folder({}),
    ],
    ids=["bytes", "longer", "empty", "mode", "uid", "gid", "mtime", "xattr", "symlink", "directory"],
)
def test_every_kind_of_change_is_seen(after: Inode) -> None:
    before = folder({b"a": file(b"abc")})
    assert changes(before, folder({b"a": after})) == [("changed", "a")]
    assert before.entries is not None and before.entries[b"a"] is after


def test_what_is_made_has_the_builds_time_and_what_was_copied_its_own() -> None:
    before = folder({})
    new = folder({b"stamped": file(b"1", CLOCK + 1), b"copied": file(b"2", OLD)}, CLOCK + 1)
    assert changes(before, folder({b"grub": new}, CLOCK + 2)) == [("made", "grub")]
    assert before.entries is not None
    grub = before.entries[b"grub"]
    assert grub.entries is not None
    times = {name: inode.mtime_ns for name, inode in grub.entries.items()}
    assert (before.mtime_ns, grub.mtime_ns, times) == (TIME, TIME, {b"stamped": TIME, b"copied": OLD})


def test_no_time_is_later_than_the_clamp() -> None:
    rules = Rules(Noise.parse("default"), (CLOCK, CLOCK), TIME, clamp_ns=OLD - 1)
    before = folder({})
    apply(before, folder({b"a": file(b"1", OLD), b"b": file(b"1", OLD - 2)}), rules)
    assert before.entries is not None
    assert [before.entries[name].mtime_ns for name in (b"a", b"b")] == [OLD - 1, OLD - 2]


def test_what_is_removed_is_gone_even_where_noise_is() -> None:
    before = folder({b"etc": folder({b"machine-id": file(), b"fstab": file()}), b"x": file()})
    after = folder({b"etc": folder({b"fstab": file()}, CLOCK)})
    assert changes(before, after) == [("removed", "etc/machine-id"), ("removed", "x")]
    assert before.entries is not None and before.entries[b"etc"].mtime_ns == TIME


def test_noise_stays_as_it_was() -> None:
    log = file(b"old")
    before = folder({b"etc": folder({}), b"var": folder({b"log": folder({b"a": log})})})
    after = folder(
        {
            b"etc": folder({b"machine-id": file(b"1", CLOCK)}, CLOCK),
            b"var": folder({b"log": folder({b"a": file(b"new", CLOCK), b"b": file(b"1", CLOCK)}, CLOCK)}),
        }
    )
    assert changes(before, after) == []
    assert before.entries is not None
    assert before.entries[b"etc"].entries == {} and before.entries[b"etc"].mtime_ns == OLD
    assert before.entries[b"var"].entries[b"log"].entries == {b"a": log}  # type: ignore[index]


def test_noise_below_what_is_made_is_left_out() -> None:
    before = folder({b"boot": folder({})})
    loader = folder({b"random-seed": file(b"1", CLOCK), b"loader.conf": file(b"2", CLOCK)}, CLOCK)
    assert changes(before, folder({b"boot": folder({b"loader": loader}, CLOCK)})) == [("made", "boot/loader")]
    assert list(loader.entries or ()) == [b"loader.conf"]


def test_a_directorys_own_attributes_are_taken_over() -> None:
    before = folder({b"d": folder({})})
    after = folder({b"d": folder({}, OLD + 1, 0o700)})
    assert changes(before, after) == [("changed", "d")]
    assert before.entries is not None
    assert (before.entries[b"d"].mode & 0o777, before.entries[b"d"].mtime_ns) == (0o700, OLD + 1)


def test_names_of_one_file_stay_names_of_one_file() -> None:
    one = file(b"abc")
    before = folder({b"a": one, b"b": one, b"c": file(b"abc")})
    again = file(b"abc")
    # b was made a file of its own, c became a name of a
    after = folder({b"a": again, b"b": file(b"new"), b"c": again, b"d": again})
    assert changes(before, after) == [("changed", "b"), ("changed", "c"), ("made", "d")]
    entries = before.entries
    assert entries is not None
    assert entries[b"a"] is entries[b"c"] is entries[b"d"] is one
    assert entries[b"b"] is not one


def test_fat_has_names_and_contents_alone() -> None:
    kept = file(b"abc", mode=0o600)
    before = folder({b"EFI": folder({b"a": kept})})
    new = file(b"1", CLOCK - 10**9)
    after = folder({b"EFI": folder({b"a": file(b"abc", mtime_ns=1), b"new": new}, CLOCK)}, CLOCK)
    assert apply(before, after, FAT) == [Change("made", b"boot/EFI/new")]
    assert before.entries is not None
    efi = before.entries[b"EFI"]
    assert efi.entries is not None and efi.entries[b"a"] is kept and efi.mtime_ns == TIME


def test_a_deep_tree_needs_no_deep_stack() -> None:
    before = after = folder({})
    top = folder({})
    at = top
    for _ in range(3_000):
        below = folder({})
        at.entries = {b"d": below}
        at = below
    assert changes(before, folder({b"d": top}), RULES) == [("made", "d")]
    assert after is before


class Pieces:
    """Data in pieces of one length, each made anew, so that none outlives the next."""

    def __init__(self, content: bytes, step: int) -> None:
        self.content, self.step = content, step

    def __len__(self) -> int:
        return len(self.content)

    def chunks(self, start: int, stop: int):  # type: ignore[no-untyped-def]  # as Data has it
        buffer = bytearray(self.step)
        for at in range(start, stop, self.step):
            piece = self.content[at : min(at + self.step, stop)]
            buffer[: len(piece)] = piece
            yield memoryview(buffer)[: len(piece)]


@pytest.mark.parametrize("steps", [(3, 5), (5, 3), (4, 4), (1, 100), (100, 1)])
def test_contents_are_compared_whatever_their_pieces(steps: tuple[int, int]) -> None:
    content = bytes(range(60))
    other = content[:-1] + b"?"
    assert same_bytes(Pieces(content, steps[0]), Pieces(content, steps[1]), 0, 60)
    assert not same_bytes(Pieces(content, steps[0]), Pieces(other, steps[1]), 0, 60)
    assert same_bytes(Pieces(content, steps[0]), Pieces(other, steps[1]), 1, 59)


def test_a_hole_is_zeros() -> None:
    zeros = Bytes(bytes(9))
    assert all(same_bytes(one, other, 0, 9) for one, other in ((None, zeros), (zeros, None), (None, None)))
    assert not same_bytes(None, Bytes(b"\0\0a"), 0, 3)


def sparse(size: int, pieces: Mapping[int, bytes]) -> Inode:
    """Return a file whose holes cannot be read."""
    inode = file()
    inode.size, inode.runs = size, [(start, start + len(piece)) for start, piece in pieces.items()]

    def made(start: int, stop: int) -> bytes:
        return next(
            piece[start - at : stop - at] for at, piece in pieces.items() if at <= start < at + len(piece)
        )

    inode.data = Generated(size, made)
    return inode


def test_what_is_a_hole_in_both_is_not_read() -> None:
    """A disk of a virtual machine may have terabytes of it."""
    far = 1 << 50
    kept = sparse(far + 5, {3: b"abc", far: b"12345"})
    before = folder({b"a": kept})
    assert changes(before, folder({b"a": sparse(far + 5, {3: b"abc", far: b"12345"})})) == []
    assert changes(before, folder({b"a": sparse(far + 5, {3: b"abc", far: b"12346"})})) == [("changed", "a")]
    empty = folder({b"a": sparse(far, {})})
    assert changes(empty, folder({b"a": Inode(stat.S_IFREG | 0o644, mtime_ns=OLD, size=far)})) == []


def test_a_copy_in_the_place_of_a_name_is_a_file_of_its_own() -> None:
    """As ``rm b; cp -p a b`` leaves it: nothing of b is another, but that a is changed without it."""
    one = file(b"abc")
    before = folder({b"a": one, b"b": one})
    assert changes(before, folder({b"a": file(b"abc"), b"b": file(b"abc")})) == [("changed", "b")]
    assert before.entries is not None
    assert before.entries[b"a"] is one and before.entries[b"b"] is not one


def test_a_file_with_another_name_before_its_own_is_the_same_file() -> None:
    kept = file(b"abc")
    before = folder({b"z": kept})
    linked = file(b"abc")
    assert changes(before, folder({b"d": folder({b"a": linked}), b"z": linked})) == [("made", "d")]
    assert before.entries is not None
    assert before.entries[b"z"] is kept and before.entries[b"d"].entries == {b"a": kept}


def node(content: bytes, mtime_ns: int, ctime_ns: int) -> Inode:
    """Return a file as the reader of ext4 gives it."""
    made = Node.__new__(Node)
    Inode.__init__(made, stat.S_IFREG | 0o644, mtime_ns=mtime_ns)
    made.size, made.data, made.ctime_ns = len(content), Bytes(content), ctime_ns
    return made


@pytest.mark.parametrize(
    ("time", "seen"),
    [
        (OLD, False),
        (CLOCK, False),
        (CLOCK + 1, True),
        (CLOCK + 60 * 10**9, True),
        (CLOCK + 60 * 10**9 + 1, False),
    ],
)
def test_a_change_time_tells_nothing_where_the_guests_clock_may_have_shown_it(time: int, seen: bool) -> None:
    """A file from the guest's future, written to when its clock was there, has the times that it had."""
    before = folder({b"a": file(b"abc", time)})
    assert changes(before, folder({b"a": node(b"abd", time, time)})) == ([("changed", "a")] if seen else [])


@pytest.mark.parametrize(
    ("mtime", "settled"),
    [
        (CLOCK - 2 * 10**9, CLOCK - 2 * 10**9),
        (CLOCK - 2 * 10**9 + 1, TIME),
        (CLOCK + 60 * 10**9, TIME),
        (CLOCK + 60 * 10**9 + 1, CLOCK + 60 * 10**9 + 1),
    ],
)
def test_a_time_that_went_over_fat_is_the_guests_too(mtime: int, settled: int) -> None:
    """``cp -p`` from an ESP: FAT has even seconds, so that the first may be from before the clock began."""
    before = folder({})
    apply(before, folder({b"a": file(b"1", mtime)}), RULES)
    assert before.entries is not None and before.entries[b"a"].mtime_ns == settled
