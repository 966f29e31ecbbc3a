"""What is no partition is taken out, whoever lists it."""

from __future__ import annotations

import pytest

from imgwriter.extent import Bytes, Volume, extent
from imgwriter.fuzz.compare.normal import Records, normal, normal_expected, records_of
from imgwriter.fuzz.compare.values import Expected, Part, View


def disk(*types: int, signature: bytes = b"\x55\xaa") -> Volume:
    """Return a disk whose sector 0 has records of these types: bytes 450, 466, 482, 498. UEFI 2.10, 5.2.1."""
    sector = bytearray(512)
    for number, os_type in enumerate(types):
        sector[446 + 16 * number + 4] = os_type
    sector[510:] = signature
    return Volume(1024, [extent(0, Bytes(bytes(sector)), "MBR")])


@pytest.mark.parametrize("os_type", [0x05, 0x0F, 0x85])
def test_extended_records_are_found(os_type: int):
    assert records_of(disk(0x83, os_type, 0, os_type)) == (frozenset({2, 4}), frozenset())


def test_protective_records_are_found():
    assert records_of(disk(0xEE, 0x83, 0xEE)) == (frozenset(), frozenset({1, 3}))


def test_without_a_signature_there_are_no_records():
    assert records_of(disk(0xEE, 5, signature=b"\x55\xab")) == Records()
    assert records_of(Volume(0, [])) == records_of(Volume(511, [])) == Records()


PARTS = (Part(512, 512, 1), Part(1024, 512, 2), Part(2048, 512, 5))
EXTENDED = Records(frozenset({1}), frozenset())
PROTECTIVE = Records(frozenset(), frozenset({1}))


def test_an_extended_partition_is_taken_out_of_an_mbr_and_of_what_is_expected():
    assert normal(View("table", "mbr", None, PARTS), EXTENDED).partitions == PARTS[1:]
    assert normal(View("table", None, None, PARTS), EXTENDED).partitions == PARTS[1:]
    assert normal_expected(Expected("accept", "mbr", PARTS), EXTENDED).partitions == PARTS[1:]


def test_partitions_of_a_gpt_stay():
    hybrid = Records(frozenset({2}), frozenset({1}))
    assert normal(View("table", "gpt", "primary", PARTS), hybrid).partitions == PARTS
    assert normal(View("table", None, None, PARTS), hybrid).partitions == PARTS
    assert normal_expected(Expected("accept", "gpt", PARTS), hybrid).partitions == PARTS


def test_a_protective_record_alone_is_no_table():
    assert normal(View("table", "mbr", None, PARTS[:1]), PROTECTIVE).state == "none"
    # An MBR whose one partition is extended and empty is a table all the same.
    assert normal(View("table", "mbr", None, PARTS[:1]), EXTENDED) == View("table", "mbr", None, ())


def test_partitions_are_put_in_order():
    assert normal(View("table", "gpt", None, PARTS[::-1]), Records()).partitions == PARTS


def test_views_without_partitions_stay_as_they_are():
    for view in (View("none"), View("crash"), View("table", "mbr"), View("none", partitions=())):
        assert normal(view, EXTENDED) == view
