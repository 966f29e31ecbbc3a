"""Laws of comparing: every differing byte belongs to exactly one explanation, and nothing raises."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgwriter.diff import report
from imgwriter.diff.compare import compare_disks
from imgwriter.diff.sections import Section, plan_sections
from tests.unit.diff.disks import ROOT, build_efi, changes_of, explained_bytes, opened, patched

pytestmark = pytest.mark.property


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[int]]:
    """Two equal disks, and where something stands on them: the first bytes of what is in use."""
    base = tmp_path_factory.mktemp("law")
    a = build_efi(base)
    b = base / "b"
    content = a.read_bytes()
    b.write_bytes(content)
    used = [at for at in range(0, len(content), 512) if any(content[at : at + 512])]
    return a, b, used


# Bytes of what is in use, where damage matters, or of anything.
PLACES = st.tuples(st.booleans(), st.integers(0, 1 << 30), st.integers(0, 511))
CHANGES = st.lists(st.tuples(PLACES, st.binary(min_size=1, max_size=600)), min_size=1, max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
def test_every_differing_byte_is_explained_once(
    disks: tuple[Path, Path, list[int]], drawn: list[tuple[tuple[bool, int, int], bytes]]
) -> None:
    a, b, used = disks
    size = a.stat().st_size
    changes = []
    for (in_use, place, within), content in drawn:
        at = used[place % len(used)] + within if in_use else place % size
        changes.append((min(at, size - len(content)), content))
    with patched(b, changes):
        one, two = opened(a), opened(b)
        text = report.text(compare_disks(one, two))
        found = changes_of(a, b)
        explained = explained_bytes(found)
        before, after = a.read_bytes(), b.read_bytes()
        places = sorted({n for at, content in changes for n in range(at, at + len(content))})
        expected = [n for n in places if before[n] != after[n]]
        sections = plan_sections(one, two).sections
    assert len(explained) == len(set(explained))
    if sections == (Section(0, 0, size),):
        assert sorted(explained) == expected
        assert ("the disks are the same" in text) == (not expected)
    else:
        # The table or a shape differs: what lies elsewhere is not compared by its place, but never twice.
        assert "differ" in text or "lies at" in text or "only" in text


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 255), st.integers(0, 64 << 10), st.binary(min_size=1, max_size=64))
def test_damage_of_the_root_is_explained_by_the_whole_side(
    disks: tuple[Path, Path, list[int]], fill: int, at: int, content: bytes
) -> None:
    """The superblock and what follows are overwritten on one side."""
    a, b, _ = disks
    with patched(b, [(ROOT + 1024, bytes([fill]) * 1024), (ROOT + at, content)]):
        before, after = a.read_bytes(), b.read_bytes()
        explained = explained_bytes(changes_of(a, b))
        low, high = ROOT, ROOT + (64 << 10) + 64
        assert sorted(explained) == [n for n in range(low, high) if before[n] != after[n]]
