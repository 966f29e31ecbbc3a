"""nix.derivation: the outputs of .drv files that Nix 2.8 wrote, and of damaged ones."""

from __future__ import annotations

import pytest

from imgwriter.errors import SourceError
from imgwriter.nix.derivation import outputs

# nix-instantiate: derivation { name = "two"; outputs = [ "out" "dev" ]; system = "x"; builder = "b\"\\\n"; }
DEV = b"/nix/store/3bb9brlcipndwv7jjksg523yjd6lvvvg-two-dev"
OUT = b"/nix/store/9mkmdhm7vw37cakzmznw68b1ljdkvwvw-two"
TWO = (
    rb"""Derive([("dev","%b","",""),("out","%b","","")],[],[],"x","b\"\\\n",[],[("builder","b\"\\\n"),"""
    rb"""("dev","%b"),("name","two"),("out","%b"),("outputs","out dev"),("system","x")])"""
) % (DEV, OUT, DEV, OUT)


def test_outputs_by_name() -> None:
    assert outputs(TWO, b"x.drv") == {b"dev": DEV, b"out": OUT}


def test_a_path_that_is_not_known_yet_is_empty() -> None:
    """As a content-addressed derivation has it, and one with the version of dynamic derivations."""
    assert outputs(b'Derive([("out","","r:sha256","")],[]', b"x.drv") == {b"out": b""}
    assert outputs(b'DrvWithVersion("xp-dyn-drv",[("out","","r:sha256","")],[', b"x.drv") == {b"out": b""}


def test_escapes() -> None:
    assert outputs(rb'Derive([("a\"\\\n\r\t\x","/p","","")],', b"x.drv") == {b'a"\\\n\r\tx': b"/p"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Derive(",
        b"Derive([])",
        b'Derive([("out","/p","")],',
        b'Derive([("out","/p","","")',
        b'Derive([("out","/p","","");',
        b'Derive([("out","/p","",""),("out","/q","","")],',
        b'Derive([("out","/p","","\\")],',
        b'Derive([("' + b"\\" * 100_000,
        b'Derive([("' + b"a" * 100_000,
        b"Derive " + TWO,
    ],
)
def test_what_is_no_derivation_is_refused(content: bytes) -> None:
    with pytest.raises(SourceError, match=r"x\.drv is no derivation from byte"):
        outputs(content, b"x.drv")
