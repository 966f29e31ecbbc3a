"""What an installer leaves behind: the list, and how it is changed."""

from __future__ import annotations

import pytest

from imgwriter.errors import SpecError
from imgwriter.install.noise import Noise


@pytest.mark.parametrize(
    ("rules", "path", "dropped"),
    [
        ("default", b"etc/machine-id", True),
        ("default", b"boot/loader/random-seed", True),
        ("default", b"var/lib/systemd/random-seed", True),
        ("default", b"var/log/apt/history.log", True),
        ("default", b"nix/store/abc-python/lib/__pycache__/x.pyc", True),
        ("default", b"boot/grub/grub.cfg", False),
        ("default", b"etc/machine-idx", False),
        ("default", b"home/var/log/x", False),
        ("", b"etc/machine-id", True),
        ("none", b"etc/machine-id", False),
        ("-/var/log/", b"var/log/x", False),
        ("-/var/log/", b"etc/machine-id", True),
        ("+*.bak", b"boot/grub.cfg.bak", True),
        ("none,+/boot/*.old", b"boot/x.old", True),
        ("none,+/boot/*.old", b"boot/grub/x.old", False),
        ("+*.bak,-/boot/keep.bak", b"boot/keep.bak", False),
    ],
)
def test_the_last_word_that_matches_decides(rules: str, path: bytes, dropped: bool) -> None:
    assert Noise.parse(rules).drops(path, False) is dropped


def test_a_directory_itself_is_noise_where_a_pattern_ends_in_a_slash() -> None:
    assert Noise.parse("default").drops(b"var/log", True)
    assert not Noise.parse("default").drops(b"var/log", False)


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ("all", "'all' is none of default, none, +PATTERN, -PATTERN"),
        ("+a,none", "'none' comes first or not at all"),
        ("+", "'+' is none of"),
        ("+[z-a]", "'[z-a]' is not a pattern"),
        ("+/", "'/' is not a pattern"),
    ],
)
def test_what_is_no_list_is_refused(rules: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        Noise.parse(rules)
    assert says in str(caught.value)
