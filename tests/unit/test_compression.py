"""compression: streams that other decompressors read, and levels."""

from __future__ import annotations

import random
import zlib

import pytest
import zstandard

from imgwriter.compression import DEFAULT_LEVELS, LEVELS, Codec, codec
from imgwriter.errors import SpecError

TEXT = b"".join(b"%d is a line of some text\n" % n for n in range(3000))
NOISE = random.Random(1).randbytes(65536)
_VOCABULARY = [b"%x" % n for n in range(1, 3_000_000, 1501)]
WORDS = b" ".join(random.Random(3).choices(_VOCABULARY, k=9000))
SAMPLES = {
    "one byte": b"x",
    "words": WORDS,
    "text": TEXT[:65536],
    "zeros": bytes(65536),
    "noise": NOISE,
    # Repeats 8 KiB away: beyond the window that QEMU reads with.
    "far": NOISE[:8192] * 8,
    "2 MiB": (TEXT * 40)[: 2 << 20],
}


def decompress(name: str, stream: bytes) -> bytes:
    """Return what a stream holds, by the interpreter's zlib with QEMU's window, or by libzstd."""
    if name == "zstd":
        return zstandard.ZstdDecompressor().decompress(stream)
    inflate = zlib.decompressobj(-12)
    content = inflate.decompress(stream)
    assert inflate.eof and not inflate.unused_data
    return content


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize(
    ("name", "level"), [(n, level) for n in LEVELS for level in (None, *LEVELS[n])], ids=str
)
def test_streams_hold_what_was_given(name: str, level: int | None, sample: str) -> None:
    content = SAMPLES[sample]
    if len(content) > 65536 and level is not None:
        content = content[:100_000]
    compress = codec(name, level).compressor()
    streams = [compress(content), compress(memoryview(content)), compress(bytearray(content))]
    assert len(set(streams)) == 1, "a stream depends on what was compressed before it"
    assert decompress(name, streams[0]) == content


def test_the_window_is_the_one_that_qemu_reads_with() -> None:
    # Within 4 KiB there is nothing to find.
    assert len(codec("zlib").compressor()(SAMPLES["far"])) > 60_000


def test_zstd_is_one_frame_that_tells_its_size_and_has_no_checksum() -> None:
    frame = codec("zstd").compressor()(TEXT)
    parameters = zstandard.get_frame_parameters(frame)
    assert parameters.content_size == len(TEXT)
    assert not parameters.has_checksum


@pytest.mark.parametrize("name", LEVELS)
def test_the_highest_level_is_smaller_than_the_lowest(name: str) -> None:
    lowest, highest = LEVELS[name][0], LEVELS[name][-1]
    # Each has its content on which the levels differ clearly.
    content = TEXT if name == "zlib" else WORDS
    low, high = (len(codec(name, level).compressor()(content)) for level in (lowest, highest))
    assert high < 0.98 * low


@pytest.mark.parametrize("name", LEVELS)
def test_a_level_is_there_without_asking(name: str) -> None:
    assert codec(name) == codec(name, DEFAULT_LEVELS[name]) == Codec(name, DEFAULT_LEVELS[name])


@pytest.mark.parametrize(
    ("name", "level", "message"),
    [
        ("zlib", 0, "zlib has no level 0; use one from 1 to 9"),
        ("zlib", 10, "zlib has no level 10; use one from 1 to 9"),
        ("zlib", -1, "zlib has no level -1; use one from 1 to 9"),
        ("zstd", 0, "zstd has no level 0; use one from 1 to 22"),
        ("zstd", 23, "zstd has no level 23; use one from 1 to 22"),
        ("lzma", None, "compression 'lzma' is unknown; use one of zlib, zstd"),
    ],
)
def test_what_there_is_not_is_refused(name: str, level: int | None, message: str) -> None:
    with pytest.raises(SpecError, match=f"^{message}$"):
        codec(name, level)


@pytest.mark.parametrize("length", [512, 4096, 65536, 100_000])
def test_the_sieve_of_deflate_holds_back_noise_alone(length: int) -> None:
    is_noise = codec("zlib").sieve()
    noise = random.Random(5).randbytes(length)
    assert is_noise(noise) and is_noise(memoryview(noise)) and is_noise(zlib.compress(noise))
    assert not is_noise(TEXT[:length])
    assert not is_noise(noise[: length // 2] * 2)
    # An eighth of it is zeros, at the end: it would become that much shorter.
    assert not is_noise(noise[: length - length // 8] + bytes(length // 8))


def test_nothing_is_held_back_from_zstd() -> None:
    assert not codec("zstd").sieve()(random.Random(5).randbytes(65536))
