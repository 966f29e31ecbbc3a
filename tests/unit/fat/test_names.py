"""FAT names: which are refused, and which short names the others get."""

from __future__ import annotations

import pytest

from imgwriter.errors import UnrepresentableError
from imgwriter.fat.names import directory_names


def shorts(*names: str) -> list[str]:
    """Return the short names, as a reader prints them, of one directory's sorted names."""
    found = directory_names(sorted(n.encode() for n in names), b"")
    by_name = dict(zip(sorted(names, key=str.encode), found, strict=True))
    result = []
    for name in names:
        base, extension = by_name[name].short[:8], by_name[name].short[8:]
        result.append((base.rstrip() + b"." + extension.rstrip()).rstrip(b".").decode())
    return result


# The right-hand sides are what mcopy of mtools 4.0.32 gives; see test_structures for its bytes.
@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("The quick brown.fox", "THEQUI~1.FOX"),
        ("exactly13char", "EXACTL~1"),
        (".config.d", "CONFIG~1.D"),
        ("foo.tar.gz", "FOOTAR~1.GZ"),
        ("a+b;c=[d].x,y", "A_B_C_~1.X_Y"),
        ("grub.cfg", "GRUB.CFG"),
        ("UPPER.TXT", "UPPER.TXT"),
    ],
)
def test_short_names_are_those_of_mcopy(name: str, short: str) -> None:
    assert shorts(name) == [short]


@pytest.mark.parametrize(
    ("name", "short"),
    [
        (".a", "A~1"),
        ("x.toolong", "X~1.TOO"),
        ("+", "_~1"),
        ("ü", "_~1"),
        ("😀😀", "__~1"),
        (". .x", "X~1"),
        ("a.b.c", "AB~1.C"),
    ],
)
def test_characters_without_a_form_become_underscores(name: str, short: str) -> None:
    assert shorts(name) == [short]


@pytest.mark.parametrize("name", ["BOOTX64.EFI", "A", "12345678.123", "!#$%&'()", "@^_`{}~-", "A.B"])
def test_upper_case_short_names_need_no_long_one(name: str) -> None:
    (found,) = directory_names([name.encode()], b"")
    assert (found.long, found.slots) == (b"", 1)


@pytest.mark.parametrize("name", ["a", "A.b", "123456789", "A.1234", "A B", "A.B.C", "A+B", ".A", "Ä"])
def test_all_others_have_a_long_one(name: str) -> None:
    (found,) = directory_names([name.encode()], b"")
    assert found.long.decode("utf-16-le") == name
    assert found.slots == 2


def test_tails_count_up_in_the_order_of_the_names() -> None:
    names = [f"generation-{i:03}.conf" for i in range(1, 102)]
    found = shorts(*names)
    assert found[:2] == ["GENERA~1.CON", "GENERA~2.CON"]
    assert found[8:10] == ["GENERA~9.CON", "GENER~10.CON"]
    assert found[98:] == ["GENER~99.CON", "GENE~100.CON", "GENE~101.CON"]


def test_a_tail_never_takes_a_name_that_is_there() -> None:
    assert shorts("LONGFI~1.TXT", "longfilename.txt") == ["LONGFI~1.TXT", "LONGFI~2.TXT"]
    # Sorted after it, in lower case: whoever opens longfi~1.txt must get that file, not the other.
    assert shorts("longfi~1.txt", "longfilename.txt") == ["LONGFI~1.TXT", "LONGFI~2.TXT"]


def test_stems_that_meet_when_the_number_grows_stay_unique() -> None:
    names = [f"{stem}-{i}.x" for stem in ("abcdef", "abcdeg", "abcdxy") for i in range(200)]
    assert len(set(shorts(*names))) == len(names)


def test_many_alike_names_get_unique_short_ones() -> None:
    names = [b"%05d a name" % i for i in range(20_000)]
    assert len({name.short for name in directory_names(names, b"")}) == 20_000


@pytest.mark.parametrize("character", list('"*:<>?\\|') + [chr(c) for c in range(1, 32)] + ["\uffff"])
def test_characters_that_linux_refuses_are_refused(character: str) -> None:
    with pytest.raises(UnrepresentableError, match="cannot hold") as caught:
        directory_names([f"a{character}b".encode()], b"dir")
    assert caught.value.path == f"dir/a{character}b".encode()


@pytest.mark.parametrize("name", [b"a.", b"a ", b"...", b" "])
def test_names_that_readers_shorten_are_refused(name: bytes) -> None:
    with pytest.raises(UnrepresentableError, match="dot or a space"):
        directory_names([name], b"")


@pytest.mark.parametrize("name", [b"\xff", b"\xed\xa0\x80", b"a\xc3"])
def test_names_that_are_not_utf8_are_refused(name: bytes) -> None:
    with pytest.raises(UnrepresentableError, match="not UTF-8") as caught:
        directory_names([name], b"d")
    assert caught.value.path == b"d/" + name


def test_names_have_at_most_255_utf16_units() -> None:
    directory_names(["é".encode() * 254, "é".encode() * 255], b"")
    with pytest.raises(UnrepresentableError, match="256 UTF-16 units"):
        directory_names(["é".encode() * 256], b"")
    directory_names(["😀".encode() * 127], b"")
    with pytest.raises(UnrepresentableError, match="256 UTF-16 units"):
        directory_names(["😀".encode() * 128], b"")


@pytest.mark.parametrize(
    ("one", "two"), [("README", "readme"), ("Grün", "GRÜN"), ("a long name", "A Long Name")]
)
def test_names_that_differ_in_case_alone_are_refused(one: str, two: str) -> None:
    with pytest.raises(UnrepresentableError, match="only in case") as caught:
        directory_names(sorted([one.encode(), two.encode()]), b"d")
    assert caught.value.path == b"d/" + max(one.encode(), two.encode())


def test_names_that_differ_in_more_than_case_are_not() -> None:
    assert len(directory_names(sorted(n.encode() for n in ("Straße", "STRASSE", "İ", "i")), b"")) == 4
