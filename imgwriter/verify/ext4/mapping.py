"""What a file's map says, whichever kind it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from imgwriter.ext4.extent_tree import Piece
from imgwriter.verify.ext4.usage import Runs


@dataclass
class Mapping:
    """The blocks of one file.

    Attributes:
        pieces: Its content, in the map's order: written and unwritten.
        runs: All blocks, those of the map itself included.
        unwritten: Whether a piece is allocated and not written.
        last_written: The last logical block that is written; -1: none.
        whole: Whether all of the map could be read.
    """

    pieces: list[Piece] = field(default_factory=list)
    runs: Runs = field(default_factory=list)
    unwritten: bool = False
    last_written: int = -1
    whole: bool = True

    def add(self, logical: int, start: int, length: int, written: bool = True) -> None:
        """Add blocks of content."""
        self.pieces.append(Piece(logical, start, length))
        self.runs.append((start, start + length))
        if written:
            self.last_written = max(self.last_written, logical + length - 1)
        else:
            self.unwritten = True

    @property
    def end(self) -> int:
        """The logical block after the last one."""
        return max((p.logical + p.length for p in self.pieces), default=0)
