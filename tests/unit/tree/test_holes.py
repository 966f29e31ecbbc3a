"""Zero blocks found in content."""

from __future__ import annotations

import pytest

from imgwriter.extent import Bytes
from imgwriter.tree.holes import BLOCK, detect, join


class Pieces:
    """Data that comes in pieces of any size."""

    def __init__(self, content: bytes, step: int) -> None:
        self.content, self.step, self.asked = content, step, []

    def __len__(self) -> int:
        return len(self.content)

    def chunks(self, start, stop):
        self.asked.append((start, stop))
        for offset in range(start, stop, self.step):
            yield memoryview(self.content)[offset : min(offset + self.step, stop)]


X, Z = b"x" * BLOCK, bytes(BLOCK)


@pytest.mark.parametrize(
    ("content", "runs"),
    [
        (b"", ()),
        (b"x", None),
        (b"\0", ()),
        (X, None),
        (Z, ()),
        (X + Z, ((0, BLOCK),)),
        (Z + X, ((BLOCK, 2 * BLOCK),)),
        (X + Z + X, ((0, BLOCK), (2 * BLOCK, 3 * BLOCK))),
        (X + X + b"\0" * 5, ((0, 2 * BLOCK),)),
        (Z + b"\0\0x", ((BLOCK, BLOCK + 3),)),
        (Z[:-1] + b"x" + Z, ((0, BLOCK),)),
        (b"x" + Z[:-1] + Z[:-1] + b"x", None),
    ],
)
@pytest.mark.parametrize("step", [1000, BLOCK, 1 << 20])
def test_detect(content, runs, step):
    if not content:
        assert not detect(Pieces(content, step))
    else:
        assert detect(Pieces(content, step)) == runs


def test_known_holes_are_not_read_and_do_not_show():
    content = Z * 4 + X + Z * 3
    data = Pieces(content, 4096)
    assert (
        detect(data, [(BLOCK * 4 + 100, BLOCK * 4 + 200)])
        == detect(Bytes(content))
        == ((4 * BLOCK, 5 * BLOCK),)
    )
    assert data.asked == [(4 * BLOCK, 5 * BLOCK)]


def test_known_runs_that_share_a_block():
    content = X + Z
    assert detect(Bytes(content), [(0, 10), (20, 30), (BLOCK, BLOCK + 1)]) == ((0, BLOCK),)


def test_join():
    assert list(join(iter([(0, 2), (2, 3), (5, 7), (6, 6), (9, 9)]))) == [(0, 3), (5, 7)]
