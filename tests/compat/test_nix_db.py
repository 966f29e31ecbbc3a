"""Nix itself on what imgwriter makes for it: the database's rows, the prepared root, the channel."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from pathlib import Path
from typing import NamedTuple

import pytest

from imgwriter.nix.channel import read_channel
from imgwriter.nix.nar import nar_hash
from imgwriter.nix.path_info import PathInfo
from imgwriter.nix.prepare_root import RootRequest, RootVariant, prepare, store_entries
from imgwriter.nix.store_db import NixVersion, database
from imgwriter.tree import directory
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.tree.lookup import made_directory
from imgwriter.tree.rules import SourceRules
from tests.oracles.nix import Nix
from tests.oracles.tools import run
from tests.unit.nix.sqlite import nix_rows, open_read_only, problems

pytestmark = pytest.mark.compat

DATABASE = "nix/var/nix/db/db.sqlite"
PROFILES = "nix/var/nix/profiles"
REGISTERED = 4  # where registrationTime stands in a row of ValidPaths: rowid, id, path, hash ...


class Closure(NamedTuple):
    """A closure that Nix built, with the derivations it is built by.

    Attributes:
        nix: The Nix that has it.
        toplevel, channel: Store paths.
        dump: ``--dump-db`` of the whole store.
        drv: Store path of toplevel's derivation.
    """

    nix: Nix
    toplevel: str
    channel: str
    dump: str
    drv: str

    def of(self, *paths: str) -> list[PathInfo]:
        """Return what Nix knows of the closure of some paths."""
        wanted = {path.encode() for path in self.nix.requisites(*paths)}
        return [info for info in infos(self.dump) if info.path in wanted]

    def trees(self, closure: list[PathInfo]) -> dict[bytes, Inode]:
        """Return the trees of store paths, read from Nix's own store."""
        return {i.path: directory.read_entry(os.fsencode(self.real(i.path)), SourceRules()) for i in closure}

    def real(self, path: bytes) -> Path:
        """Return where a store path lies on the host."""
        return self.nix.real(path.decode())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Closure:
    nix = Nix(tmp_path_factory.mktemp("nix"))
    paths = nix.build_closure("toplevel", "channel")
    drv = nix.path_info(paths["toplevel"])[0]["deriver"]
    return Closure(nix, paths["toplevel"], paths["channel"], nix.dump_db(), drv)


def infos(dump: str) -> list[PathInfo]:
    """Read ``--dump-db``: path, hash, size, deriver, number of references, references."""
    lines = iter(dump.encode().splitlines())
    found = []
    for path in lines:
        digest, size, deriver = bytes.fromhex(next(lines).decode()), int(next(lines)), next(lines)
        references = sorted(next(lines) for _ in range(int(next(lines))))
        found.append(PathInfo(path, digest, size, tuple(references), deriver or None))
    return found


def derivations(built: Closure, closure: list[PathInfo]) -> dict[bytes, bytes]:
    """Return what is in the .drv files of a closure."""
    return {i.path: built.real(i.path).read_bytes() for i in closure if i.path.endswith(b".drv")}


def timeless(rows: dict[str, list[tuple[object, ...]]]) -> dict[str, list[tuple[object, ...]]]:
    """Return rows without the one value that is the clock's in Nix's own."""
    cut = [row[:REGISTERED] + row[REGISTERED + 1 :] for row in rows["ValidPaths"]]
    return {**rows, "ValidPaths": cut}


def lay_out(root: Inode, place: Path) -> None:
    """Write a tree to the host as the image would show it; owners are the builder's."""
    for path, inode in Inventory(root).walk():
        target = os.path.join(os.fsencode(place), path)
        if stat.S_ISDIR(inode.mode):
            os.makedirs(target, exist_ok=True)
        elif stat.S_ISLNK(inode.mode):
            os.symlink(inode.target, target)
        else:
            with open(target, "wb") as file:
                if inode.data is not None:
                    file.writelines(inode.data.chunks(0, inode.size))
            os.chmod(target, stat.S_IMODE(inode.mode))
    for path, inode in reversed(list(Inventory(root).walk())):
        target = os.path.join(os.fsencode(place), path)
        if stat.S_ISDIR(inode.mode):
            os.chmod(target, stat.S_IMODE(inode.mode))
        os.utime(target, ns=(inode.mtime_ns, inode.mtime_ns), follow_symlinks=False)


def prepared(built: Closure, place: Path, **options: object) -> Nix:
    """Return a Nix on a root that was prepared with toplevel's and channel's closure, and laid out."""
    closure = built.of(built.toplevel, built.channel)
    version = options.pop("nix_version", (2, 8))
    content = database(closure, registration_time=1, nix_version=version)  # type: ignore[arg-type]
    options = {"toplevel": built.toplevel.encode(), "channel": built.channel.encode(), **options}
    root = made_directory("test")
    request = RootRequest(store=built.trees(closure), database=content, **options)  # type: ignore[arg-type]
    prepare(root, request)
    lay_out(root, place / "image")
    return Nix(place, place / "image")


# --- The database ---


def test_rows_are_those_of_load_db_with_derivations(built: Closure, tmp_path: Path) -> None:
    """Derivers, DerivationOutputs, self-references, page numbers of the roots, statements: everything."""
    closure = built.of(built.toplevel, built.channel, built.drv)
    other = Nix(tmp_path)
    shutil.copytree(built.nix.root / "nix/store", other.root / "nix/store", symlinks=True)
    other.load_db(built.nix.dump_db(*(info.path.decode() for info in closure)))
    written = tmp_path / "db.sqlite"
    content = database(
        closure, registration_time=7, nix_version=(2, 8), derivations=derivations(built, closure)
    )
    written.write_bytes(content)
    theirs, ours = nix_rows(other.root / DATABASE), nix_rows(written)
    assert timeless(ours) == timeless(theirs)
    assert len(ours["DerivationOutputs"]) == len(derivations(built, closure)) > 5
    assert any(referrer == reference for _, referrer, reference in ours["Refs"])
    assert {row[REGISTERED] for row in ours["ValidPaths"]} == {7}
    assert (other.root / "nix/var/nix/db/schema").read_bytes() == b"10"


def test_rows_are_those_of_load_db_of_closure_info(built: Closure, tmp_path: Path) -> None:
    """As nixpkgs registers an image: no derivers, no derivations."""
    other = Nix(tmp_path)
    registration, _ = built.nix.closure_info()
    other.load_db(registration)
    closure = [info._replace(deriver=None) for info in built.of(built.toplevel, built.channel)]
    written = tmp_path / "db.sqlite"
    written.write_bytes(database(closure, registration_time=7, nix_version=(2, 8)))
    assert timeless(nix_rows(written)) == timeless(nix_rows(other.root / DATABASE))


@pytest.mark.parametrize("version", [(2, 8), (2, 18), (2, 26), (2, 35)])
def test_nix_takes_every_schema_for_its_own(version: NixVersion, built: Closure, tmp_path: Path) -> None:
    nix = prepared(built, tmp_path, nix_version=version)
    nix.verify()
    assert set(nix.requisites(built.toplevel)) == set(built.nix.requisites(built.toplevel))
    for path in built.nix.requisites(built.toplevel):
        assert set(nix.referrers(path)) == set(built.nix.referrers(path)) - graphs(built)
        assert nix.references(path) == built.nix.references(path)


def graphs(built: Closure) -> set[str]:
    """Return what other tests had built, which refers to the closure as well."""
    names = ("-graph", "-structured-graph")
    return {i.path.decode() for i in infos(built.nix.dump_db()) if i.path.decode().endswith(names)}


def test_nix_goes_on_with_the_database(built: Closure, tmp_path: Path) -> None:
    """It adds to it, deletes from it, and SQLite finds nothing wrong afterwards."""
    nix = prepared(built, tmp_path)
    before = nix.dump_db()
    note = tmp_path / "note"
    note.write_text("note")
    added = nix.add(note)
    assert nix.requisites(added) == [added]
    nix.run("nix-store", "--delete", added)
    assert nix.dump_db() == before
    opened = sqlite3.connect(nix.root / DATABASE)
    assert problems(opened) == []
    opened.close()
    # The system is a root, and so is the channel: nothing of the closure is garbage.
    assert nix.run("nix-store", "--gc", "--print-dead") == ""


def test_path_info_says_the_same(built: Closure, tmp_path: Path) -> None:
    nix = prepared(built, tmp_path)
    for theirs, ours in zip(
        built.nix.path_info("-r", built.toplevel), nix.path_info("-r", built.toplevel), strict=True
    ):
        assert ours.pop("registrationTime") == 1
        # Built here, Nix trusts them itself; registered, they are as copied.
        for key in ("registrationTime", "ultimate", "ca"):
            theirs.pop(key, None)
        assert ours == theirs


def test_a_large_database_is_read_whole(tmp_path: Path) -> None:
    """1,000 paths with ten references each: several levels of pages."""
    digits = "0123456789abcdfghijklmnpqrsvwxyz"
    paths = [f"/nix/store/{digits[n >> 5]}{digits[n & 31]}{'0' * 30}-path-{n}" for n in range(1000)]
    paths = sorted(path.encode() for path in paths)
    closure = [PathInfo(p, bytes(32), 100 + n, tuple(paths[max(0, n - 10) : n])) for n, p in enumerate(paths)]
    nix = Nix(tmp_path)
    place = nix.root / DATABASE
    place.parent.mkdir(parents=True)
    place.write_bytes(database(closure, registration_time=1, nix_version=(2, 8)))
    place.with_name("schema").write_bytes(b"10")
    assert sorted(infos(nix.dump_db())) == closure
    assert set(nix.requisites(paths[-1].decode())) == {path.decode() for path in paths}
    nix.load_db(nix.dump_db())
    opened = sqlite3.connect(place)
    assert problems(opened) == []
    opened.close()


# --- The root ---


@pytest.mark.parametrize("variant", RootVariant)
def test_nix_finds_nothing_to_remark_on_the_root(
    variant: RootVariant, built: Closure, tmp_path: Path
) -> None:
    nix = prepared(built, tmp_path, variant=variant)
    nix.verify()
    assert "   1   " in nix.generations("/nix/var/nix/profiles/system")
    assert "   1   " in nix.generations("/nix/var/nix/profiles/per-user/root/channels")
    # The next generation goes on from this one, and back.
    nix.set_profile("/nix/var/nix/profiles/system", built.channel)
    assert os.readlink(nix.root / PROFILES / "system") == "system-2-link"
    nix.run("nix-env", "-p", nix.root / PROFILES / "system", "--rollback")
    assert os.readlink(nix.root / PROFILES / "system") == "system-1-link"


def test_profiles_are_those_of_nix_env(built: Closure, tmp_path: Path) -> None:
    nix = prepared(built, tmp_path)
    for profile, path in (("system", built.toplevel), ("per-user/root/channels", built.channel)):
        place = tmp_path / "profiles" / profile
        place.parent.mkdir(parents=True, exist_ok=True)
        built.nix.run("nix-env", "-p", place, "--set", path)
        for name in (place.name, f"{place.name}-1-link"):
            ours = nix.root / PROFILES / profile
            assert os.readlink(ours.with_name(name)) == os.readlink(place.with_name(name))
        assert len(list(place.parent.iterdir())) <= 3  # nothing else than the two links, and per-user


def test_store_paths_are_as_nix_leaves_them(built: Closure) -> None:
    """Modes, times and link targets that Nix's own canonicalisation gave, entry by entry."""
    closure = built.of(built.toplevel, built.channel)
    store = made_directory("test")
    store.entries = dict(store_entries(built.trees(closure)))
    for path, inode in Inventory(store).walk():
        if path:
            status = os.lstat(os.path.join(os.fsencode(built.nix.root), b"nix/store", path))
            assert (inode.mode, inode.mtime_ns) == (status.st_mode, status.st_mtime_ns), path


def test_an_optimised_store_gives_the_same_tree(built: Closure, tmp_path: Path) -> None:
    """Two files of the same content are hard links there, and none here."""
    other = Nix(tmp_path)
    (tmp_path / "twins").mkdir()
    for name in ("one", "two"):
        (tmp_path / "twins" / name).write_text("the same" * 100)
    path = other.add(tmp_path / "twins").encode()
    real = other.real(path.decode())

    def listing() -> list[tuple[object, ...]]:
        tree = store_entries({path: directory.read(os.fsencode(real), SourceRules())})
        inventory = Inventory(next(iter(tree.values())))
        walk = [(name, i.mode, i.mtime_ns, i.size, i.nlink, i.index, i.runs) for name, i in inventory.walk()]
        return [*walk, nar_hash(inventory.root)]

    before = listing()
    other.run("nix-store", "--optimise")
    assert os.stat(real / "one").st_ino == os.stat(real / "two").st_ino
    assert listing() == before


# --- The judge objects ---


def test_a_changed_file_is_noticed(built: Closure, tmp_path: Path) -> None:
    nix = prepared(built, tmp_path)
    place = nix.real(built.toplevel) / "init"
    place.chmod(0o755)
    place.write_text("#!/changed\n")
    result = nix.raw_verify()
    assert result.status == 1 and f"path '{built.toplevel}' was modified!" in result.err, result.text


def test_a_wrong_row_is_noticed(built: Closure, tmp_path: Path) -> None:
    nix = prepared(built, tmp_path)
    closure = built.of(built.toplevel, built.channel)
    wrong = [info._replace(nar_hash=bytes([1]) * 32) for info in closure]  # all zeros: Nix takes it for none
    (nix.root / DATABASE).write_bytes(database(wrong, registration_time=1, nix_version=(2, 8)))
    assert nix.raw_verify().err.count("was modified!") == len(closure)


def test_a_missing_path_is_noticed(built: Closure, tmp_path: Path) -> None:
    nix = prepared(built, tmp_path)
    run("chmod", "-R", "u+w", nix.real(built.channel))
    shutil.rmtree(nix.real(built.channel))
    assert f"path '{built.channel}' disappeared" in nix.raw_verify().err


def test_a_damaged_database_is_noticed(built: Closure, tmp_path: Path) -> None:
    nix = prepared(built, tmp_path)
    content = bytearray((nix.root / DATABASE).read_bytes())
    content[4096] = 0xFF  # the type of ValidPaths' root page
    (nix.root / DATABASE).write_bytes(content)
    assert "malformed" in nix.attempt("nix-store", "-q", "--requisites", built.toplevel).err
    opened = open_read_only(nix.root / DATABASE)
    with pytest.raises(sqlite3.DatabaseError):
        opened.execute("select * from ValidPaths").fetchall()
    opened.close()


# --- The channel ---

# lib.cleanSource and channelSources, by Nix and busybox instead of nixpkgs.
CHANNEL_SOURCES = """
{ busybox, nixpkgs, suffix }:
let
  clean = path: type: let name = baseNameOf path; in !(
    name == ".git" || (type == "directory" && builtins.elem name [ ".svn" "CVS" ".hg" ])
    || builtins.match ".*~" name != null
    || builtins.match "^\\\\.sw[a-z]$" name != null || builtins.match "^\\\\..*\\\\.sw[a-z]$" name != null
    || builtins.match ".*\\\\.o" name != null || builtins.match ".*\\\\.so" name != null
    || (type == "symlink" && builtins.substring 0 6 name == "result") || type == "unknown");
  source = builtins.path { path = nixpkgs; name = "nixpkgs"; filter = clean; };
in derivation {
  name = "nixos-23.11${suffix}";
  system = builtins.currentSystem;
  builder = "${busybox}/busybox";
  args = [ "sh" "-eu" "-c" ''
    for applet in mkdir cp chmod ln rm; do
      eval "$applet() { ${busybox}/busybox $applet \\"\\$@\\"; }"
    done
    mkdir -p $out
    cp -pd -r ${source} $out/nixos
    chmod -R u+w $out/nixos
    if [ ! -e $out/nixos/nixpkgs ]; then
      ln -s . $out/nixos/nixpkgs
    fi
    rm -rf $out/nixos/.git
    echo -n ${suffix} > $out/nixos/.version-suffix
  '' ];
}
"""


def nixpkgs(top: Path) -> Path:
    """Make a tree that has every name the filter looks at, as a file, a directory and a symlink."""
    names = [".git", ".svn", "CVS", ".hg", "a~", "~", ".swp", ".swpp", ".sw1", ".x.swo", "x.swo", "..swz"]
    names += ["x.o", ".o", "o", "x.so", "x.so.1", "result", "results-dev", "aresult", ".Git", "default.nix"]
    for kind in ("files", "folders", "links", ""):
        (top / kind).mkdir(parents=True, exist_ok=True)
    for name in names:
        (top / "files" / name).write_text(name)
        (top / "folders" / name).mkdir()
        (top / "folders" / name / "inside.sh").write_text("#!/bin/sh\n")
        (top / "folders" / name / "inside.sh").chmod(0o755)
        (top / "links" / name).symlink_to("nowhere")
    (top / ".version").write_text("23.11\n")
    (top / ".git").mkdir()
    (top / ".git" / "HEAD").write_text("ref: refs/heads/master\n")
    return top


def test_a_channel_is_what_nix_makes_of_a_nixpkgs(built: Closure, tmp_path: Path) -> None:
    source = nixpkgs(tmp_path / "source")
    expression = tmp_path / "channel.nix"
    expression.write_text(CHANNEL_SOURCES)
    words = ["--arg", "busybox", str(built.nix.busybox), "--arg", "nixpkgs", str(source)]
    [theirs] = built.nix.build(expression, *words, "--argstr", "suffix", ".git.abc")
    ours = read_channel(os.fsencode(source), b".git.abc")
    [info] = built.nix.path_info(theirs)
    assert ours.info.nar_size == info["narSize"]
    place = tmp_path / "laid out" / "nixos-23.11.git.abc"
    place.parent.mkdir()
    lay_out(ours.tree, place)
    # diff says in what they differ, the NAR whether they do.
    run("diff", "-r", "--no-dereference", built.nix.real(theirs), place)
    assert built.nix.dump(theirs) == built.nix.run_bytes("nix-store", "--dump", place)
    # Its store path is what Nix gives to that tree.
    assert built.nix.add(place) == ours.info.path.decode()
    assert built.nix.path_info(ours.info.path.decode())[0]["references"] == []
