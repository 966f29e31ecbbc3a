"""What goes in, judged by the tools it takes after: find, git, rsync, bsdtar, genext2fs."""

from __future__ import annotations

import os
import random
import re
import stat
import subprocess
from pathlib import Path

import pytest

from imgwriter.errors import SourceError
from imgwriter.tree import directory, overrides
from imgwriter.tree.chmod import Chmod
from imgwriter.tree.contents import Content, graft
from imgwriter.tree.exclude import Exclusion
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.tree.lookup import Lookup, made_directory
from imgwriter.tree.rules import SourceRules
from tests.oracles.tools import require, require_root, run

pytestmark = pytest.mark.compat

KEEP = SourceRules(owner=None)
LETTERS = {
    stat.S_IFREG: "f",
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "l",
    stat.S_IFCHR: "c",
    stat.S_IFBLK: "b",
    stat.S_IFIFO: "p",
}


def rows(root: Inode) -> dict[bytes, tuple]:
    """Return path -> (type, mode, uid, gid, size, nanoseconds, target), as find prints them."""
    return {
        path: (
            LETTERS.get(stat.S_IFMT(inode.mode), "?"),
            stat.S_IMODE(inode.mode),
            inode.uid,
            inode.gid,
            inode.size if inode.entries is None else 0,
            inode.mtime_ns,
            inode.target,
        )
        for path, inode in Inventory(root).walk()
    }


def find_rows(top: Path) -> dict[bytes, tuple]:
    command = [require("find"), top, "-printf", r"%P\0%y\0%m\0%U\0%G\0%s\0%T@\0%l\0"]
    fields = subprocess.run(command, check=True, capture_output=True).stdout.split(b"\0")[:-1]
    result = {}
    for start in range(0, len(fields), 8):
        path, kind, mode, uid, gid, size, time, target = fields[start : start + 8]
        seconds, _, fraction = time.partition(b".")
        nanoseconds = int(seconds) * 10**9 + int(fraction[:9])
        size = 0 if kind == b"d" else int(size)
        result[path] = (kind.decode(), int(mode, 8), int(uid), int(gid), size, nanoseconds, target)
    return result


@pytest.mark.parametrize("top", ["/etc", "/usr/share/perl", "/usr/bin"])
def test_a_scan_sees_what_find_sees(top):
    if top == "/etc":
        require_root()
    path = Path(top)
    if not path.is_dir():
        pytest.skip(f"{top} is not on this system")
    found = rows(directory.read(os.fsencode(path), KEEP))
    assert found == find_rows(path)


def test_the_comparison_with_find_objects(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    before = rows(directory.read(os.fsencode(tmp_path), KEEP))
    assert before == find_rows(tmp_path)
    os.utime(tmp_path / "file", ns=(0, 1))
    assert before != find_rows(tmp_path)


def test_what_setfacl_and_setcap_set_is_seen(tmp_path):
    require_root()
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").touch()
    run("setfacl", "-m", "u:33:rx,d:g:44:w", tmp_path / "dir")
    run("setcap", "cap_net_raw+ep", tmp_path / "file")
    root = directory.read(os.fsencode(tmp_path), SourceRules())
    entries = root.entries or {}
    assert set(entries[b"dir"].xattrs) == {b"system.posix_acl_access", b"system.posix_acl_default"}
    # Linux, uapi/linux/posix_acl_xattr.h: version 2, then tag, permissions, id of each: here ACL_USER r-x 33.
    assert entries[b"dir"].xattrs[b"system.posix_acl_access"].startswith(b"\x02\0\0\0\x01\0")
    assert b"\x02\0\x05\0\x21\0\0\0" in entries[b"dir"].xattrs[b"system.posix_acl_access"]
    # Linux, uapi/linux/capability.h: VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, then CAP_NET_RAW, bit 13.
    assert entries[b"file"].xattrs[b"security.capability"][:8] == b"\x01\0\0\x02\0\x20\0\0"


PATTERNS = [
    "*.c", "a", "a/*", "*/*", "/a", "a/b", "a/", "**/b", "a/**", "a/**/c", "/*", "/*/b", "?", "[ab]", "[!a]*",
    "b*/c", "*/", "a/*/", "**/a/b", r"\a", "[a-b].c", "a**c", "/a/b/c",
]  # fmt: skip


def test_excludes_as_git_ignores(tmp_path):
    """Every pattern on every path of three levels, files and directories."""
    require("git")
    run("git", "init", "-q", tmp_path)
    names = ("a", "b", "c", "a.c", "abc", ".d")
    paths: list[str] = []
    for first in names:
        for second in names:
            (tmp_path / first / second).mkdir(parents=True)
            (tmp_path / first / second / "a").touch()
            (tmp_path / first / second / "c").mkdir()
            paths += [f"{first}/{second}", f"{first}/{second}/a", f"{first}/{second}/c"]
        paths.append(first)
    for pattern in PATTERNS:
        (tmp_path / ".git/info/exclude").write_text(pattern + "\n")
        done = subprocess.run(
            [require("git"), "-C", tmp_path, "check-ignore", "--no-index", "--stdin"],
            input="\n".join(paths), capture_output=True, text=True,
        )  # fmt: skip
        exclusion = Exclusion([pattern.encode()])
        ours = {path for path in paths if exclusion.matches(path.encode(), (tmp_path / path).is_dir())}
        assert ours == set(done.stdout.split()), pattern
        assert done.returncode == (0 if ours else 1), done.stderr


CHMODS = [
    "644", "0755", "u+w", "go-rwx", "a+X", "u=rw,g=r,o=", "ug+s", "u-s", "a+t", "u=rwx", "g=rx", "a=rX",
    "o+w,o-x", "u=rws", "g=s", "a-t", "u+rwxs,g-w", "ugo=rx",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_modes_as_rsync_changes_them(tmp_path, kind):
    """rsync --chmod is the language's author; the start modes are every twelfth of the 4,096."""
    require("rsync")
    generator = random.Random(1)
    before = {f"{mode:04o}": mode for mode in generator.sample(range(4096), 40)}
    (tmp_path / "in").mkdir()
    for name, mode in before.items():
        path = tmp_path / "in" / name
        path.mkdir() if kind == "directory" else path.touch()
        path.chmod(mode | (0o700 if os.geteuid() else 0))
    for number, text in enumerate([*CHMODS, "D755,F644", "Dg+s,Fo-r"]):
        out = tmp_path / f"out{number}"
        run("rsync", "-rp", f"--chmod={text}", f"{tmp_path}/in/", out)
        for path in (tmp_path / "in").iterdir():
            expected = stat.S_IMODE((out / path.name).lstat().st_mode)
            assert stat.S_IMODE(Chmod.parse(text).apply(path.lstat().st_mode)) == expected, (text, path.name)


# The contents loop of the seed's script, as it stands, but for the antiquotation of Nix, and the one of
# nixpkgs since its pull request 226214, where a directory has a slash put behind it.
LOOP = r"""
set -eu; root=$1; shift
while (( $# )); do
  source=$1; target=$2; shift 2
  if [[ "$source" =~ '*' ]]; then
    mkdir -p $root/$target
    for fn in $source; do rsync -a --no-o --no-g "$fn" $root/$target/; done
  else
    mkdir -p $root/$(dirname $target)
    if ! [ -e $root/$target ]; then
      if [ -d "$source" ] && [ -z "${NEST-}" ]; then source=$source/; fi
      rsync -a --no-o --no-g $source $root/$target
    else
      echo "duplicate entry $target -> $source"
      exit 1
    fi
  fi
done
"""


@pytest.mark.parametrize("nest", [False, True])
@pytest.mark.parametrize(
    "contents",
    [
        [("src", "/opt")],
        [("src/sub", "opt/deep/er")],
        [("src/a", "/opt/b"), ("src/sub", "/opt/c")],
        [("src/*", "/opt")],
        [("src/*", "/opt"), ("other/*", "/opt")],
        [("s*", "/")],
        [("s*/", "/opt")],
        [("*/sub", "/opt")],
        [("lin*/", "/opt")],
        [("link", "/opt")],
        [("flink", "/opt")],
        [("src/sub", "/x"), ("src/*", "/x/y")],
        [("src/a", "/x"), ("src", "/x")],
        [("src/a", "/x/y"), ("src", "/x")],
        [("src", "/x"), ("src/a", "/x/sub/z")],
        [("none", "/x")],
        [("none*", "/x")],
    ],
)
def test_contents_as_the_seed_stages_them(tmp_path, contents, nest):
    require("rsync")
    for path in ("src/sub/x", "src/a", "src/.hidden", "other/a", "other/sub/z"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
        (tmp_path / path).chmod(0o640)
    (tmp_path / "src/sub").chmod(0o711)
    (tmp_path / "link").symlink_to("src")
    (tmp_path / "flink").symlink_to("src/a")
    staged = tmp_path / "root"
    staged.mkdir()
    pairs = [(f"{tmp_path}/{source}", target) for source, target in contents]
    done = subprocess.run(
        [require("bash"), "-c", LOOP, "bash", staged, *(word for pair in pairs for word in pair)],
        capture_output=True, env={**os.environ, **({"NEST": "1"} if nest else {})},
    )  # fmt: skip
    root = made_directory("the image")
    try:
        graft(root, [Content(*pair) for pair in pairs], KEEP, nest)
    except SourceError as error:  # then the script must have refused as well, in the same words
        assert done.returncode != 0
        if b"duplicate entry" in done.stdout:
            assert str(error).startswith(done.stdout.decode().rstrip())
        return
    assert done.returncode == 0, done.stderr
    ours = {path: (row[0], row[1], row[4], row[6]) for path, row in rows(root).items() if path}
    theirs = find_rows(staged)
    assert ours == {path: (row[0], row[1], row[4], row[6]) for path, row in theirs.items() if path}
    times = {path: row[5] for path, row in rows(root).items() if row[0] == "f"}
    assert times == {path: row[5] for path, row in theirs.items() if row[0] == "f"}


def test_bsdtars_mtree_gives_a_stripped_tree_its_metadata_back(tmp_path):
    require_root()
    for path, mode, uid in (
        ("a", 0o4755, 5),
        ("d", 0o2750, 6),
        ("d/sp ace\n\\#", 0o600, 7),
        ("d/é", 0o640, 8),
    ):
        if path == "d":
            (tmp_path / path).mkdir()
        else:
            (tmp_path / path).touch()
        os.chown(tmp_path / path, uid, uid + 1)
        (tmp_path / path).chmod(mode)
        os.utime(tmp_path / path, ns=(0, uid * 10**9 + 7))
    (tmp_path / "l").symlink_to("some where")
    os.mknod(tmp_path / "c", stat.S_IFCHR | 0o600, os.makedev(259, 70000))
    os.mkfifo(tmp_path / "p")
    text = run("bsdtar", "-C", tmp_path, "--format=mtree", "--options=!device", "-cf", "-", ".")
    text += "./c device=native,259,70000\n./n type=char mode=0600 uid=0 gid=0 device=native,259,70000\n"
    expected = rows(directory.read(os.fsencode(tmp_path), KEEP))
    root = directory.read(os.fsencode(tmp_path), SourceRules())
    for inode in Inventory(root).inodes:
        if inode.entries is None and not stat.S_ISLNK(inode.mode):
            inode.mode = stat.S_IFMT(inode.mode)
    entries = overrides.parse(text.encode("utf-8", "surrogateescape"), "mtree")
    overrides.apply(root, entries, "mtree", 1)
    made = Lookup(root).find(b"n")
    assert (made.rdev, made.mode) == ((259, 70000), stat.S_IFCHR | 0o600)
    del (root.entries or {})[b"n"]
    assert rows(root) == expected


TABLE = """\
/dev      d 755 0 0 - - - - -
/dev/mem  c 640 3 9 1 1 0 0 -
/dev/tty  c 666 0 5 4 0 0 1 4
/dev/hda  b 660 0 6 3 0 0 16 3
/pipe     p 622 1 2 - - - - -
/dir      d 1777 4 5 - - - - -
"""


def test_a_device_table_as_genext2fs_reads_it(tmp_path):
    (tmp_path / "table").write_text(TABLE)
    (tmp_path / "empty").mkdir()
    run("genext2fs", "-b", "512", "-d", tmp_path / "empty", "-D", tmp_path / "table", tmp_path / "image")
    root = made_directory("the image")
    overrides.apply(root, overrides.parse(TABLE.encode(), "table"), "table", 1)
    seen = 0
    for path, inode in Inventory(root).walk():
        if not path:
            continue
        seen += 1
        told = run("debugfs", "-R", f"stat /{path.decode()}", tmp_path / "image")
        assert int(re.search(r"Mode: +(\d+)", told)[1], 8) == stat.S_IMODE(inode.mode)
        assert [int(number) for number in re.search(r"User: +(\d+) +Group: +(\d+)", told).groups()] == [
            inode.uid,
            inode.gid,
        ]
        device = re.search(r"Device major/minor number: (\d+):(\d+)", told)
        assert (tuple(map(int, device.groups())) if device else (0, 0)) == inode.rdev
    assert seen == 11
