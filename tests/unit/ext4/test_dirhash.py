"""half-MD4 against what debugfs computes; see tests/vectors/PROVENANCE.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgwriter.ext4.dirhash import _LANES, half_md4

VECTORS = Path(__file__).parents[2] / "vectors" / "half-md4.txt"

Case = tuple[bool, bytes]


def vectors() -> dict[Case, list[tuple[bytes, int]]]:
    """Return (name, hash) by (signed, seed)."""
    result: dict[Case, list[tuple[bytes, int]]] = {}
    for line in VECTORS.read_text().splitlines():
        if not line.startswith("#"):
            sign, seed, name, value = line.split()
            key = (sign == "signed", bytes.fromhex(seed))
            result.setdefault(key, []).append((bytes.fromhex(name), int(value, 16)))
    return result


@pytest.mark.parametrize(("signed", "seed"), vectors())
def test_hashes_are_those_of_debugfs(signed: bool, seed: bytes) -> None:
    rows = vectors()[signed, seed]
    names = [name for name, _ in rows]
    assert half_md4(names, seed, signed=signed) == [value for _, value in rows]
    # One at a time, a name has no neighbour in the next lane.
    assert [half_md4([name], seed, signed=signed)[0] for name in names] == [value for _, value in rows]


def test_vectors_cover_the_limits() -> None:
    for rows in vectors().values():
        lengths = {len(name) for name, _ in rows}
        assert lengths >= set(range(1, 41))
        assert any(max(name) >= 0x80 for name, _ in rows)
    assert {255, 254, 225, 224, 223, 128, 127, 65, 64, 63} <= {
        len(name) for name, _ in vectors()[True, bytes(range(16))]
    }


@pytest.mark.parametrize("count", [_LANES - 1, _LANES, _LANES + 1])
def test_batches_join_without_a_seam(count: int) -> None:
    rows = vectors()[True, bytes(range(16))]
    short = [row for row in rows if len(row[0]) <= 32]
    repeated = [short[i % len(short)] for i in range(count)]
    assert half_md4([name for name, _ in repeated], bytes(range(16)), signed=True) == [h for _, h in repeated]


def test_no_names_have_no_hashes() -> None:
    assert half_md4([], bytes(16), signed=False) == []


def test_names_of_equal_hash() -> None:
    # debugfs 1.47.0: dx_hash -h 4 NAME says 0xac76fa3e of both.
    assert half_md4([b"name-017235", b"name-051666"], bytes(16), signed=False) == [0xAC76FA3E] * 2
