"""nix.path_info: what a store path is."""

from __future__ import annotations

import pytest

from imgwriter.errors import SourceError
from imgwriter.nix.path_info import MAX_NAME, PathInfo, base_name

DIGITS = b"0123456789abcdfghijklmnpqrsvwxyz"


def test_the_base_name_of_a_store_path() -> None:
    assert base_name(b"/nix/store/" + DIGITS + b"-hello-2.12") == DIGITS + b"-hello-2.12"
    assert base_name(b"/gnu/store/" + DIGITS + b"-a", b"/gnu/store") == DIGITS + b"-a"


@pytest.mark.parametrize(
    "name",
    [b"a", b"+-._?=", b".hidden", b"...", b"..a", b".a-b", b"a-", b"--", b"n" * MAX_NAME],
)
def test_names_that_nix_allows(name: bytes) -> None:
    assert base_name(b"/nix/store/" + DIGITS + b"-" + name) == DIGITS + b"-" + name


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"/nix/store",
        b"/nix/store/",
        b"nix/store/" + DIGITS + b"-a",
        b"/nix/storage/" + DIGITS + b"-a",
        b"/nix/store//" + DIGITS + b"-a",
        b"/nix/store/" + DIGITS + b"-a/",
        b"/nix/store/" + DIGITS + b"-a/bin",
        b"/nix/store/" + DIGITS,
        b"/nix/store/" + DIGITS + b"-",
        b"/nix/store/" + DIGITS + b"a",
        b"/nix/store/" + DIGITS[1:] + b"-a",
        b"/nix/store/0" + DIGITS + b"-a",
        b"/nix/store/e" + DIGITS[1:] + b"-a",
        b"/nix/store/A" + DIGITS[1:] + b"-a",
        b"/nix/store/" + DIGITS + b"-a b",
        b"/nix/store/" + DIGITS + b"-a\n",
        b"/nix/store/" + DIGITS + b"-a\0",
        b"/nix/store/" + DIGITS + b"-\xc3\xa9",
        b"/nix/store/" + DIGITS + b"-.",
        b"/nix/store/" + DIGITS + b"-..",
        b"/nix/store/" + DIGITS + b"-.-a",
        b"/nix/store/" + DIGITS + b"-..-a",
        b"/nix/store/" + DIGITS + b"-" + b"n" * (MAX_NAME + 1),
    ],
)
def test_anything_else_is_refused_by_name(path: bytes) -> None:
    with pytest.raises(SourceError) as caught:
        base_name(path)
    assert caught.value.path == path and "\n" not in str(caught.value)


def test_a_path_info_is_a_value() -> None:
    path = b"/nix/store/" + DIGITS + b"-a"
    assert PathInfo(path, None, None, ()) == PathInfo(path, None, None, (), None)
