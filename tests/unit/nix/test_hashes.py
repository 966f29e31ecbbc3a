"""nix.hashes: every spelling of a SHA-256, against what nix-hash and nix print."""

from __future__ import annotations

import pytest

from imgwriter.errors import SourceError
from imgwriter.nix.hashes import Form, from_nix32, nix32, parse_sha256, sha256_text

# `nix-hash --type sha256 --to-base32`, `nix hash to-base64` and `nix hash to-sri` (Nix 2.8.0), of the SHA-256
# of no bytes and of "abc" (FIPS 180-2, appendix B.1).
SPELLINGS = [
    {
        Form.BASE16: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        Form.NIX32: "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73",
        Form.BASE64: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        Form.SRI: "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    },
    {
        Form.BASE16: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        Form.NIX32: "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
        Form.BASE64: "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
        Form.SRI: "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
    },
]
DIGESTS = [bytes.fromhex(spelled[Form.BASE16]) for spelled in SPELLINGS]
PAIRS = list(zip(DIGESTS, SPELLINGS, strict=True))
NOTHING = SPELLINGS[0]


@pytest.mark.parametrize("digest, spelled", PAIRS)
@pytest.mark.parametrize("form", Form)
def test_printed_as_nix_does(digest: bytes, spelled: dict[Form, str], form: Form) -> None:
    assert sha256_text(digest, form, prefix=False) == spelled[form]
    if form is not Form.SRI:
        assert sha256_text(digest, form) == f"sha256:{spelled[form]}"


@pytest.mark.parametrize("digest, spelled", PAIRS)
@pytest.mark.parametrize("form", Form)
def test_read_with_and_without_the_algorithm(digest: bytes, spelled: dict[Form, str], form: Form) -> None:
    assert parse_sha256(spelled[form]) == digest
    if form is not Form.SRI:
        assert parse_sha256(f"sha256:{spelled[form]}") == digest


def test_base16_may_be_in_capitals_as_in_nix() -> None:
    assert parse_sha256(NOTHING[Form.BASE16].upper()) == DIGESTS[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        "sha256-",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        f"sha512:{NOTHING[Form.BASE16]}",
        f"sha512-{NOTHING[Form.BASE64]}",
        f"SHA256:{NOTHING[Form.BASE16]}",
        f"sha256:sha256:{NOTHING[Form.BASE16]}",
        f" {NOTHING[Form.BASE16]}",
        f"{NOTHING[Form.BASE16]}\n",
        NOTHING[Form.BASE16][:-1],
        NOTHING[Form.BASE16] + "0",
        "g" + NOTHING[Form.BASE16][1:],
        # bytes.fromhex leaves spaces out
        " " + NOTHING[Form.BASE16][:-1],
        NOTHING[Form.NIX32][:-1],
        NOTHING[Form.NIX32] + "0",
        # the first of 52 digits holds only one of five bits
        "2" + NOTHING[Form.NIX32][1:],
        "e" + NOTHING[Form.NIX32][1:],
        # int() takes underscores and digits of other scripts
        NOTHING[Form.NIX32][:2] + "_" + NOTHING[Form.NIX32][3:],
        NOTHING[Form.NIX32][:2] + "\N{ARABIC-INDIC DIGIT ONE}" + NOTHING[Form.NIX32][3:],
        NOTHING[Form.BASE64][:-1],
        # "V" is the last digit's other spelling: bits behind the last byte
        NOTHING[Form.BASE64][:-2] + "V=",
        "\u00e9" + NOTHING[Form.BASE64][1:],
        "*" + NOTHING[Form.BASE64][1:],
        f"sha256-{NOTHING[Form.BASE16]}",
        f"sha256-{NOTHING[Form.NIX32]}",
        "x" * 10_000_000,
    ],
    ids=lambda text: text[:70],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_sha256(text)
    assert len(str(caught.value)) < 300


def test_the_refusal_says_what_is_wrong() -> None:
    with pytest.raises(SourceError, match=r"is not SHA-256; give it as Nix prints it"):
        parse_sha256("md5:d41d8cd98f00b204e9800998ecf8427e")
    with pytest.raises(
        SourceError, match=r"has 3 digits, and a SHA-256 64 \(base 16\), 52 \(Nix's base 32\)"
    ):
        parse_sha256("abc")


# Digits, by bytes: 8 n bits in fives.
@pytest.mark.parametrize("length, digits", [(0, 0), (1, 2), (2, 4), (5, 8), (16, 26), (20, 32), (32, 52)])
def test_nix32_has_digits_for_every_bit(length: int, digits: int) -> None:
    for content in (bytes(length), b"\xff" * length):
        assert len(nix32(content)) == digits
        assert from_nix32(nix32(content)) == content


def test_nix32_begins_with_the_last_byte() -> None:
    assert nix32(b"\x01" + bytes(19)) == "0" * 31 + "1"
    assert nix32(bytes(19) + b"\x80") == "h" + "0" * 31  # 16, the first bit of five
    assert nix32(b"\xff") == "7z"


@pytest.mark.parametrize("text", ["0", "000", "80", "0e", "0E", "0-"])
def test_digits_of_no_bytes_are_refused(text: str) -> None:
    with pytest.raises(SourceError):
        from_nix32(text)
