"""Parsers that a user describes."""

from __future__ import annotations

import pytest

from imgwriter.errors import SpecError
from imgwriter.fuzz.compare.parsers.program import view_of
from imgwriter.fuzz.compare.parsers.template import program_of
from imgwriter.fuzz.compare.run import Ended
from imgwriter.fuzz.compare.values import Part, View


def test_words_are_those_of_a_shell():
    program = program_of("mine='my parser' --size={sector_size} 'a b' {image}")
    assert (program.name, program.program) == ("mine", "my parser")
    assert program.arguments(b"/x{sector_size}\xff", 4096) == [b"--size=4096", b"a b", b"/x{sector_size}\xff"]


@pytest.mark.parametrize(
    "text",
    ["mine", "=cmd {image}", "a b=cmd {image}", "mine=", "mine=cmd", "mine='x {image}", "mine={image}"],
)
def test_what_describes_no_parser_is_refused(text: str):
    with pytest.raises(SpecError):
        program_of(text)


PROGRAM = program_of("mine=cmd {image}")


@pytest.mark.parametrize(
    ("ended", "view"),
    [
        (Ended(0, "", ""), View("table")),
        (Ended(0, "some words\n", ""), View("table")),
        (Ended(1, "", "bad table\n"), View("none", said="bad table")),
        (Ended(1, '{"table": "gpt"}\n', ""), View("none", said='{"table": "gpt"}')),
        (Ended(0, '{"table": "none"}\n', ""), View("none")),
        (Ended(0, '{"table": "mbr"}\n', ""), View("table", "mbr", None, ())),
        (Ended(0, '{"table": null}\n', ""), View("table", None, None, ())),
        (
            Ended(
                0, 'x\n{"table": "gpt", "used": "backup"}\n{"number": 2, "start": 512, "size": 1024}\n', ""
            ),
            View("table", "gpt", "backup", (Part(512, 1024, 2),)),
        ),
        (
            Ended(0, '{"table": "gpt"}\n{"start": 512, "size": 1024}\n', ""),
            View("table", "gpt", None, (Part(512, 1024),)),
        ),
        (Ended(None, "", ""), View("timeout")),
        (Ended(-11, "", ""), View("crash", said="signal 11")),
        (Ended(139, "", ""), View("crash", said="signal 11")),
        (Ended(-6, "", "Assertion failed: x\n"), View("crash", said="signal 6: Assertion failed: x")),
    ],
)
def test_answers(ended: Ended, view: View):
    assert view_of(PROGRAM, ended, 512) == view


@pytest.mark.parametrize("row", ['{"number": 1}', '{"start": "x", "size": 1}', '{"start": 1, "size": null}'])
def test_an_answer_that_is_none_is_a_crash(row: str):
    assert view_of(PROGRAM, Ended(0, f'{{"table": "gpt"}}\n{row}\n', ""), 512).state == "crash"


@pytest.mark.parametrize("status", [126, 127])
def test_a_program_that_cannot_be_started_is_a_crash(status: int):
    assert view_of(PROGRAM, Ended(status, "", "sh: cmd: not found\n"), 512).state == "crash"
