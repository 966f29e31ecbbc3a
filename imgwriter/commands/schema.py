"""``imgwriter schema``: the JSON Schema of spec files, for editors and validators."""

from __future__ import annotations

import argparse
from typing import Any

from imgwriter.terminal import printed

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
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of spec files",
        usage="imgwriter schema",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")


def run(_arguments: argparse.Namespace) -> int:
    """Print the schema, and return the exit status."""
    import json

    from imgwriter.spec.schema import json_schema

    return printed(json.dumps(json_schema(), indent=2, sort_keys=True))
