"""Hash the NARs of many trees, in a few processes.

::

    trees ──by size──┬─> this process        ──┐
                     └─> forked workers      ──┴─> {path: Sum}

Reading a store and hashing it takes longer than all else that is done with it before it is written. Who
hashes a path does not show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from imgwriter.nix.nar import nar_hash
from imgwriter.nix.wire import Sum
from imgwriter.tree.inventory import Inode
from imgwriter.units import MiB
from imgwriter.worker import Link, Message, Worker, forked, may_fork

_SUM = 0
_SMALL = 16 * MiB
"""Bytes that are not worth a fork."""

_FILE = 8192
"""Bytes that opening a file costs as much as."""


def nar_hashes(trees: Mapping[bytes, Inode], workers: int) -> dict[bytes, Sum]:
    """Return hash and size of the NAR of each tree, by its path.

    Args:
        trees: By store path; all of them are read.
        workers: Processes, this one among them; in a process with threads it is always one.

    Raises:
        SourceError: Something cannot be read, or (SourceChangedError) is not what was scanned.
    """
    paths = list(trees)
    costs = [_cost(trees[path]) for path in paths]
    if sum(costs) < _SMALL or not may_fork():
        workers = 1
    own, *others = _shares(costs, workers)
    found: dict[bytes, Sum] = {}
    works = [partial(_work, paths, trees, share) for share in others]
    with forked(works, "the hashing of a closure") as helpers:
        for index in own:
            found[paths[index]] = nar_hash(trees[paths[index]])
        while not all(helper.finished for helper in helpers):
            for _, message in Worker.wait(helpers, None):
                if message.code == _SUM:
                    found[paths[message.first]] = Sum(message.payload, message.second)
    return found


def _work(paths: Sequence[bytes], trees: Mapping[bytes, Inode], share: Sequence[int], link: Link) -> None:
    for index in share:
        found = nar_hash(trees[paths[index]])
        link.tell(Message(_SUM, index, found.size, found.sha256))


def _cost(tree: Inode) -> int:
    total = 0
    stack = [tree]
    while stack:
        inode = stack.pop()
        total += inode.size + _FILE
        stack.extend((inode.entries or {}).values())
    return total


def _shares(costs: Sequence[int], workers: int) -> list[list[int]]:
    """Return each worker's trees: the dearest first, to whom has the least so far."""
    shares: list[list[int]] = [[] for _ in range(workers)]
    loads = [0] * workers
    for index in sorted(range(len(costs)), key=lambda i: -costs[i]):
        least = loads.index(min(loads))
        loads[least] += costs[index]
        shares[least].append(index)
    return shares
