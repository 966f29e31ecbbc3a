"""What all tests share: Hypothesis's profiles, and an environment in which nothing of the host's shows."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# A failure in CI must be one that anybody can repeat: no random seed, no database of old examples.
# Machines differ in speed, so no profile has a deadline.
settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, max_examples=100, print_blob=True
)
settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile(
    "thorough", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))

# Variables that reach into what a build makes; a test that wants one sets it.
_OF_THE_HOST = ("SOURCE_DATE_EPOCH", "TZ", "NO_COLOR", "FORCE_COLOR")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run each test with umask 022 and without the host's variables."""
    for name in _OF_THE_HOST:
        monkeypatch.delenv(name, raising=False)
    before = os.umask(stat.S_IWGRP | stat.S_IWOTH)
    yield
    os.umask(before)
