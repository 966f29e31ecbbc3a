"""Files of the host that a guest needs: what is said where they cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from imgwriter.errors import SourceError
from imgwriter.guest.busybox import find_busybox
from imgwriter.guest.files import HostFiles
from imgwriter.guest.kernel import find_kernel
from tests.unit.guest.privileges import unprivileged


@pytest.fixture
def path() -> Iterator[Path]:
    """A file in a folder that everybody may look into."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        found = Path(name, "file")
        found.write_text("x")
        yield found


@pytest.mark.parametrize(
    ("find", "option"),
    [
        (lambda path: find_kernel(None, kernel=path), "--vm-kernel"),
        (lambda path: find_busybox(None, "x86_64", path), "--vm-busybox"),
        (lambda path: HostFiles(os.path.dirname(path)).data(b"file"), "--vm-modules"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_option(
    find: Callable[[bytes], object], option: str, path: Path
) -> None:
    path.chmod(0)
    with unprivileged(), pytest.raises(SourceError) as caught:
        find(os.fsencode(path))
    said = str(caught.value)
    assert "cannot be read (Permission denied)" in said and option in said and str(path) in said
    assert caught.value.path == os.fsencode(path)


def test_a_folder_that_cannot_be_looked_into(path: Path) -> None:
    """That is not the same as a file that is missing."""
    path.parent.chmod(0)
    with unprivileged(), pytest.raises(SourceError, match="cannot be read"):
        find_kernel(None, kernel=os.fsencode(path))
    path.parent.chmod(0o700)
