"""identifiers: one seed, known answers from RFC 9562 and from sha256sum."""

from __future__ import annotations

import hashlib
import uuid

import pytest

from imgwriter import identifiers
from imgwriter.identifiers import DEFAULT_SEED, NAMESPACE, derive_u32, derive_uuid, name_based_uuid


def test_name_based_uuid_is_the_example_of_rfc_9562() -> None:
    # RFC 9562, appendix B.2: www.example.com in the DNS namespace, SHA-256.
    expected = uuid.UUID("5c146b14-3c52-8afd-938a-375d0df1fbf6")
    assert name_based_uuid(uuid.NAMESPACE_DNS, b"www.example.com") == expected


def test_derive_uuid_known_answer() -> None:
    # printf '\xa4\xc9\xf9\xd2\x6a\x0e\x4b\x7d\x9e\x21\x57\xc3\xf1\xd8\xb0\x6e%s\0%s' imgwriter 'disk guid'
    # | sha256sum (bash 5.2, coreutils 9.1) gives dd3a7209405161b10f9cd7d0cb512fcc...;
    # then the version nibble becomes 8 and the two variant bits 10.
    assert str(derive_uuid("imgwriter", "disk guid")) == "dd3a7209-4051-81b1-8f9c-d7d0cb512fcc"


def test_derive_u32_known_answer() -> None:
    # The same with "disk signature": sha256sum gives e5da1041....
    assert derive_u32("imgwriter", "disk signature") == 0xE5DA1041


def test_the_default_seed_and_the_namespace_stay() -> None:
    # Changing either changes every image that was ever built with defaults.
    assert DEFAULT_SEED == "imgwriter"
    assert str(NAMESPACE) == "a4c9f9d2-6a0e-4b7d-9e21-57c3f1d8b06e"


def test_a_uuid_says_version_8_and_the_rfc_variant() -> None:
    value = derive_uuid("any", "thing")
    assert value.version == 8
    assert value.variant == uuid.RFC_4122


def test_values_differ_by_seed_and_by_purpose() -> None:
    made = {derive_uuid(seed, purpose) for seed in ("a", "b") for purpose in ("x", "y")}
    assert len(made) == 4


def test_seed_and_purpose_do_not_run_together() -> None:
    assert derive_uuid("ab", "c") != derive_uuid("a", "bc")


def test_a_seed_of_any_bytes_is_taken() -> None:
    undecodable = b"\xff\xfe".decode("utf-8", "surrogateescape")
    expected = hashlib.sha256(NAMESPACE.bytes + b"\xff\xfe\0p").digest()
    assert derive_u32(undecodable, "p") == int.from_bytes(expected[:4], "big")


@pytest.mark.parametrize(
    ("digest", "expected"),
    [
        (bytes(4) + b"\x12\x34\x56\x78" + bytes(24), 0x12345678),
        (bytes(28) + b"\x00\x00\x00\x09", 9),
        (bytes(32), 1),
    ],
)
def test_derive_u32_is_never_zero(monkeypatch: pytest.MonkeyPatch, digest: bytes, expected: int) -> None:
    # No known input has a digest that begins with zeros, so the digest is given.
    monkeypatch.setattr(identifiers, "_digest", lambda seed, purpose: digest)
    assert derive_u32("s", "p") == expected
