"""``imgwriter schema``: the JSON Schema of spec files, for editors and validators."""

from __future__ import annotations

import argparse
from typing import Any

from imgwriter.commands.parser import Formatter

DESCRIPTION = """\
Print the JSON Schema (2020-12) of the files that 'imgwriter build SPEC' reads,
for editors and validators. docs/spec-file.md describes the keys.
"""

EPILOG = """\
examples
  imgwriter schema > imgwriter.schema.json
  imgwriter schema | jq '.properties | keys'
"""


def add_schema(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    commands.add_parser(
        "schema",
        help="print the JSON Schema of spec files",
        usage="imgwriter schema",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
