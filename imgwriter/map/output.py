"""Where a picture goes: a file, at once or not at all, or a pipe."""

from __future__ import annotations

from imgwriter import sink
from imgwriter.extent import Bytes, Volume, extent


def write_picture(target: bytes | int, text: str) -> None:
    """Write a picture.

    Args:
        target: A path, replaced when the picture is complete; or an open descriptor.
        text: The picture.

    Raises:
        OutputError: It cannot be written.
        BrokenPipeError: Nobody reads the pipe any more.
    """
    content = text.encode()
    if isinstance(target, int):
        sink.stream(Volume(len(content), [extent(0, Bytes(content), "picture")]), target, name="the picture")
    else:
        sink.write_bytes(target, content)
