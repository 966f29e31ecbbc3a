"""fuzz.mutator and dictionary: checksums are right again after any change, by AFL++'s and atheris's names."""

from __future__ import annotations

import re
from random import Random

import pytest

from imgwriter import gpt
from imgwriter.fuzz import mutator
from imgwriter.fuzz.catalogue import KINDS, valid_cases
from imgwriter.fuzz.dictionary import dictionary
from imgwriter.fuzz.tables import gpt_disk
from imgwriter.tables_reader import read_table
from tests.fuzz.targets import volume_of

VALID = [case for kind in KINDS for case in valid_cases(kind) if case.image.size < 10 << 20]


@pytest.mark.parametrize("case", VALID, ids=lambda case: case.description)
def test_what_is_right_stays_as_it_is(case: object) -> None:
    content = case.image.content()  # type: ignore[attr-defined]
    assert mutator.mend(content) == content


@pytest.mark.parametrize("at", [512 + 40, 1024 + 32, (2047 - 32) * 512 + 56, 2047 * 512 + 72])
def test_headers_are_sealed_again(at: int) -> None:
    content = bytearray(gpt_disk().content())
    content[at] ^= 1
    assert usable(content) == [at > 1 << 19, at < 1 << 19]
    assert usable(mutator.mend(content)) == [True, True]


def usable(content: bytearray) -> list[bool]:
    """Return whether the reader believes the primary and the backup."""
    return [copy.usable for copy in read_table(volume_of(bytes(content)), 512).copies]


@pytest.mark.parametrize("kind", ["ext4", "vhd"])
def test_checksums_follow_the_fields(kind: str) -> None:
    image = valid_cases(kind)[0].image
    name, field = {"ext4": ("superblock", "s_mnt_count"), "vhd": ("header", "parent_time_stamp")}[kind]
    changed = image.with_record(name, **{field: 7})
    assert mutator.mend(changed.content()) == changed.sealed().content()
    assert mutator.mend(changed.content()) != changed.content()


def test_the_records_of_an_image_are_found() -> None:
    found = {place.offset for place in mutator.places(gpt_disk().content())}
    assert {0, 446, 462, 478, 494, 512, 2047 * 512, 1024, 1024 + 128, (2047 - 32) * 512} <= found
    assert [place.offset for place in mutator.places(b"QFI\xfb" + bytes(200))] == [0, 72]
    assert mutator.places(b"") == []


def test_afl_calls_it_by_its_names() -> None:
    """AFL++, docs/custom_mutators.md: bytearrays in, bytearrays out, none longer than asked for."""
    content = bytearray(gpt_disk().content())
    mutator.init(1)
    first = [mutator.fuzz(content, None, len(content)) for _ in range(20)]
    mutator.init(1)
    assert [mutator.fuzz(content, None, len(content)) for _ in range(20)] == first
    assert all(isinstance(each, bytearray) for each in first)
    assert len({bytes(each) for each in first}) > 10
    other = bytearray(len(content))
    for size in (1, 100, 4096):
        assert 0 < len(mutator.fuzz(content, other, size)) <= size
        assert 0 < len(mutator.havoc_mutation(content, size)) <= size
    assert 0 <= mutator.havoc_mutation_probability() <= 100
    mutator.deinit()


def test_most_inputs_are_mended() -> None:
    content = bytearray(gpt_disk().content())
    mended = 0
    for value in range(160):
        content[512 + 56] = value
        mended += mutator.mend_most(content) == mutator.mend(content) != content
    assert 120 <= mended < 160


def test_atheris_has_its_own_mutations_mended() -> None:
    content = gpt_disk().content()

    def own(data: bytes, size: int) -> bytes:
        return data[:600] + b"\xff" + data[601:]

    mutate = mutator.custom_mutator(own)
    results = [mutate(content, len(content), seed) for seed in range(60)]
    assert results == [mutate(content, len(content), seed) for seed in range(60)]
    wanted = bytes(mutator.mend(own(content, 0)))
    assert len(results) - len(set(results)) > 15 and wanted in results
    assert len(set(results)) > 15


def test_nothing_is_refused() -> None:
    random = Random(3)
    for data in (
        b"",
        b"\0",
        gpt.SIGNATURE * 300,
        b"conectix" * 64,
        b"\xeb" * 512,
        bytes(1080) + b"\x53\xef" + bytes(2000),
    ):
        for _ in range(50):
            assert 0 < len(mutator.mutate(data, 5000, random)) <= 5000


# AFL++, dictionaries/README.md: name="value", printable but for \\, \" and \xNN.
LINE = re.compile(r'(#.*|\w+="([ !#-\[\]-~]|\\x[0-9a-f]{2})+")')


def test_the_dictionary_is_one() -> None:
    lines = dictionary().splitlines()
    assert all(LINE.fullmatch(line) for line in lines)
    words = [line.partition("=")[2] for line in lines[1:]]
    assert len(set(words)) == len(words)
    assert all(
        word in words for word in ('"EFI PART"', r'"QFI\xfb"', '"conectix"', r'"S\xef"', '"RRaA"', r'"U\xaa"')
    )
