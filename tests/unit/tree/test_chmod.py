"""--chmod's language. The compat test beside it compares with chmod(1)."""

from __future__ import annotations

import stat

import pytest

from imgwriter.errors import SpecError
from imgwriter.tree.chmod import Chmod

F, D, L = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("644", F | 0o4755, F | 0o644),
        ("0644", D | 0o755, D | 0o644),
        (0o755, F, F | 0o755),
        (0, F | 0o777, F),
        ("7777", F, F | 0o7777),
        ("D755,F644", F | 0o600, F | 0o644),
        ("D755,F644", D | 0o700, D | 0o755),
        ("u+w", F | 0o444, F | 0o644),
        ("go-rwx", F | 0o777, F | 0o700),
        ("u=rw,g=r,o=", F | 0o777, F | 0o640),
        ("a+X", F | 0o644, F | 0o644),
        ("a+X", F | 0o744, F | 0o755),
        ("a+X", D | 0o644, D | 0o755),
        ("+w", F, F | 0o222),
        ("ug+s", F | 0o755, F | 0o6755),
        ("u=rwx", F | 0o4000, F | 0o4700),
        ("u-s", F | 0o6755, F | 0o2755),
        ("+t", D | 0o777, D | 0o1777),
        ("Dg+s", F | 0o644, F | 0o644),
        ("Fu=", D | 0o700, D | 0o700),
        ("777", L | 0o777, L | 0o777),
        ("000", L | 0o777, L | 0o777),
    ],
)
def test_apply(text, before, after):
    assert Chmod.parse(text).apply(before) == after


@pytest.mark.parametrize("text", ["", "8", "u", "u+w,", "u+y", "z+w", "77777", "rw-r--r--", -1, 0o10000 * 8])
def test_refused(text):
    with pytest.raises(SpecError, match="neither octal nor as in rsync's --chmod"):
        Chmod.parse(text)
