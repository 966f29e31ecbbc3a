"""The menu that GRUB gets where a tree has none. That GRUB reads it, tests/compat/test_grub.py proves."""

from __future__ import annotations

import pytest

from imgwriter.bootloader.grub.config import MenuItem, grub_cfg

HEAD = """\
# Written by imgwriter; update-grub, or grub-mkconfig, writes another in its place.
set default=0
set timeout=5
if [ "$grub_platform" = efi ]; then
    insmod all_video
fi
"""


def test_a_menu():
    items = [
        MenuItem("Debian, Linux 6.1", b"boot/vmlinuz-6.1", b"boot/initrd.img-6.1", "root=UUID=1-2 ro quiet"),
        MenuItem("old", b"/boot/vmlinuz", None, "ro"),
    ]
    assert (
        grub_cfg(items, 5).decode()
        == HEAD
        + """\
menuentry 'Debian, Linux 6.1' {
    linux /boot/vmlinuz-6.1 root=UUID=1-2 ro quiet
    initrd /boot/initrd.img-6.1
}
menuentry old {
    linux /boot/vmlinuz ro
}
"""
    )


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        ("quiet console=ttyS0,115200", "serial --unit=0 --speed=115200"),
        ("console=tty0 console=ttyS1,115200n8", "serial --unit=1 --speed=115200"),
        ("console=ttyS3", "serial --unit=3 --speed=9600"),  # the kernel's own default
        ("console=ttyS4,115200", None),  # GRUB knows four ports by number
        ("console=tty0", None),
        ("xconsole=ttyS0", None),
    ],
)
def test_a_console_on_a_serial_port_has_the_menu_too(parameters, line):
    text = grub_cfg([MenuItem("x", b"k", None, parameters)], 5).decode()
    lines = ["terminal_input console serial", "terminal_output console serial"]
    assert [each for each in text.splitlines() if "serial" in each] == ([line, *lines] if line else [])


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("plain-1.0_x,y=z:/@+%", "plain-1.0_x,y=z:/@+%"),
        ("two words", "'two words'"),
        ('$HOME;`x`{}"\\', "'$HOME;`x`{}\"\\'"),
        ("it's", "'it'\\''s'"),
        ("", "''"),
        ("größer", "'größer'"),
    ],
)
def test_quoting(word, quoted):
    """Between single quotes nothing has a meaning but the quote itself. Spec: GRUB manual, "Quoting"."""
    assert f"menuentry {quoted} {{\n" in grub_cfg([MenuItem(word, b"k", None, "")], 5).decode()
