"""The campaigns of tests/fuzz: they run as many inputs as were asked for, and notice each way to fail."""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from imgwriter.errors import FormatError
from imgwriter.fuzz.mutator import mend
from tests.fuzz import by_hypothesis, campaign, run
from tests.fuzz.campaign import Campaign, Outcome, Tally
from tests.fuzz.targets import TARGETS, seeds

pytestmark = pytest.mark.property

CAMPAIGNS = [run.campaign, by_hypothesis.campaign]
INPUTS = 200
Target = Callable[[bytes], None]


def outcome(runs: Campaign, target: str, crashes: Path, inputs: int = INPUTS) -> Outcome:
    tally = Tally(target, crashes)
    runs(tally, inputs, 1)
    return tally.outcome()


def touch(size: int) -> None:
    """Use new memory: malloc may have some at hand that this process used before."""
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Callable[[Target], None]:
    """Have another function in the place of the reader of VHDs."""

    def replace(function: Target) -> None:
        monkeypatch.setitem(TARGETS, "vhd", function)

    return replace


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("runs", CAMPAIGNS)
def test_no_reader_crashes(runs: Campaign, target: str, tmp_path: Path) -> None:
    found = outcome(runs, target, tmp_path)
    assert (found.inputs, found.crashes) == (INPUTS, {})
    assert 0 < found.accepted <= INPUTS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("runs", CAMPAIGNS)
def test_inputs_are_counted_and_differ(
    runs: Campaign, reader: Callable[[Target], None], tmp_path: Path
) -> None:
    seen: list[bytes] = []

    def judge(data: bytes) -> None:
        seen.append(data)
        if zlib.crc32(data) % 2:
            raise FormatError("odd", "all of it", 0)

    reader(judge)
    found = outcome(runs, "vhd", tmp_path, 2 * by_hypothesis.ROUND + 1)
    assert found.inputs == len(seen) == 2 * by_hypothesis.ROUND + 1
    assert found.accepted == sum(zlib.crc32(data) % 2 == 0 for data in seen)
    assert len(set(seen)) > len(seen) * 3 / 4
    mended = sum(mend(data) == data for data in seen)
    assert len(seen) / 2 < mended < len(seen)


@pytest.mark.parametrize("runs", CAMPAIGNS)
def test_a_crash_is_kept_with_its_input(
    runs: Campaign, reader: Callable[[Target], None], tmp_path: Path
) -> None:
    usual = {data[:64] for data in seeds("vhd")}

    def crash(data: bytes) -> None:
        if data[:64] not in usual:
            raise ZeroDivisionError("as a test wants it")

    reader(crash)
    found = outcome(runs, "vhd", tmp_path)
    ((place, name),) = found.crashes.items()
    assert place.startswith("test_campaigns.py:") and place.endswith("ZeroDivisionError: as a test wants it")
    assert "as a test wants it" in Path(name).with_suffix(".txt").read_text()
    with pytest.raises(ZeroDivisionError):
        crash(Path(name).read_bytes())
    assert found.row().splitlines()[1].strip() == f"{place}  ({name})"


@pytest.mark.parametrize("excess", ["time", "memory"])
@pytest.mark.parametrize("runs", CAMPAIGNS)
def test_too_much_is_a_crash(
    runs: Campaign,
    excess: str,
    reader: Callable[[Target], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """With other limits: those of campaigns take seconds and hundreds of MiB."""
    limit, most, least = {"time": ("MOST_SECONDS", 0.05, 0), "memory": ("MOST_MEMORY", 64 << 20, 65 << 20)}[
        excess
    ]
    monkeypatch.setattr(campaign, limit, most)
    first = seeds("vhd")[0]

    def consume(data: bytes) -> None:
        if data != first:
            return
        if excess == "memory":
            touch(least)
        else:
            for _ in range(500):
                zlib.crc32(bytes(1 << 20))

    reader(consume)
    found = outcome(runs, "vhd", tmp_path)
    assert list(found.crashes) == ["TooMuch"]
    assert Path(found.crashes["TooMuch"]).read_bytes() == first


def test_memory_is_that_of_the_worst_input_alone(reader: Callable[[Target], None], tmp_path: Path) -> None:
    def grow(data: bytes) -> None:
        touch(len(data) << 20)

    reader(grow)
    tally = Tally("vhd", tmp_path)
    for size in (8, 48, 2):
        tally.run(bytes(size))
    found = tally.outcome()
    # Not to the page: each processor has a batch of pages that it did not tell yet.
    assert 47 << 20 <= found.at_once < 64 << 20
    assert found.at_once <= found.memory < 64 << 20
