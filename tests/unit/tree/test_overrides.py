"""The overrides file, in both its forms. Compat tests read what bsdtar writes and compare with genext2fs."""

from __future__ import annotations

import os
import stat

import pytest

from imgwriter.errors import SourceError, SpecError
from imgwriter.tree import overrides
from imgwriter.tree.inventory import Inode
from tests.unit.tree.graph import at, shape, tree


def applied(text: str | bytes, onto=None, time: int = 7):
    root = tree(onto or {})
    text = text.encode() if isinstance(text, str) else text
    overrides.apply(root, overrides.parse(text, "over"), "over", time)
    return root


def facts(inode: Inode) -> tuple[str, int, int, tuple[int, int]]:
    return stat.filemode(inode.mode), inode.uid, inode.gid, inode.rdev


MTREE = r"""#mtree
# a comment
/set uid=0 gid=0
./etc/shadow    mode=0640 gname=shadow
./dev/console   type=char device=native,5,1 mode=0600
./dev/sda       type=block device=0x11110370 uid=1 \
                gid=6
./run/fifo      type=fifo mode=4622 time=12.34
./run/socket    type=socket
./bin/sh        type=link link=with\040space mode=0700
./opt/new       type=dir mode=1777 uid=4294967295
./gone          optional mode=0000
./etc/odd\012name mode=0111 size=5 sha256digest=00 nlink=1
"""


def test_mtree():
    onto = {
        "etc": {"shadow": b"x", "group": b"shadow:x:42:\n", "odd\nname": b""},
        "bin": "usr/bin",
        "usr": {"bin": {}},
    }
    root = applied(MTREE, onto)
    assert facts(at(root, "etc/shadow")) == ("-rw-r-----", 0, 42, (0, 0))
    assert facts(at(root, "dev/console")) == ("crw-------", 0, 0, (5, 1))
    assert facts(at(root, "dev/sda")) == ("brw-r--r--", 1, 6, (259, 70000))
    assert facts(at(root, "run/fifo")) == ("prwS-w--w-", 0, 0, (0, 0))
    assert at(root, "run/fifo").mtime_ns == 12_000_000_034
    assert stat.S_ISSOCK(at(root, "run/socket").mode)
    assert (at(root, "usr/bin/sh").target, at(root, "usr/bin/sh").size) == (b"with space", 10)
    assert facts(at(root, "usr/bin/sh"))[0] == "lrwxrwxrwx"
    assert facts(at(root, "opt/new")) == ("drwxrwxrwt", 4294967295, 0, (0, 0))
    assert at(root, "opt/new").mtime_ns == 7_000_000_000
    assert at(root, "opt").implicit
    assert facts(at(root, "etc/odd\nname"))[0] == "---x--x--x"
    assert "gone" not in shape(root)


def test_a_number_is_linuxs_dev_t():
    # Python's os.makedev is glibc's; below 2^32 that is the kernel's own form.
    for major, minor in ((0, 0), (4095, 1048575), (259, 70000), (8, 255), (8, 256)):
        root = applied(f"#mtree\nx type=char device={os.makedev(major, minor)}")
        assert at(root, "x").rdev == (major, minor)


NESTED = """\
/set type=file uid=1
. type=dir mode=0700
    a type=dir
        x mode=0600
        /unset uid
        b type=dir
            y mode=0611
        ..
    ..
    z mode=0644
..
"""


def test_mtree_with_names_in_directories():
    root = applied(NESTED, {"a": {"x": b"", "b": {"y": b""}}, "z": b""})
    assert facts(root)[:2] == ("drwx------", 1)
    assert facts(at(root, "a/x"))[:2] == ("-rw-------", 1)
    assert facts(at(root, "a/b"))[:2] == ("drwxr-xr-x", 0)
    assert facts(at(root, "a/b/y"))[:2] == ("-rw---x--x", 0)
    assert facts(at(root, "z"))[:2] == ("-rw-r--r--", 0)


TABLE = """\
# path    type mode uid gid major minor start inc count
/dev       d   750  0   0   -     -     -     -   -
/dev/mem   c   640  0   9   1     1     0     0   -
/dev/tty   c   666  0   5   4     0     0     1   3
/dev/hd    b   660  0   6   3     0     1     64  2
/pipe      p   622
/f         f   -    5   -
/all       r   700  1000 1000 - - - - -
"""


def test_table():
    root = applied(TABLE, {"f": b"", "all": {"d": {"x": b""}, "s": "x"}})
    assert facts(at(root, "dev"))[:1] == ("drwxr-x---",)
    assert facts(at(root, "dev/mem")) == ("crw-r-----", 0, 9, (1, 1))
    ttys = [facts(at(root, f"dev/tty{i}")) for i in range(3)]
    assert ttys == [("crw-rw-rw-", 0, 5, (4, i)) for i in range(3)]
    assert [at(root, "dev/hd1").rdev, at(root, "dev/hd2").rdev] == [(3, 0), (3, 64)]
    assert set(at(root, "dev").entries or ()) == {b"mem", b"tty0", b"tty1", b"tty2", b"hd1", b"hd2"}
    assert facts(at(root, "pipe"))[0] == "prw--w--w-"
    assert facts(at(root, "f"))[:3] == ("-rw-r--r--", 5, 0)
    assert [facts(at(root, path))[:2] for path in ("all", "all/d", "all/d/x", "all/s")] == [
        ("drwx------", 1000),
        ("drwx------", 1000),
        ("-rwx------", 1000),
        ("lrwxrwxrwx", 1000),
    ]


def test_a_device_of_the_tree_keeps_the_numbers_that_a_table_does_not_give():
    root = tree({})
    null = root.entries[b"null"] = Inode(stat.S_IFCHR | 0o600, rdev=(1, 3))
    for row in ("/null c 666", "/null c 666 0 0 - -"):
        overrides.apply(root, overrides.parse(row.encode(), "over"), "over", 0)
        assert facts(null) == ("crw-rw-rw-", 0, 0, (1, 3))
    overrides.apply(root, overrides.parse(b"/null c - - - 5 -", "over"), "over", 0)
    assert null.rdev == (5, 0)


@pytest.mark.parametrize("form", ["/a {} 755", "#mtree\n./a type={}", "/a d {}", "./a mode={}", "./a {}=1"])
def test_a_long_word_is_shown_by_its_start(form):
    with pytest.raises(SpecError, match=f"'{'x' * 40}\\.\\.\\.'") as refused:
        overrides.parse(form.format("x" * 100_000).encode(), "over")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("text", ["", "\n\n# nothing\n", "#mtree\n"])
def test_empty(text):
    assert shape(applied(text, {"a": b""})) == {"a": b""}


def test_the_root_and_an_implicit_directory_become_described():
    root = tree({}, implicit=True)
    overrides.apply(root, overrides.parse(b". mode=0700", "over"), "over", 9)
    assert (root.implicit, stat.S_IMODE(root.mode), root.mtime_ns) == (False, 0o700, 9_000_000_000)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a flags=none", "keyword 'flags' is not known"),
        ("a mode", "keyword 'mode' needs a value"),
        ("a mode=u+x", "mode 'u\\+x' is not a number"),
        ("a mode=10000", "mode '10000' is more than 4,095"),
        ("a uid=-1", "uid '-1' is not a number"),
        ("a uid=4294967296", "uid '4294967296' is more than"),
        ("a type=door", "type 'door' is none of"),
        ("a type=char device=native,5", "major 'native' is not a number|device"),
        ("a type=char device=native,4096,0", "major '4096' is more than 4,095"),
        ("a type=char device=native,1,1048576", "minor '1048576' is more than 1,048,575"),
        ("a time=now", "time 'now' is not"),
        ("../a mode=0", "no '..'"),
        ("..", "'..' leaves the top"),
    ],
)
def test_mtree_that_is_not_understood(line, why):
    with pytest.raises(SpecError, match=f"^over, line 3: .*({why})"):
        overrides.parse(f"#mtree\n\n{line}\n".encode(), "over")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("/a", "a row has"),
        ("/a x 755", "type 'x' is none of"),
        ("/a d 9", "mode '9' is not a number"),
        ("/a c 666 0 0 4 0 0 1 5 6", "a row has"),
        ("/a c 666 0 0 4 1048575 0 1 2", "the last minor is more than"),
        ("/../a d 755", "no '..'"),
    ],
)
def test_tables_that_are_not_understood(line, why):
    with pytest.raises(SpecError, match=f"^over, line 2: .*{why}"):
        overrides.parse(f"/b d 755\n{line}\n".encode(), "over")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/f d 755", "f is a file \\(a tree\\), not a directory"),
        ("/x f 644", "x is not in the tree"),
        ("/x r 644", "x is not in the tree"),
        ("./x mode=0", "x is not in the tree"),
        ("./x type=char", "needs its numbers"),
        ("/x c 666", "needs its numbers"),
        ("/x b 660 0 6 - - 0 1 4", "needs its numbers"),
        ("./x type=link", "needs a target"),
        ("./f/x type=dir", "f/x|passes through|ends at a file"),
        ("./f uname=nobody", "user 'nobody' is not in the image's /etc/passwd"),
    ],
)
def test_entries_that_do_not_fit_the_tree(text, why):
    with pytest.raises(SourceError, match=f"^over, line 1: .*({why})"):
        applied(text, {"f": b""})


def test_entries_stay_inside_the_image():
    root = applied("/out/x d 755", {"out": "../../../etc", "etc": {}})
    assert shape(root) == {"out": "../../../etc", "etc": {"x": {}}}
