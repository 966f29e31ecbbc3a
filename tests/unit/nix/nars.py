"""NARs and export streams by the grammar alone, for tests: nothing of imgwriter is used.

A tree is bytes (a file), Program (an executable file), Link (a symlink) or a dict (a directory).

Spec: Eelco Dolstra, "The Purely Functional Software Deployment Model", figure 5.2.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, TypeAlias


class Program(NamedTuple):
    """An executable file."""

    content: bytes


class Link(NamedTuple):
    """A symlink."""

    target: bytes


Tree: TypeAlias = bytes | Program | Link | dict[bytes, "Tree"]

EMPTY_DIRECTORY: dict[bytes, Tree] = {}


def integer(value: int) -> bytes:
    return struct.pack("<Q", value)


def text(content: bytes) -> bytes:
    padding = (8 - len(content) % 8) % 8
    return integer(len(content)) + content + b"\0" * padding


def words(*contents: bytes) -> bytes:
    return b"".join(text(content) for content in contents)


def serialise(tree: Tree) -> bytes:
    """Return the NAR of a tree."""
    return text(b"nix-archive-1") + node(tree)


def node(tree: Tree) -> bytes:
    """Return what is between a NAR's parentheses, with them."""
    match tree:
        case dict():
            entries = [(name, tree[name]) for name in sorted(tree)]
            inner = words(b"type", b"directory") + b"".join(entry(name, below) for name, below in entries)
        case Program(content):
            inner = words(b"type", b"regular", b"executable", b"", b"contents", content)
        case Link(target):
            inner = words(b"type", b"symlink", b"target", target)
        case _:
            inner = words(b"type", b"regular", b"contents", tree)
    return text(b"(") + inner + text(b")")


def entry(name: bytes, below: Tree) -> bytes:
    """Return one entry of a directory."""
    return words(b"entry", b"(", b"name", name, b"node") + node(below) + text(b")")


def exported(path: bytes, tree: Tree, references: tuple[bytes, ...] = (), deriver: bytes = b"") -> bytes:
    """Return one path of an export stream."""
    return b"".join(
        [
            integer(1),
            serialise(tree),
            integer(0x4558494E),
            text(path),
            integer(len(references)),
            words(*references),
            text(deriver),
            integer(0),
        ]
    )


def stream(*paths: bytes) -> bytes:
    """Return an export stream."""
    return b"".join(paths) + integer(0)
