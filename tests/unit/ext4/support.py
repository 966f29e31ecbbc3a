"""What the tests of ext4 share."""

from __future__ import annotations

from typing import Any

from imgwriter.ext4 import Parameters

UUID = bytes.fromhex("11111111222243338444555555555555")
HASH_SEED = bytes.fromhex("11111111222243338444555555555556")


def parameters(**more: Any) -> Parameters:
    """Return parameters with the identifiers of the vectors."""
    return Parameters(**{"uuid": UUID, "hash_seed": HASH_SEED, "label": b"nixos"} | more)
