"""nix.prepare_root: every step of nixos-prepare-root and nixos-install, and what a store path looks like."""

from __future__ import annotations

import stat
from collections.abc import Mapping

import pytest

from imgwriter.errors import SourceError
from imgwriter.extent import Bytes
from imgwriter.nix.prepare_root import RootRequest, RootVariant, fill, prepare, store_entries
from imgwriter.tree.inventory import Inode, Inventory
from tests.unit.tree.graph import Shape, at, content, tree

BASH = b"/nix/store/" + b"b" * 32 + b"-bash-5.1"
CHANNEL = b"/nix/store/" + b"c" * 32 + b"-nixos-1.0"
SOFTWARE = b"/nix/store/" + b"s" * 32 + b"-system-path"
SYSTEM = b"/nix/store/" + b"0" * 32 + b"-nixos-system-test-1.0"


def program(text: bytes = b"#!") -> Inode:
    return Inode(stat.S_IFREG | 0o755, size=len(text), data=Bytes(text))


def closure(**changes: Shape | None) -> dict[bytes, Inode]:
    """Return a small closure; ``changes`` replace what is in a package, or leave it out (None)."""
    shapes: dict[str, tuple[bytes, Shape | None]] = {
        "bash": (BASH, {"bin": {"bash": program(), "sh": "bash"}}),
        "channel": (CHANNEL, {"nixos": {"default.nix": b"{ }"}}),
        "software": (SOFTWARE, {"bin": {"sh": BASH.decode() + "/bin/sh"}}),
        "system": (SYSTEM, {"init": program(), "sw": SOFTWARE.decode()}),
    }
    for name, shape in changes.items():
        shapes[name] = (shapes[name][0], shape)
    return {path: tree(shape) for path, shape in shapes.values() if shape is not None}


def request(store: Mapping[bytes, Inode] | None = None, **options: object) -> RootRequest:
    options = {"toplevel": SYSTEM, "database": b"db", "time": 5, **options}
    return RootRequest(store=closure() if store is None else store, **options)  # type: ignore[arg-type]


def prepared(before: Shape | None = None, **options: object) -> Inode:
    """Return a root that was prepared; ``before`` is what was in it."""
    root = tree(before if before is not None else {})
    prepare(root, request(**options))  # type: ignore[arg-type]
    return root


def listing(root: Inode) -> dict[str, str]:
    """Return everything but what is in store paths: mode, and where a symlink points to."""
    found = {}
    for path, inode in Inventory(root).walk():
        name = path.decode()
        if path and not name.startswith("nix/store/"):
            link = f" -> {inode.target.decode()}" if stat.S_ISLNK(inode.mode) else ""
            found[name] = f"{stat.filemode(inode.mode)}{link}"
    return found


# By the text of nixos-prepare-root.sh (nixpkgs 324ec9f4): install -m MODE -d, ln -s, nix-env --set, touch.
PREPARED = {
    "bin": "drwxr-xr-x",
    "bin/sh": f"lrwxrwxrwx -> {BASH.decode()}/bin/sh",
    "dev": "drwxr-xr-x",
    "etc": "drwxr-xr-x",
    "etc/NIXOS": "-rw-r--r--",
    "etc/nixos": "drwxr-xr-x",
    "home": "drwxr-xr-x",
    "nix": "drwxr-xr-x",
    "nix/store": "drwxrwxr-t",
    "nix/var": "drwxr-xr-x",
    "nix/var/log": "drwxr-xr-x",
    "nix/var/log/nix": "drwxr-xr-x",
    "nix/var/log/nix/drvs": "drwxr-xr-x",
    "nix/var/nix": "drwxr-xr-x",
    "nix/var/nix/db": "drwxr-xr-x",
    "nix/var/nix/db/db.sqlite": "-rw-r--r--",
    "nix/var/nix/db/schema": "-rw-r--r--",
    "nix/var/nix/gcroots": "drwxr-xr-x",
    "nix/var/nix/profiles": "drwxr-xr-x",
    "nix/var/nix/profiles/nixup": "drwxrwxrwt",
    "nix/var/nix/profiles/per-user": "drwxrwxrwt",
    "nix/var/nix/profiles/per-user/root": "drwxr-xr-x",
    "nix/var/nix/profiles/system": "lrwxrwxrwx -> system-1-link",
    "nix/var/nix/profiles/system-1-link": f"lrwxrwxrwx -> {SYSTEM.decode()}",
    "nix/var/nix/temproots": "drwxr-xr-x",
    "nix/var/nix/userpool": "drwxr-xr-x",
    "proc": "drwxr-xr-x",
    "root": "drwx------",
    "root/.nix-defexpr": "drwx------",
    "root/.nix-defexpr/channels": "lrwxrwxrwx -> /nix/var/nix/profiles/per-user/root/channels",
    "run": "drwxr-xr-x",
    "run/current-system": "lrwxrwxrwx -> /nix/var/nix/profiles/system",
    "sys": "drwxr-xr-x",
    "tmp": "drwxrwxrwt",
    "tmp/root": "drwxr-xr-x",
    "var": "drwxr-xr-x",
    "var/run": "lrwxrwxrwx -> /run",
}

CHANNELS = {
    "nix/var/nix/profiles/per-user/root/channels": "lrwxrwxrwx -> channels-1-link",
    "nix/var/nix/profiles/per-user/root/channels-1-link": f"lrwxrwxrwx -> {CHANNEL.decode()}",
}

# By the text of nixos-install.sh, and what LocalStore makes when it opens a store for the first time.
INSTALLED = {
    "etc": "drwxr-xr-x",
    "etc/NIXOS": "-rw-r--r--",
    "etc/nixos": "drwxr-xr-x",
    "nix": "drwxr-xr-x",
    "nix/store": "drwxr-xr-x",
    "nix/var": "drwxr-xr-x",
    "nix/var/nix": "drwxr-xr-x",
    "nix/var/nix/db": "drwxr-xr-x",
    "nix/var/nix/db/db.sqlite": "-rw-r--r--",
    "nix/var/nix/db/schema": "-rw-r--r--",
    "nix/var/nix/gcroots": "drwxr-xr-x",
    "nix/var/nix/gcroots/per-user": "drwxr-xr-x",
    "nix/var/nix/profiles": "drwxr-xr-x",
    "nix/var/nix/profiles/per-user": "drwxr-xr-x",
    "nix/var/nix/profiles/system": "lrwxrwxrwx -> system-1-link",
    "nix/var/nix/profiles/system-1-link": f"lrwxrwxrwx -> {SYSTEM.decode()}",
    "nix/var/nix/temproots": "drwxr-xr-x",
}


def test_prepare_root_step_by_step() -> None:
    assert listing(prepared()) == PREPARED


def test_prepare_root_with_a_channel() -> None:
    assert listing(prepared(channel=CHANNEL)) == {**PREPARED, **CHANNELS}


def test_install_makes_less() -> None:
    assert listing(prepared(variant=RootVariant.INSTALL)) == INSTALLED
    with_channel = listing(prepared(variant=RootVariant.INSTALL, channel=CHANNEL))
    assert with_channel == {
        **INSTALLED,
        **CHANNELS,
        "nix/var/nix/profiles/per-user/root": "drwxr-xr-x",
        "root": "drwxr-xr-x",
        "root/.nix-defexpr": "drwx------",
        "root/.nix-defexpr/channels": PREPARED["root/.nix-defexpr/channels"],
    }
    assert stat.S_ISDIR(at(prepared(variant=RootVariant.INSTALL), "nix/store/.links").mode)


def test_what_is_made_is_roots_and_has_the_time_of_the_build() -> None:
    root = prepared()
    assert {(inode.uid, inode.gid) for inode in Inventory(root).inodes} == {(0, 0)}
    assert content(at(root, "nix/var/nix/db/db.sqlite")) == b"db"
    assert content(at(root, "nix/var/nix/db/schema")) == b"10"
    for path in ("etc/NIXOS", "var/run", "nix/var/nix/db/db.sqlite", "nix/var/nix/profiles/system"):
        assert at(root, path).mtime_ns == 5 * 10**9
    assert at(root, "run").implicit  # gets the build's time with all other directories that nobody described


def test_a_store_alone_needs_no_system() -> None:
    root = tree({})
    fill(root, closure(), b"db", 5)
    found = listing(root)
    directories = {"nix", "nix/store", "nix/var", "nix/var/nix", "nix/var/nix/db"}
    files = {"nix/var/nix/db/db.sqlite", "nix/var/nix/db/schema"}
    assert found == {path: PREPARED[path] for path in directories | files}
    assert len(at(root, "nix/store").entries or {}) == len(closure())


def test_every_path_of_the_closure_is_in_the_store() -> None:
    store = at(prepared(), "nix/store").entries or {}
    assert [b"/nix/store/" + name for name in store] == sorted([BASH, CHANNEL, SOFTWARE, SYSTEM])


# --- What is there before ---


def test_contents_stay_and_directories_get_the_modes_of_the_steps() -> None:
    before = {"root": {"note": b"n"}, "tmp": {}, "etc": {"hosts": b"h"}, "var": {"run": "elsewhere"}}
    root = prepared(before)
    assert content(at(root, "root/note")) == b"n" and content(at(root, "etc/hosts")) == b"h"
    assert {path: mode for path, mode in listing(root).items() if path in PREPARED} == PREPARED


def test_steps_follow_symlinks_of_the_tree() -> None:
    root = prepared({"bin": "usr/bin", "usr": {"bin": {}}})
    assert at(root, "usr/bin/sh").target == BASH + b"/bin/sh"


def test_a_file_that_is_touched_stays() -> None:
    assert content(at(prepared({"etc": {"NIXOS": b"mine"}}), "etc/NIXOS")) == b"mine"


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ({"var": {"run": {}}}, "/var/run is a directory in a tree, and a NixOS has a symlink there"),
        ({"etc": {"NIXOS": {}}}, "/etc/NIXOS is a directory in a tree, and a NixOS has a file there"),
        ({"etc": b"file"}, "etc ends at a file, not a directory"),
        (
            {"nix": {"store": {BASH[11:].decode(): b""}}},
            "-bash-5.1 is in the closure and in the tree from a tree",
        ),
    ],
)
def test_what_stands_in_the_way_is_refused(before: Shape, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        prepared(before)


def test_paths_outside_the_closure_are_refused() -> None:
    store = closure()
    del store[CHANNEL]
    with pytest.raises(SourceError, match=r"-nixos-1\.0 is not in the closure") as caught:
        prepared(store=store, channel=CHANNEL)
    assert caught.value.path == CHANNEL
    with pytest.raises(SourceError, match=r"-nixos-system-test-1\.0 is not in the closure"):
        prepared(store=closure(system=None))


# --- /bin/sh ---


def test_the_shell_is_that_of_the_system() -> None:
    other = b"/nix/store/" + b"d" * 32 + b"-dash-0.5"
    store = {
        **closure(software={"bin": {"sh": other.decode() + "/bin/dash"}}),
        other: tree({"bin": {"dash": program()}}),
    }
    assert at(prepared(store=store), "bin/sh").target == other + b"/bin/dash"


def test_a_shell_that_is_no_link_is_named_by_the_system() -> None:
    store = closure(software={"bin": {"sh": program()}})
    assert at(prepared(store=store), "bin/sh").target == SYSTEM + b"/sw/bin/sh"


def test_else_it_is_a_bash_of_the_closure() -> None:
    newer = b"/nix/store/" + b"a" * 32 + b"-bash-interactive-5.2"
    notes = b"/nix/store/" + b"a" * 32 + b"-bash-completion-2.11"
    store = {
        **closure(software={}),
        newer: tree({"bin": {"sh": program()}}),
        notes: tree({"bin": {"sh": program()}}),
    }
    assert at(prepared(store=store), "bin/sh").target == BASH + b"/bin/sh"
    del store[BASH]
    assert at(prepared(store=store), "bin/sh").target == newer + b"/bin/sh"


@pytest.mark.parametrize("shell", [BASH, BASH + b"/bin/sh", BASH + b"/bin/bash"])
def test_a_shell_may_be_named(shell: bytes) -> None:
    expected = shell + b"/bin/sh" if shell == BASH else shell
    assert at(prepared(store=closure(software={}), shell=shell), "bin/sh").target == expected


@pytest.mark.parametrize(
    "shell", [BASH + b"/bin", BASH + b"/bin/none", SYSTEM, CHANNEL + b"/nixos/default.nix"]
)
def test_a_shell_that_is_no_program_is_refused(shell: bytes) -> None:
    with pytest.raises(SourceError, match="is not in the closure, or no program"):
        prepared(shell=shell)


def test_without_a_shell_there_is_no_root_but_an_installed_one() -> None:
    store = closure(software={}, bash={"bin": {"sh": b"not executable"}})
    with pytest.raises(
        SourceError, match=r"has no shell for /bin/sh.* --shell, or choose --root-variant install"
    ):
        prepared(store=store)
    assert "bin" not in listing(prepared(store=store, variant=RootVariant.INSTALL))


# --- configuration.nix ---


@pytest.mark.parametrize(
    ("mode", "copied"), [(0o444, 0o444), (0o644, 0o644), (0o6777, 0o755), (0o600, 0o600)]
)
def test_the_configuration_is_copied_as_cp_does(mode: int, copied: int) -> None:
    given = Inode(stat.S_IFREG | mode, 1000, 100, 9, size=3, data=Bytes(b"{ }"), xattrs={b"user.a": b"b"})
    made = at(
        prepared({"etc": {"nixos": {"configuration.nix": "old"}}}, configuration=given),
        "etc/nixos/configuration.nix",
    )
    assert (made.mode, made.uid, made.gid, made.mtime_ns) == (stat.S_IFREG | copied, 0, 0, 5 * 10**9)
    assert content(made) == b"{ }" and not made.xattrs
    assert given.uid == 1000


def test_a_configuration_is_a_file() -> None:
    with pytest.raises(SourceError, match=r"configuration\.nix would be a directory, from a tree"):
        prepared(configuration=tree({}))


# --- The store ---


def test_store_paths_are_as_nix_has_them() -> None:
    odd = Inode(stat.S_IFDIR | 0o2750, 7, 8, 9, xattrs={b"user.a": b"b"})
    odd.entries = {
        b"plain": Inode(stat.S_IFREG | 0o4675, 1, 2, 3, size=1, data=Bytes(b"x")),
        b"program": Inode(stat.S_IFREG | 0o700, 1, 2, 3, size=1, data=Bytes(b"x")),
        b"link": Inode(stat.S_IFLNK | 0o644, 1, 2, 3, size=1, target=b"x"),
        b"below": tree({"empty": {}}, implicit=True),
    }
    top = store_entries({BASH: odd})[BASH[11:]]
    modes = {path.decode(): inode.mode for path, inode in Inventory(top).walk()}
    assert modes == {
        "": stat.S_IFDIR | 0o555,
        "plain": stat.S_IFREG | 0o444,
        "program": stat.S_IFREG | 0o555,
        "link": stat.S_IFLNK | 0o777,
        "below": stat.S_IFDIR | 0o555,
        "below/empty": stat.S_IFDIR | 0o555,
    }
    for inode in Inventory(top).inodes:
        assert (inode.uid, inode.gid, inode.mtime_ns, dict(inode.xattrs)) == (0, 0, 10**9, {})
        assert not inode.implicit


@pytest.mark.parametrize("top", [b"a file", "symlink"])
def test_a_store_path_may_be_a_file_or_a_symlink(top: Shape) -> None:
    assert stat.S_IMODE(store_entries({BASH: tree(top)})[BASH[11:]].mode) == (
        0o444 if top == b"a file" else 0o777
    )


def test_hard_links_are_broken_within_a_path_and_between_paths() -> None:
    shared = Inode(stat.S_IFREG | 0o644, size=1, data=Bytes(b"x"))
    one, two = tree({"a": shared, "b": shared}), tree({"c": shared})
    entries = store_entries({BASH: one, CHANNEL: two})
    found = [at(entries[BASH[11:]], "a"), at(entries[BASH[11:]], "b"), at(entries[CHANNEL[11:]], "c")]
    assert len({id(inode) for inode in found}) == 3
    assert {(inode.mode, content(inode)) for inode in found} == {(stat.S_IFREG | 0o444, b"x")}
    whole = tree({name.decode(): inode for name, inode in entries.items()})
    assert {inode.nlink for inode in Inventory(whole).inodes} == {1}


def test_holes_are_filled() -> None:
    sparse = Inode(stat.S_IFREG | 0o644, size=9000, data=Bytes(b"x" * 4096 + bytes(4904)), runs=((0, 4096),))
    empty = Inode(stat.S_IFREG | 0o644, size=5000)
    top = store_entries({BASH: tree({"sparse": sparse, "empty": empty, "none": b""})})[BASH[11:]]
    assert at(top, "sparse").data_runs() == ((0, 9000),)
    assert at(top, "empty").data_runs() == ((0, 5000),) and content(at(top, "empty")) == bytes(5000)
    assert at(top, "none").size == 0


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_what_a_store_cannot_hold_is_refused_by_name(kind: int) -> None:
    with pytest.raises(SourceError, match=r"bash-5\.1/dev/node is a .*, and a store holds only") as caught:
        store_entries({BASH: tree({"dev": {"node": Inode(kind | 0o600)}})})
    assert caught.value.path == BASH + b"/dev/node"


@pytest.mark.parametrize("path", [b"/nix/store/x", b"/usr/lib", BASH + b"/bin"])
def test_what_is_no_store_path_is_refused(path: bytes) -> None:
    with pytest.raises(SourceError):
        store_entries({path: tree({})})
