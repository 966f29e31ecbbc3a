"""What an installer did is taken over, whatever it did: random work on random trees, by a kernel's rules.

A model of a kernel changes a copy of a tree: every change sets a change time, and those of names the time of
their directory too. Then the difference is applied to the tree itself, which has to become the copy, but for
noise, and for times that were the guest's. A second guest, whose clock ticks otherwise, has to give the same.
"""

from __future__ import annotations

import copy
import stat
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgwriter.ext4 import plan
from imgwriter.ext4.reader import read_file_system
from imgwriter.ext4.tree_reader import Node
from imgwriter.extent import Bytes
from imgwriter.install.difference import Rules, apply
from imgwriter.install.noise import Noise
from imgwriter.tree.inventory import Inode, Inventory
from tests import trees
from tests.unit.ext4.support import parameters

pytestmark = pytest.mark.property

SECOND = 10**9
CLOCK = 1_700_000_000 * SECOND
LAST = CLOCK + 600 * SECOND
TIME = CLOCK
OLD = 1_500_000_000 * SECOND
# Before the guest; when its clock begins; while it runs; afterwards.
MTIMES = (OLD, OLD + 1, CLOCK, CLOCK + 3 * SECOND, LAST + SECOND)

NOISE = Noise.parse("default,+*.bak,+/c/")
RULES = Rules(NOISE, (CLOCK, LAST), TIME)
FAT = Rules(NOISE, (CLOCK, LAST), TIME, attributes=False)

NAMES = (b"a", b"b", b"c", b"random-seed", b"x.bak")
CONTENTS = (b"", b"one", b"two", b"longer than these")


# --- Trees, and work on them ---


def symlink(target: bytes) -> Inode:
    """Return a symlink, with its size."""
    inode = trees.symlink(target)
    inode.size = len(target)
    return inode


@st.composite
def leaves(draw: st.DrawFn) -> Inode:
    """Draw a file, a symlink or a device."""
    mtime = draw(st.sampled_from(MTIMES))
    kind = draw(st.sampled_from("ffffld"))
    if kind == "l":
        inode = symlink(draw(st.sampled_from((b"a", b"one"))))
    elif kind == "d":
        inode = trees.device(stat.S_IFCHR, draw(st.integers(1, 2)), 3)
    else:
        inode = trees.file(draw(st.sampled_from(CONTENTS)), draw(st.sampled_from((0o644, 0o600))))
    inode.mtime_ns = mtime
    return inode


def folders(below: st.SearchStrategy[Inode]) -> st.SearchStrategy[Inode]:
    """Draw a directory."""
    entries = st.dictionaries(st.sampled_from(NAMES), below, max_size=4)
    return st.tuples(entries, st.sampled_from(MTIMES)).map(
        lambda drawn: trees.directory(drawn[0], mtime_ns=drawn[1])
    )


@st.composite
def roots(draw: st.DrawFn) -> Inode:
    """Draw a tree in which some files have several names."""
    root = draw(folders(st.recursive(leaves(), folders, max_leaves=12)))
    shared = draw(leaves())
    places = [inode for _, inode in walk(root) if inode.entries is not None]
    for name, place in draw(
        st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(range(4))), max_size=3)
    ):
        places[place % len(places)].entries.setdefault(name, shared)  # type: ignore[union-attr]
    return root


class Work(NamedTuple):
    """One thing that a program does; numbers choose among what there is."""

    verb: str
    first: int
    second: int
    name: bytes
    content: bytes
    mtime: int


VERBS = (
    "write", "replace", "chmod", "chown", "setxattr", "utime", "unlink", "mkdir", "symlink", "link", "rename",
    "copy",
)  # fmt: skip
WORK = st.builds(
    Work,
    st.sampled_from(VERBS),
    st.integers(0, 99),
    st.integers(0, 99),
    st.sampled_from(NAMES),
    st.sampled_from(CONTENTS),
    st.sampled_from(MTIMES),
)


class Kernel:
    """Does work on a tree, and keeps its change times."""

    def __init__(self, root: Inode, step: int) -> None:
        self.root = root
        self.now = CLOCK
        self.step = step
        self.ctimes = {id(inode): inode.mtime_ns for _, inode in walk(root)}
        self.made: list[Inode] = []  # so that no number of id() is given again

    def changed(self, inode: Inode, written: bool = True) -> None:
        self.ctimes[id(inode)] = self.now
        if written:
            inode.mtime_ns = self.now

    def put(self, folder: Inode, name: bytes, inode: Inode) -> None:
        assert folder.entries is not None
        folder.entries[name] = inode
        self.made.append(inode)
        self.changed(folder)

    def do(self, work: Work) -> None:
        self.now += self.step
        every = list(walk(self.root))
        folder_list = [(path, inode) for path, inode in every if inode.entries is not None]
        named = [(path, inode) for path, inode in every if path]
        path, folder = folder_list[work.first % len(folder_list)]
        at, inode = named[work.second % len(named)] if named else (b"", self.root)
        match work.verb:
            case "write" if stat.S_ISREG(inode.mode):
                inode.data, inode.size = Bytes(work.content) if work.content else None, len(work.content)
                self.changed(inode)
            case "chmod":
                inode.mode ^= 0o100
                self.changed(inode, written=False)
            case "chown":
                inode.uid += 1
                self.changed(inode, written=False)
            case "setxattr":
                inode.xattrs = {**inode.xattrs, b"user.a": work.content}
                self.changed(inode, written=False)
            case "utime":
                inode.mtime_ns = work.mtime
                self.changed(inode, written=False)
            case "unlink" if at:
                self.take(at)
            case "rename" if at and not (path + b"/").startswith(at + b"/"):
                self.take(at)
                self.put(folder, work.name, inode)
                self.changed(inode, written=False)
            case "link" if inode.entries is None:
                self.put(folder, work.name, inode)
                self.changed(inode, written=False)
            case "copy" if inode.entries is None:
                again = copy.copy(inode)
                self.put(folder, work.name, again)
                self.changed(again, written=False)
            case "replace":
                self.make(folder, work.name, trees.file(work.content))
            case "mkdir":
                self.make(folder, work.name, trees.directory())
            case "symlink":
                self.make(folder, work.name, symlink(b"one"))

    def make(self, folder: Inode, name: bytes, inode: Inode) -> None:
        self.put(folder, name, inode)
        self.changed(inode)

    def take(self, path: bytes) -> None:
        above, _, name = path.rpartition(b"/")
        folder = dict(walk(self.root))[above]
        assert folder.entries is not None
        self.made.append(folder.entries.pop(name))
        self.changed(folder)


def walk(root: Inode) -> Iterator[tuple[bytes, Inode]]:
    """Yield (path, inode) of every name, sorted."""
    stack = [(b"", root)]
    while stack:
        path, inode = stack.pop()
        yield path, inode
        for name, child in sorted((inode.entries or {}).items(), reverse=True):
            stack.append((path + b"/" + name if path else name, child))


def cloned(root: Inode) -> Inode:
    """Return a copy of a tree, in which names of one file are so as well."""
    known: dict[int, Inode] = {}

    def again(inode: Inode) -> Inode:
        if id(inode) not in known:
            known[id(inode)] = copy.copy(inode)
            if inode.entries is not None:
                known[id(inode)].entries = {name: again(child) for name, child in inode.entries.items()}
        return known[id(inode)]

    return again(root)


def worked_on(before: Inode, works: list[Work], step: int) -> Kernel:
    kernel = Kernel(cloned(before), step)
    for work in works:
        kernel.do(work)
    return kernel


def on_disk(kernel: Kernel) -> Inode:
    """Return the tree as the reader of ext4 gives it, with the change times that the kernel set."""
    inventory = Inventory(kernel.root)
    tree = read_file_system(plan(inventory, parameters(features="^has_journal"), 2 << 20).volume()).tree()
    times = {path: kernel.ctimes[id(inode)] for path, inode in walk(kernel.root)}
    for path, node in walk(tree):
        assert isinstance(node, Node)
        node.ctime_ns = times.get(path, 0)
    return tree


# --- What is expected ---


def content(inode: Inode) -> bytes:
    return b"" if inode.data is None else b"".join(bytes(c) for c in inode.data.chunks(0, inode.size))


def own(inode: Inode) -> tuple[object, ...]:
    """Return all of an inode but its time and its names."""
    size = 0 if inode.entries is not None else inode.size
    attributes = (inode.mode, inode.uid, inode.gid, inode.target, inode.rdev, dict(inode.xattrs))
    return (*attributes, size, content(inode))


def expected(before: Inode | None, after: Inode, path: bytes = b"") -> Iterator[tuple[bytes, bool, Inode]]:
    """Yield (path, whether it was dropped, the inode that it is then like): before's, or after's."""
    if before is not None and path and NOISE.drops(path, True) and after.entries is not None:
        yield path, True, before
    else:
        yield path, False, after
    old = {} if before is None or before.entries is None else before.entries
    for name, theirs in (after.entries or {}).items():
        ours = old.get(name)
        full = path + b"/" + name if path else name
        if full == b"lost+found":
            continue
        both = ours is not None and ours.entries is not None and theirs.entries is not None
        if both or not NOISE.drops(full, theirs.entries is not None):
            yield from expected(ours, theirs, full)
        elif ours is not None:
            for below, inode in walk(ours):
                yield full + b"/" + below if below else full, True, inode


def names_of(pairs: Iterator[tuple[bytes, Inode]]) -> list[list[bytes]]:
    """Return the paths of each inode that has several."""
    found: dict[int, list[bytes]] = {}
    for path, inode in pairs:
        found.setdefault(id(inode), []).append(path)
    return sorted(sorted(paths) for paths in found.values() if len(paths) > 1)


def snapshot(root: Inode) -> list[object]:
    """Return all that an image shows of a tree."""
    return [*((path, own(inode), inode.mtime_ns) for path, inode in walk(root)), names_of(walk(root))]


def check_times(before: Inode, result: dict[bytes, Inode], path: bytes, was: Inode) -> None:
    """A time that was the guest's is settled, or the one of the same file before; others are kept."""
    time = result[path].mtime_ns
    alike = {inode.mtime_ns for _, inode in walk(before) if own(inode) == own(was) or was.entries is not None}
    if not CLOCK - 2 * SECOND < was.mtime_ns <= LAST:
        assert time == was.mtime_ns
    else:
        assert time in {TIME, *alike}, path


@pytest.mark.parametrize("disk", [False, True], ids=["memory", "ext4"])
@given(before=roots(), works=st.lists(WORK, max_size=8), steps=st.tuples(*[st.integers(4, 10**9)] * 2))
def test_a_tree_becomes_what_it_was_made_in_the_guest(
    disk: bool, before: Inode, works: list[Work], steps: tuple[int, int]
) -> None:
    results = []
    for step in steps:
        kernel = worked_on(before, works, step)
        after = on_disk(kernel) if disk else kernel.root
        reference, shown = cloned(before), cloned(after)
        result = cloned(before)
        apply(result, after, RULES)
        found = dict(walk(result))
        wanted = {path: (dropped, inode) for path, dropped, inode in expected(reference, shown)}
        assert found.keys() == wanted.keys()
        for path, (dropped, inode) in wanted.items():
            assert own(found[path]) == own(inode), path
            if not dropped:
                check_times(reference, found, path, inode)
        taken = {path for path, (dropped, _) in wanted.items() if not dropped}
        assert names_of((p, i) for p, i in walk(result) if p in taken) == names_of(
            (path, inode) for path, (dropped, inode) in wanted.items() if not dropped
        )
        results.append(snapshot(result))
    assert results[0] == results[1]


@given(before=roots())
def test_nothing_is_another_where_nothing_was_done(before: Inode) -> None:
    originals = dict(walk(before))
    after = on_disk(Kernel(cloned(before), 1))
    assert apply(before, after, RULES) == []
    assert dict(walk(before)) == originals


@given(
    before=roots(),
    works=st.lists(WORK.filter(lambda w: w.verb in ("replace", "unlink", "mkdir")), max_size=8),
)
def test_fat_has_names_and_contents(before: Inode, works: list[Work]) -> None:
    after = worked_on(before, works, SECOND).root
    reference, shown = cloned(before), cloned(after)
    apply(before, after, FAT)
    wanted = {p: content(i) for p, _, i in expected(reference, shown)}
    assert {p: content(i) for p, i in walk(before)} == wanted
