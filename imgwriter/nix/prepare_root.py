"""A tree becomes the root of a NixOS: what nixos-prepare-root does, or nixos-install, step by step.

::

    /bin/sh -> the closure's shell          /etc/NIXOS  /etc/nixos/configuration.nix
    /var/run -> /run                        /run/current-system ─┐
    /nix/store/<paths>                                           v
    /nix/var/nix/db/{db.sqlite,schema}      /nix/var/nix/profiles/system -> system-1-link -> toplevel
    /root/.nix-defexpr/channels ──────────> .../per-user/root/channels -> channels-1-link -> channel

What is in the tree already stays, as when the scripts find it there: a directory takes the mode that the step
gives it, a symlink or file where a step makes one is replaced, a directory in such a place is an error.

What Nix gives to everything in its store is given here: 0444 or 0555 by the owner's x bit, one second after
the epoch, 0:0, no extended attributes. Neither hard links nor holes of the host's store stay, so that neither
its optimisation nor its file system changes a byte of the image.

Spec: nixpkgs, nixos/modules/installer/tools/nixos-prepare-root.sh and nixos-install.sh; Nix,
src/libstore/local-store.cc, canonicalisePathMetaData.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from enum import StrEnum

from imgwriter.errors import SourceError, show
from imgwriter.extent import Bytes
from imgwriter.filedata import Concatenated
from imgwriter.nix.path_info import STORE_DIR, base_name
from imgwriter.nix.store_db import SCHEMA
from imgwriter.tree.inventory import NO_XATTRS, Inode
from imgwriter.tree.lookup import Lookup, kind, split
from imgwriter.tree.rules import NANOSECOND

SYSTEM_PROFILE = b"/nix/var/nix/profiles/system"
"""The profile whose generations are the system's."""

CHANNELS_PROFILE = b"/nix/var/nix/profiles/per-user/root/channels"
"""The profile whose generations are root's channels."""

CONFIGURATION = b"/etc/nixos/configuration.nix"
"""Where the file goes from which the system can be built again."""

_STORE_MTIME_NS = NANOSECOND
_OWNER_EXECUTES = 0o100
_ANYONE_EXECUTES = 0o111
_UMASK = 0o022
_SPECIAL = 0o7000
_BASH = re.compile(rb".{32}-bash-(?:interactive-)?[0-9]")


class RootVariant(StrEnum):
    """Which script's steps are done."""

    PREPARE_ROOT = "prepare-root"
    """nixos-prepare-root, of 2017: a root that a system boots from without having been activated."""
    INSTALL = "install"
    """nixos-install, of today: the profile, the channel and /etc/NIXOS; activation makes the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootRequest:
    """What the root is made of.

    Attributes:
        toplevel: The store path of the system (config.system.build.toplevel).
        store: Every path of the closure with its tree, by whole store path.
        database: db.sqlite of that closure.
        channel: The store path that becomes root's channel, or None.
        shell: What /bin/sh points to: a program in the store, or a store path with bin/sh in it. None: what
            the system's sw/bin/sh points to, else bin/sh of a bash in the closure. INSTALL makes no /bin/sh.
        configuration: The file that becomes /etc/nixos/configuration.nix, or None. As with cp, it keeps its
            mode but for 022, and nothing else.
        variant: Which script's steps.
        time: mtime of what is made here, seconds since the epoch.
    """

    toplevel: bytes
    store: Mapping[bytes, Inode]
    database: bytes
    channel: bytes | None = None
    shell: bytes | None = None
    configuration: Inode | None = None
    variant: RootVariant = RootVariant.PREPARE_ROOT
    time: int = 1


def prepare(root: Inode, request: RootRequest) -> None:
    """Make the tree of ``root`` a NixOS; it is changed in place, and the closure's Inodes become part of it.

    Raises:
        SourceError: A path is missing in the closure, something in it has no place in a store, there is no
            shell, or the tree has something else where a step makes a file, link or directory.
    """
    steps = _Steps(root, request.time)
    if request.variant is RootVariant.PREPARE_ROOT:
        _prepare_root(steps, request)
    else:
        _install(steps, request)
    steps.file(b"/etc/NIXOS", b"", replace=False)
    steps.directory(b"/etc/nixos")
    if request.configuration is not None:
        steps.copy(CONFIGURATION, request.configuration)


def fill(root: Inode, store: Mapping[bytes, Inode], database: bytes, time: int) -> None:
    """Put a store and its database into the tree of ``root``, and no system.

    Args:
        root: Changed in place.
        store: Trees by whole store path; they become part of the tree.
        database: db.sqlite of those paths.
        time: mtime of what is made here, seconds since the epoch.

    Raises:
        SourceError: As :func:`prepare`.
    """
    steps = _Steps(root, time)
    steps.directory(STORE_DIR, 0o1775)
    _fill_store(steps, store, database)


def _prepare_root(steps: _Steps, request: RootRequest) -> None:
    for name in (b"dev", b"proc", b"sys", b"etc", b"run", b"home"):
        steps.directory(b"/" + name)
    steps.directory(b"/tmp", 0o1777)
    steps.directory(b"/tmp/root")
    steps.directory(b"/var")
    steps.directory(b"/root", 0o700)
    steps.symlink(b"/var/run", b"/run")
    for name in (b"gcroots", b"temproots", b"userpool", b"profiles", b"db"):
        steps.directory(b"/nix/var/nix/" + name)
    steps.directory(b"/nix/var/log/nix/drvs")
    steps.directory(STORE_DIR, 0o1775)
    _fill_store(steps, request.store, request.database)
    steps.directory(b"/bin")
    steps.symlink(b"/bin/sh", _shell(steps.root, request))
    _set_profile(steps, request, SYSTEM_PROFILE, request.toplevel)
    steps.symlink(b"/run/current-system", SYSTEM_PROFILE)
    steps.directory(b"/nix/var/nix/profiles")
    steps.directory(b"/nix/var/nix/profiles/nixup", 0o1777)
    steps.directory(b"/nix/var/nix/profiles/per-user", 0o1777)
    steps.directory(b"/nix/var/nix/profiles/per-user/root")
    if request.channel is not None:
        _set_profile(steps, request, CHANNELS_PROFILE, request.channel)
    _link_channels(steps)


def _install(steps: _Steps, request: RootRequest) -> None:
    # What Nix makes when it opens a store for the first time, then the script.
    steps.directory(STORE_DIR + b"/.links")
    for name in (b"db", b"temproots", b"gcroots/per-user", b"profiles/per-user"):
        steps.directory(b"/nix/var/nix/" + name)
    _fill_store(steps, request.store, request.database)
    if request.channel is not None:
        steps.directory(b"/nix/var/nix/profiles/per-user/root")
        _set_profile(steps, request, CHANNELS_PROFILE, request.channel)
        _link_channels(steps)
    _set_profile(steps, request, SYSTEM_PROFILE, request.toplevel)
    steps.directory(b"/etc")


def _fill_store(steps: _Steps, paths: Mapping[bytes, Inode], database: bytes) -> None:
    """Put in the closure's paths, and the database that knows them."""
    store = steps.directory(STORE_DIR, None)
    assert store.entries is not None
    for name, inode in store_entries(paths).items():
        if name in store.entries:
            path = STORE_DIR + b"/" + name
            raise SourceError(
                f"{show(path)} is in the closure and in the tree from {store.entries[name].origin}; "
                "leave it out of the tree",
                path,
            )
        store.entries[name] = inode
    steps.file(b"/nix/var/nix/db/db.sqlite", database)
    steps.file(b"/nix/var/nix/db/schema", SCHEMA)


def _set_profile(steps: _Steps, request: RootRequest, profile: bytes, path: bytes) -> None:
    """Make ``path`` the first generation of a profile, as ``nix-env --set`` does."""
    if path not in request.store:
        raise SourceError(f"{show(path)} is not in the closure; give the closure that has it", path)
    generation = profile + b"-1-link"
    steps.symlink(generation, path)
    steps.symlink(profile, generation.rpartition(b"/")[2])


def _link_channels(steps: _Steps) -> None:
    steps.directory(b"/root/.nix-defexpr", 0o700)
    steps.symlink(b"/root/.nix-defexpr/channels", CHANNELS_PROFILE)


def _shell(root: Inode, request: RootRequest) -> bytes:
    """Return the target of /bin/sh, which is there and can be run."""
    if request.shell is not None:
        # /nix/store/HASH-bash alone is the package: the program is its bin/sh.
        bare = request.shell.startswith(STORE_DIR + b"/") and request.shell.count(b"/") == 3
        shell = request.shell + b"/bin/sh" if bare else request.shell
        if not _runs(root, shell):
            raise SourceError(
                f"the shell {show(shell)} is not in the closure, or no program; give the closure that has it",
                shell,
            )
        return shell
    for candidate in _shells(root, request):
        if _runs(root, candidate):
            return candidate
    raise SourceError(
        f"the closure of {show(request.toplevel)} has no shell for /bin/sh, at sw/bin/sh or in a bash; "
        "name one with --shell, or choose --root-variant install, which leaves /bin/sh to the activation",
        request.toplevel,
    )


def _shells(root: Inode, request: RootRequest) -> list[bytes]:
    """Return what may be the closure's shell, the likeliest first."""
    found = []
    lookup = Lookup(root)
    try:
        programs = lookup.find(request.toplevel + b"/sw/bin").entries or {}
    except SourceError:
        programs = {}
    link = programs.get(b"sh")
    if link is not None:
        direct = link.target.startswith(STORE_DIR + b"/")
        found.append(link.target if direct else request.toplevel + b"/sw/bin/sh")
    packages = [path for path in request.store if _BASH.match(base_name(path))]
    found += [path + b"/bin/sh" for path in sorted(packages, key=lambda path: (base_name(path)[33:], path))]
    return found


def _runs(root: Inode, path: bytes) -> bool:
    """Return whether ``path`` leads to a program, as ``test -x`` would say inside the image."""
    try:
        inode = Lookup(root).find(path)
    except SourceError:
        return False
    return stat.S_ISREG(inode.mode) and bool(inode.mode & _ANYONE_EXECUTES)


def store_entries(paths: Mapping[bytes, Inode]) -> dict[bytes, Inode]:
    """Return the entries of /nix/store, sorted by name, as Nix has them on disk.

    Args:
        paths: Trees by whole store path; they are changed in place.

    Raises:
        SourceError: A path is no store path, or holds something that is no file, directory or symlink.
    """
    seen: set[int] = set()
    return {base_name(path): _canonical(path, inode, seen) for path, inode in sorted(paths.items())}


def _canonical(path: bytes, top: Inode, seen: set[int]) -> Inode:
    """Return a store path's tree as Nix has it; a file met before becomes one of its own."""
    top = _canonical_inode(path, top, seen)
    stack = [(path, top)]
    while stack:
        above, directory = stack.pop()
        entries = directory.entries or {}
        for name, inode in entries.items():
            place = above + b"/" + name
            entries[name] = child = _canonical_inode(place, inode, seen)
            if child.entries is not None:
                stack.append((place, child))
    return top


def _canonical_inode(path: bytes, inode: Inode, seen: set[int]) -> Inode:
    if id(inode) in seen:
        inode = copy(inode)
    else:
        seen.add(id(inode))
    mode = inode.mode
    if stat.S_ISREG(mode):
        inode.mode = stat.S_IFREG | 0o444 | (_ANYONE_EXECUTES if mode & _OWNER_EXECUTES else 0)
        inode.runs = None
        if inode.data is None and inode.size:
            inode.data = Concatenated((), inode.size)
    elif stat.S_ISDIR(mode):
        inode.mode = stat.S_IFDIR | 0o555
    elif stat.S_ISLNK(mode):
        inode.mode = stat.S_IFLNK | 0o777
    else:
        raise SourceError(
            f"{show(path)} is a {kind(inode)}, and a store holds only files, directories and symlinks; "
            "take it out of the store path",
            path,
        )
    inode.uid = inode.gid = 0
    inode.mtime_ns = _STORE_MTIME_NS
    inode.xattrs = NO_XATTRS
    inode.implicit = False
    return inode


class _Steps:
    """What the scripts do, on a tree: ``install -d``, ``ln -sfn``, ``touch`` and ``cp``."""

    __slots__ = ("_lookup", "_mtime_ns", "_origin", "root")

    def __init__(self, root: Inode, time: int) -> None:
        self.root = root
        self._lookup = Lookup(root)
        self._mtime_ns = time * NANOSECOND
        self._origin = "the prepared root"

    def directory(self, path: bytes, mode: int | None = 0o755) -> Inode:
        """Return a directory, made if it is missing; it has that mode then, unless None is given."""
        inode = self._lookup.make_directories(split(path), self._origin)
        if mode is not None:
            inode.mode = stat.S_IFDIR | mode
        return inode

    def symlink(self, path: bytes, target: bytes) -> None:
        """Make a symlink, also where something else than a directory is."""
        link = Inode(stat.S_IFLNK | 0o777, mtime_ns=self._mtime_ns, target=target, size=len(target))
        self.put(path, link)

    def file(self, path: bytes, content: bytes, *, replace: bool = True) -> None:
        """Make a file; one that is there stays where ``replace`` is False."""
        data = Bytes(content) if content else None
        made = Inode(stat.S_IFREG | 0o644, mtime_ns=self._mtime_ns, size=len(content), data=data)
        self.put(path, made, replace=replace)

    def copy(self, path: bytes, source: Inode) -> None:
        """Make a copy of a file of the host, whatever else than a directory is there."""
        if not stat.S_ISREG(source.mode):
            raise SourceError(
                f"{show(path)} would be a {kind(source)}, from {source.origin}; give a file", path
            )
        made = Inode(source.mode & ~_UMASK & ~_SPECIAL, mtime_ns=self._mtime_ns, origin=source.origin)
        made.size, made.data, made.runs = source.size, source.data, source.runs
        self.put(path, made)

    def put(self, path: bytes, inode: Inode, *, replace: bool = True) -> None:
        """Put an Inode at ``path``, with the directories above; see the others for what is in its place.

        Raises:
            SourceError: A directory is there, or something above is none.
        """
        *above, name = split(path)
        entries = self._lookup.make_directories(above, self._origin).entries
        assert entries is not None
        before = entries.get(name)
        if before is not None and before.entries is not None:
            raise SourceError(
                f"{show(path)} is a directory in {before.origin}, and a NixOS has a {kind(inode)} there; "
                "leave it out",
                path,
            )
        if before is None or replace:
            if not inode.origin:
                inode.origin = self._origin
            entries[name] = inode
