"""What comes from a guest in pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgwriter.guest.hearing import Shared, Status, Tail
from imgwriter.guest.verdict import Facts

TALK = b"stage mount\nnonsense\nexit\nstage install\nexit 7\n"


def heard(pieces, shared=False):
    facts, stages, log = Facts(1.0, "tcg"), [], Tail()
    status = Status(facts, stages.append)
    listener = Shared(log, status) if shared else status
    for piece in pieces:
        listener.feed(piece)
    return facts, stages, log.lines()


def test_status():
    facts, stages, _ = heard([TALK])
    assert (facts.stage, facts.status, facts.failure, stages) == ("install", 7, None, ["mount", "install"])


@given(st.lists(st.integers(0, len(TALK))))
def test_pieces_do_not_show(cuts):
    edges = [0, *sorted(cuts), len(TALK)]
    pieces = [TALK[a:b] for a, b in pairwise(edges)]
    assert heard(pieces)[:2] == heard([TALK])[:2]


def test_failure():
    facts, _, _ = heard([b"fail no /dev/vda2\x1b[0m\n"])
    assert facts.failure == r"no /dev/vda2\x1b[0m" and facts.status is None


@pytest.mark.parametrize(
    "line", [b"exit", b"exit ", b"exit -1", b"exit x", b"exit 1234", b"exit 7 8", b"EXIT 7"]
)
def test_lines_that_are_no_end(line):
    assert heard([line + b"\n"])[0].status is None


def test_a_line_that_is_not_ended_is_none():
    assert heard([b"exit 0"])[0].status is None


def test_a_long_line_takes_no_memory():
    facts = Facts(1.0, "tcg")
    status = Status(facts, None)
    for _ in range(100):
        status.feed(b"x" * 100_000)
    assert len(status._line) <= 4096
    status.feed(b"\nexit 3\n")
    assert facts.status == 3


def test_shared_with_a_log():
    """The form of the serial port: what the terminal adds is taken away."""
    facts, stages, log = heard(
        [b"first\r\nlas", b"t\n\x01stage mount\r\n", b"more\n\n\x01exit 0\n", b"cut"], shared=True
    )
    assert (facts.status, stages, log) == (0, ["mount"], ("first", "last", "more"))


@pytest.mark.parametrize("count", [9, 10, 11, 19, 20, 21, 100])
def test_a_tail_keeps_the_last_bytes(count):
    tail = Tail(10)
    for number in range(count):
        tail.feed(b"%d" % (number % 10))
    (line,) = tail.lines()
    assert line == "".join(str(n % 10) for n in range(count))[-10:]


def test_lines_can_be_printed():
    tail = Tail()
    tail.feed(b"plain\n\n  \n\x1b[2Jclear\rover\nf\xfcr\nlast")
    assert tail.lines() == ("plain", r"\x1b[2Jclear\rover", r"f\xfcr", "last")


def test_the_time_of_stages_adds_up():
    facts = Facts(1.0, "tcg")
    status = Status(facts, None)
    for stage in ("a", "b", "a"):
        status.begin(stage)
    status.settle()
    assert list(status.stages) == ["start", "a", "b"] and all(time >= 0 for time in status.stages.values())


def test_many_stages_take_no_memory():
    """The job's own are told whatever a program of the guest says on their port."""
    facts, told = Facts(1.0, "tcg"), []
    status = Status(facts, told.append)
    status.feed(b"stage install\n" + b"".join(b"stage %d\n" % number for number in range(1000)))
    status.feed(b"stage install\nexit 3\n")
    status.settle()
    assert len(status.stages) == len(told) == 64
    assert facts.stage == "install" and facts.status == 3
