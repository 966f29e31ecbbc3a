"""Whole images are, to the byte, what they were; see PROVENANCE.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden import images


@pytest.mark.parametrize("name", images.REQUESTS)
def test_the_image_has_not_changed(name: str, tmp_path: Path) -> None:
    assert images.build(name, tmp_path) == images.read()[name]


def test_each_request_gives_an_image_of_its_own() -> None:
    sums = images.read()
    assert sums.keys() == images.REQUESTS.keys()
    assert len(set(sums.values())) == len(sums)
