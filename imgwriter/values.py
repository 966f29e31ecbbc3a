"""What a word of a command line or a spec file means: each function returns it, or says what is wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from imgwriter.errors import SpecError
from imgwriter.units import parse_size

if TYPE_CHECKING:
    from uuid import UUID


def source_date_epoch(environ: dict[str, str]) -> int | None:
    """Return SOURCE_DATE_EPOCH in seconds, or None where it is not set or empty.

    Spec: reproducible-builds.org, SOURCE_DATE_EPOCH 1.1: ASCII decimal digits; a malformed value should end
    the build.

    Raises:
        SpecError: It is set to something else.
    """
    text = environ.get("SOURCE_DATE_EPOCH", "")
    return parse_time(text, "SOURCE_DATE_EPOCH") if text else None


def parse_time(text: str, what: str = "time") -> int:
    """Return the seconds since the epoch that ``text`` says, as decimal digits."""
    if not re.fullmatch(r"[0-9]{1,11}", text):
        raise SpecError(
            f"{what} {text!r} is not a time; give seconds since 1970 in decimal digits, or leave it out"
        )
    return int(text)


def parse_disk_size(text: str) -> int | None:
    """Return the bytes of ``--disk-size``; None for "auto"."""
    return None if text == "auto" else parse_size(text, "disk size")


def parse_size_in_bytes(text: str) -> int:
    """Return the bytes of a size of which a bare number is bytes: a cluster's."""
    return int(text) if re.fullmatch(r"[0-9]+", text) else parse_size(text, "cluster size")


def parse_owner(text: str) -> tuple[int, int] | None:
    """Return (uid, gid); None for "preserve"."""
    if text == "preserve":
        return None
    match = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,10})", text)
    if not match:
        raise SpecError(f"owner {text!r} is not two numbers; give UID:GID or 'preserve'")
    return int(match[1]), int(match[2])


def parse_uuid(text: str) -> UUID:
    """Return the UUID of the usual 36 characters."""
    from uuid import UUID  # imports platform, which --version need not pay for

    if not re.fullmatch(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", text):
        raise SpecError(f"{text!r} is not a UUID; give 32 hexadecimal digits as 8-4-4-4-12")
    return UUID(text)


def parse_hex32(text: str) -> int:
    """Return the number of 8 hexadecimal digits; ``0x`` before and a hyphen in the middle may be there."""
    match = re.fullmatch(r"(?:0[xX])?([0-9A-Fa-f]{1,8}|[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4})", text)
    if not match:
        raise SpecError(f"{text!r} is not a number of 32 bits; give up to 8 hexadecimal digits")
    return int(match[1].replace("-", ""), 16)


def parse_partition_guid(text: str) -> tuple[int, UUID]:
    """Return (partition number, GUID) of ``N=GUID``."""
    number, equals, guid = text.partition("=")
    if not equals or not re.fullmatch(r"[1-9][0-9]{0,2}", number):
        raise SpecError(f"{text!r} does not say which partition; give N=GUID with its number")
    return int(number), parse_uuid(guid)


def parse_version(text: str) -> tuple[int, int]:
    """Return (major, minor) of a version of Nix; what follows them does not matter."""
    match = re.match(r"([0-9]{1,4})\.([0-9]{1,4})(?![0-9])", text)
    if not match:
        raise SpecError(f"{text!r} is not a version; give MAJOR.MINOR, as 2.18")
    return int(match[1]), int(match[2])


def parse_content(text: str) -> tuple[str | None, ...]:
    """Return the words of ``SOURCE:TARGET[:MODE[:USER:GROUP]]``: two, three or five.

    A backslash makes the colon or backslash after it part of the word. An empty MODE is None.
    """
    words = [re.sub(r"\\([\\:])", r"\1", word) for word in re.findall(r"(?:^|:)((?:\\[\\:]|[^:])*)", text)]
    if len(words) not in (2, 3, 5) or not words[0] or not words[1]:
        raise SpecError(
            f"content {text!r} has {len(words)} of SOURCE:TARGET[:MODE[:USER:GROUP]];"
            " give 2, 3 or 5 words, with \\: for a colon in one"
        )
    source, target, *more = words
    return (source, target, *((word or None) for word in more))
