"""What Nix knows of the paths of a closure, in every form in which it says so.

A file is told by its content, a directory is a closureInfo:

================ ===================================================================== ==================
form             begins with                                                           says
================ ===================================================================== ==================
REGISTRATION     a path, then its hash: closureInfo's ``registration``,                hash, size,
                 ``nix-store --dump-db`` (what ``--load-db`` reads)                    references, deriver
GRAPH            a path, a deriver or an empty line, a number: exportReferencesGraph,  references, deriver
                 ``--register-validity``
JSON             ``[`` or ``{``: exportReferencesGraph with structured attributes,     hash, size,
                 ``.attrs.json``, ``nix path-info --json``                             references, deriver
STORE_PATHS      a path, then another or nothing: closureInfo's ``store-paths``        that they are there
EXPORT           the number 1 and a NAR: ``nix-store --export``                        all, and the contents
================ ===================================================================== ==================

::

    files ──read_closure──> Closures ──merge──> {path: PathInfo} ──check──> ──requisites──> of some roots

Nothing is looked up on the host but the files that are named.

Spec: Nix, src/libstore/store-api.cc, makeValidityRegistration and decodeValidPathInfo; nixpkgs,
pkgs/build-support/closure-info.nix.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from imgwriter.errors import SourceError, show
from imgwriter.nix import closure_json, export, nar, registration
from imgwriter.nix.hashes import sha256_text
from imgwriter.nix.path_info import STORE_DIR, PathInfo, base_name
from imgwriter.nix.wire import ALIGNMENT, STANDARD_INPUT, Input, Sum, open_input
from imgwriter.tree.inventory import Inode
from imgwriter.units import MiB

MAX_TEXT = 256 * MiB
"""Bytes that a text may have. A NixOS of 2,000 paths has 1 MiB."""

MIN_NAR_SIZE = 96
"""Bytes of the smallest NAR, an empty directory's."""

_HEAD = 4096


class Kind(StrEnum):
    """In what form a closure was given."""

    REGISTRATION = "registration"
    GRAPH = "references graph"
    JSON = "JSON"
    STORE_PATHS = "store paths"
    CLOSURE_INFO = "closureInfo"
    EXPORT = "export"


@dataclass(frozen=True, slots=True)
class Closure:
    """What one source says.

    Attributes:
        origin: What it is called in messages.
        kind: Its form.
        infos: In its order; a path may come twice. Of STORE_PATHS the references are not known, and empty.
        trees: What lies at each path, where the source holds that (EXPORT).
    """

    origin: str
    kind: Kind
    infos: tuple[PathInfo, ...]
    trees: Mapping[bytes, Inode] = field(default_factory=dict)


def read_closure(path: bytes, *, spool_directory: bytes | None = None) -> Closure:
    """Read what Nix says of a closure, in whichever form it is.

    Args:
        path: A file, ``-`` for standard input, or the directory that closureInfo makes.
        spool_directory: Where the contents of an export that is no regular file are kept until the image
            is written; None: where temporary files go.

    Raises:
        SourceError: It cannot be read, is in none of the forms, or is damaged: with line or offset.
        SourceChangedError: It changed meanwhile.
        OutputError: The spool cannot be written.
    """
    origin = f"closure {show(path)}" if path != STANDARD_INPUT else "the closure on standard input"
    if path != STANDARD_INPUT and os.path.isdir(path):
        return _closure_info(path, origin)
    with open_input(path, origin, spool_directory) as stream:
        return _closure(stream)


def _closure(stream: Input) -> Closure:
    head = stream.peek(_HEAD)
    if head.startswith(export.BEGINNING) or head == export.NOTHING:
        exported = export.read_from(stream)
        infos = tuple(each.info for each in exported)
        return Closure(stream.origin, Kind.EXPORT, infos, {each.info.path: each.root for each in exported})
    if head.startswith(nar.MAGIC):
        raise SourceError(
            f"{stream.origin} is a NAR, which does not say its path; give what nix-store --export writes",
            stream.path,
        )
    if b"\0" in head:
        raise SourceError(
            f"{stream.origin} is nothing that Nix says of a closure; give an exportReferencesGraph, a "
            "closureInfo or its registration or store-paths, or what nix-store --dump-db or --export writes",
            stream.path,
        )
    return _of_text(stream.rest(MAX_TEXT), stream.origin, stream.path)


def _of_text(text: bytes, origin: str, path: bytes) -> Closure:
    if text.lstrip()[:1] in (b"[", b"{"):
        return Closure(origin, Kind.JSON, closure_json.parse(text, origin, path))
    lines = registration.Lines(text, origin, path)
    form = registration.form(lines)
    if form is registration.Form.STORE_PATHS:
        infos = tuple(PathInfo(each, None, None, ()) for each in registration.store_paths(lines))
        return Closure(origin, Kind.STORE_PATHS, infos)
    hashed = form is registration.Form.HASHED
    infos = registration.path_infos(lines, hashed=hashed)
    return Closure(origin, Kind.REGISTRATION if hashed else Kind.GRAPH, infos)


def _closure_info(path: bytes, origin: str) -> Closure:
    """Read the directory that closureInfo makes; its two files must be of the same paths."""
    infos = registration.path_infos(_lines(path + b"/registration"), hashed=True)
    paths = registration.store_paths(_lines(path + b"/store-paths"))
    registered = {info.path for info in infos}
    odd = sorted(registered.symmetric_difference(paths))
    if odd:
        one, other = (
            ("registration", "store-paths") if odd[0] in registered else ("store-paths", "registration")
        )
        raise SourceError(
            f"{origin}: {show(odd[0])} is in {one} and not in {other}; build the closureInfo again", odd[0]
        )
    return Closure(origin, Kind.CLOSURE_INFO, infos)


def _lines(path: bytes) -> registration.Lines:
    with open_input(path, f"closure {show(path)}") as stream:
        return registration.Lines(stream.rest(MAX_TEXT), stream.origin, path)


def merge(closures: Iterable[Closure], *, lists_suffice: bool = False) -> dict[bytes, PathInfo]:
    """Put together what several closures say.

    A hash, size or deriver that only one of them tells is taken; of two derivers, which may differ, the
    first.

    Args:
        closures: In the caller's order.
        lists_suffice: Whether a path that only lists of store paths name is taken, as one without
            references, or refused.

    Returns:
        What is known of each path, ordered by path.

    Raises:
        SourceError: Two of them contradict each other in hash, size or references of a path; or a path is
            only in a list.
    """
    known: dict[bytes, tuple[PathInfo, str]] = {}
    listed: dict[bytes, tuple[PathInfo, str]] = {}
    for closure in closures:
        into = listed if closure.kind is Kind.STORE_PATHS else known
        for info in closure.infos:
            before = into.get(info.path)
            if before is not None:
                info = _both(*before, info, closure.origin)
            into[info.path] = info, closure.origin
    for path in sorted(listed.keys() - known.keys()):
        if not lists_suffice:
            raise SourceError(
                f"{listed[path][1]} names {show(path)}, and no closure tells its references; give "
                "closureInfo's registration as well",
                path,
            )
        known[path] = listed[path]
    return {path: known[path][0] for path in sorted(known)}


def _both(first: PathInfo, first_origin: str, second: PathInfo, second_origin: str) -> PathInfo:
    """Return what two sources say together of one path."""

    def contradicting(what: str, one: object, other: object) -> SourceError:
        return SourceError(
            f"{show(first.path)} has the {what} {one} in {first_origin} and {other} in {second_origin}; "
            "leave out the one that is out of date",
            first.path,
        )

    one, other = first.nar_hash, second.nar_hash
    if one is not None and other is not None and one != other:
        raise contradicting("hash", sha256_text(one), sha256_text(other))
    if first.nar_size is not None and second.nar_size is not None and first.nar_size != second.nar_size:
        raise contradicting("NAR size", f"{first.nar_size:,}", f"{second.nar_size:,}")
    if first.references != second.references:
        odd = min(set(first.references).symmetric_difference(second.references))
        having, other_origin = first_origin, second_origin
        if odd in second.references:
            having, other_origin = second_origin, first_origin
        raise SourceError(
            f"{show(first.path)} refers to {show(odd)} in {having} and not in {other_origin}; leave out "
            "the one that is out of date",
            first.path,
        )
    return first._replace(
        nar_hash=one if one is not None else other,
        nar_size=first.nar_size if first.nar_size is not None else second.nar_size,
        deriver=first.deriver if first.deriver is not None else second.deriver,
    )


def check(infos: Mapping[bytes, PathInfo], store_dir: bytes = STORE_DIR) -> None:
    """Check that paths are a closure: every reference is among them, every name a store path's.

    Args:
        infos: By path, as :func:`merge` returns them.
        store_dir: The store that the paths are in.

    Raises:
        SourceError: They are not; the message names the path, and the reference.
    """
    for path, info in infos.items():
        base_name(path, store_dir)
        if info.deriver is not None:
            base_name(info.deriver, store_dir)
        size = info.nar_size
        if size is not None and (size < MIN_NAR_SIZE or size % ALIGNMENT):
            raise SourceError(
                f"{show(path)} has a NAR of {size:,} bytes, and a NAR has at least {MIN_NAR_SIZE} and a "
                f"multiple of {ALIGNMENT}; register it again",
                path,
            )
        for reference in info.references:
            if reference not in infos:
                base_name(reference, store_dir)
                raise _missing(reference, f"{show(path)} refers to it")


def requisites(infos: Mapping[bytes, PathInfo], roots: Iterable[bytes]) -> dict[bytes, PathInfo]:
    """Return the closure of some paths: them, what they refer to, and so on, ordered by path.

    Raises:
        SourceError: One is not among ``infos``.
    """
    found: dict[bytes, PathInfo] = {}
    todo = [(root, "it was asked for") for root in roots]
    while todo:
        path, why = todo.pop()
        if path in found:
            continue
        info = infos.get(path)
        if info is None:
            raise _missing(path, why)
        found[path] = info
        todo.extend((each, f"{show(path)} refers to it") for each in info.references if each not in found)
    return {path: found[path] for path in sorted(found)}


def _missing(path: bytes, why: str) -> SourceError:
    return SourceError(
        f"{show(path)} is missing from the closure: {why}; give a closure that holds it (nix-store -qR)", path
    )


def with_nar(info: PathInfo, found: Sum, origin: str) -> PathInfo:
    """Return what is known of a path, with the hash and size of what lies there.

    Args:
        info: What Nix knows.
        found: Of the NAR of what lies there; see :func:`imgwriter.nix.nar.nar_hash`.
        origin: Where that was, for the message.

    Raises:
        SourceError: What Nix knows is another hash or size.
    """
    known, size = info.nar_hash, info.nar_size
    if known is not None and known != found.sha256:
        raise SourceError(
            f"{show(info.path)} has the hash {sha256_text(found.sha256)} in {origin}, and Nix knows it with "
            f"{sha256_text(known)}: it was changed; get a whole copy of it",
            info.path,
        )
    if size is not None and size != found.size:
        raise SourceError(
            f"{show(info.path)} has a NAR of {found.size:,} bytes in {origin}, and Nix knows {size:,}: "
            "it was changed; get a whole copy of it",
            info.path,
        )
    return info._replace(nar_hash=found.sha256, nar_size=found.size)
