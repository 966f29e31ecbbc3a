"""A NixOS system as it is asked for: closures are read, their paths found and hashed, and a root prepared.

::

    closures ── merge, check ──> PathInfos ── trees on the host, or in an export
                                     │             │
                                     └── hashes ───┴──> prepare_root: store, database, profiles, channel

All is read here that can be refused; a :class:`System` then makes any tree a root, once.

Spec: nixpkgs, nixos/lib/make-disk-image.nix: closureInfo or exportReferencesGraph, and what it calls.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imgwriter.errors import SourceError, show
from imgwriter.nix import closure as closures
from imgwriter.nix import prepare_root, store_db
from imgwriter.nix.channel import read_channel
from imgwriter.nix.hashing import nar_hashes
from imgwriter.nix.path_info import STORE_DIR, PathInfo
from imgwriter.nix.prepare_root import RootRequest, RootVariant
from imgwriter.tree import directory
from imgwriter.tree.exclude import Exclusion
from imgwriter.tree.holes import Holes
from imgwriter.tree.inventory import Inode
from imgwriter.tree.rules import SourceRules
from imgwriter.tree.xattrs import XattrPolicy

_RULES = SourceRules(Exclusion(), Holes.FILL, XattrPolicy.parse("none"), (0, 0))
"""Everything in a store is root's, without attributes or holes."""

_DERIVATION = b".drv"


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRequest:
    """What goes in.

    Attributes:
        closures: Host paths of what Nix says of closures; see :mod:`imgwriter.nix.closure`.
        toplevel: The store path of the system, or None where no root is prepared.
        store_root: The directory that the host's nix/store is in.
        channel: The store path of root's channel, or None.
        nixpkgs: Host path of a nixpkgs that a channel is made from, or None.
        additional_paths: Store paths that have to be in the closures.
        config_file: Host path of /etc/nixos/configuration.nix, or None.
        only_nix_store: Whether the root is the store itself.
        shell: What /bin/sh points to, or None.
        root_variant: "prepare-root" or "install".
        nix_version: Whose database is written.
        verify_nar: Whether paths are hashed whose hash a closure tells.
        time: Seconds since the epoch, for what is made here and for the registration.
        spool_directory: Where the contents of an export are kept that cannot be read twice.
        workers: Processes that hash.
    """

    closures: Sequence[bytes]
    toplevel: bytes | None = None
    store_root: bytes = b"/"
    channel: bytes | None = None
    nixpkgs: bytes | None = None
    additional_paths: Sequence[bytes] = ()
    config_file: bytes | None = None
    only_nix_store: bool = False
    shell: bytes | None = None
    root_variant: str = RootVariant.PREPARE_ROOT.value
    nix_version: tuple[int, int] | None = None
    verify_nar: bool = True
    time: int = 1
    spool_directory: bytes | None = None
    workers: int = 2


@dataclass(frozen=True, slots=True)
class System:
    """A closure that was read, to be put into one tree.

    Attributes:
        request: What was asked for.
        infos: What Nix knows of each path, with hash and size, by path.
        trees: What is at each path.
        channel: The store path of root's channel, or None.
    """

    request: SystemRequest
    infos: Mapping[bytes, PathInfo]
    trees: Mapping[bytes, Inode]
    channel: bytes | None

    def install(self, root: Inode) -> None:
        """Put it into a tree, which is changed in place; the trees become part of it.

        Raises:
            SourceError: The tree holds something where the system has something else, or the system is
                incomplete.
        """
        request = self.request
        if request.only_nix_store:
            assert root.entries is not None
            root.entries.update(prepare_root.store_entries(self.trees))
        elif request.toplevel is None:
            self._install_store(root)
        else:
            prepare_root.prepare(root, self._root_request(request.toplevel))

    def _install_store(self, root: Inode) -> None:
        """Put in the store and its database alone: paths, but no system."""
        prepare_root.fill(root, self.trees, self._database(), self.request.time)

    def _root_request(self, toplevel: bytes) -> RootRequest:
        request = self.request
        config = request.config_file
        return RootRequest(
            toplevel=toplevel,
            store=self.trees,
            database=self._database(),
            channel=self.channel,
            shell=request.shell,
            configuration=None if config is None else _file(config),
            variant=RootVariant(request.root_variant),
            time=request.time,
        )

    def _database(self) -> bytes:
        return store_db.database(
            list(self.infos.values()),
            registration_time=self.request.time,
            nix_version=self.request.nix_version or store_db.DEFAULT_VERSION,
            derivations={
                path: _content(tree) for path, tree in self.trees.items() if path.endswith(_DERIVATION)
            },
        )


def read_system(request: SystemRequest) -> System:
    """Read closures and what is at their paths, and hash what has to be.

    Raises:
        SourceError: A closure cannot be understood, is incomplete or contradicts another, or what lies at
            a path is missing or has another hash.
        SourceChangedError: Something changed meanwhile.
    """
    read = [closures.read_closure(path, spool_directory=request.spool_directory) for path in request.closures]
    infos = closures.merge(read, lists_suffice=request.only_nix_store)
    exported = {path: tree for each in read for path, tree in each.trees.items()}
    channel = request.channel
    if request.nixpkgs is not None:
        made = read_channel(request.nixpkgs)
        channel = made.info.path
        infos = {**infos, channel: made.info}
        exported[channel] = made.tree
    closures.check(infos)
    _check_roots(request, infos, channel)
    trees = {
        path: exported[path] if path in exported else _tree(request.store_root, path)
        for path in sorted(infos)
    }
    if not request.only_nix_store or request.verify_nar:
        infos = _hashed(request, infos, {p: tree for p, tree in trees.items() if p not in exported})
    return System(request, infos, trees, channel)


def _check_roots(request: SystemRequest, infos: Mapping[bytes, PathInfo], channel: bytes | None) -> None:
    asked = [*(path for path in (request.toplevel, channel) if path is not None), *request.additional_paths]
    closures.requisites(infos, asked)


def _hashed(
    request: SystemRequest, infos: Mapping[bytes, PathInfo], trees: Mapping[bytes, Inode]
) -> dict[bytes, PathInfo]:
    """Return the infos with the hashes that are missing, after comparing those that are not."""
    todo = {
        path: tree
        for path, tree in trees.items()
        if _incomplete(infos[path]) or (request.verify_nar and infos[path].nar_hash is not None)
    }
    found = nar_hashes(todo, request.workers)
    origin = show(os.path.join(request.store_root, STORE_DIR[1:]))
    return {
        path: closures.with_nar(info, found[path], origin) if path in found else info
        for path, info in infos.items()
    }


def _incomplete(info: PathInfo) -> bool:
    return info.nar_hash is None or info.nar_size is None


def _tree(store_root: bytes, path: bytes) -> Inode:
    place = os.path.join(store_root, path[1:])
    if not os.path.lexists(place):
        raise SourceError(
            f"{show(path)} is in the closure, but not at {show(place)}; give --store-root, or a nix-store"
            " --export that holds it",
            path,
        )
    return directory.read_entry(place, _RULES, f"store path {show(place)}")


def _file(path: bytes) -> Inode:
    """Return a file of the host, as cp copies it: that which a symlink leads to."""
    return directory.read_entry(os.path.realpath(path), _RULES, f"configuration {show(path)}")


def _content(inode: Inode) -> bytes:
    return b"" if inode.data is None else b"".join(bytes(piece) for piece in inode.data.chunks(0, inode.size))
