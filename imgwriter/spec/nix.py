"""The checks of what is asked for that concern NixOS: store paths, and the prepared root.

They are part of :class:`~imgwriter.spec.ImageSpec`, and apart only for length. The reasons are those of the
assertions in make-disk-image.nix where it has one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from imgwriter.container import one_of
from imgwriter.errors import SourceError, SpecError
from imgwriter.nix.path_info import base_name

if TYPE_CHECKING:
    from imgwriter.spec.image_spec import ImageSpec

ROOT_VARIANTS = ("prepare-root", "install")
"""What prepares the root: the first script's nixos-prepare-root, or the nixos-install of today."""
SIZE_FORMULAS = ("closed", "nixpkgs")
"""How a disk's size is worked out: what the file system needs, or the sum that current nixpkgs makes."""


def check(spec: ImageSpec) -> None:
    """Refuse what contradicts itself.

    Raises:
        SpecError: It does.
    """
    one_of("root variant", spec.root_variant, ROOT_VARIANTS)
    one_of("size formula", spec.size_formula, SIZE_FORMULAS)
    _check_store_paths(spec)
    _check_closure(spec)
    if spec.only_nix_store:
        _check_only_nix_store(spec)
    _check_post_vm(spec)
    _check_deterministic(spec)


def _check_store_paths(spec: ImageSpec) -> None:
    paths = {"toplevel": [spec.toplevel], "channel": [spec.channel], "additional path": spec.additional_paths}
    for what, given in paths.items():
        for path in given:
            if path is None:
                continue
            try:
                base_name(os.fsencode(path))
            except SourceError as error:
                raise SpecError(f"{what}: {error}") from None
    if spec.channel is not None and spec.nixpkgs is not None:
        raise SpecError("both a channel and the nixpkgs to make one from are given; leave one of them out")
    if spec.nix_version is not None and not all(number >= 0 for number in spec.nix_version):
        raise SpecError(f"Nix version {spec.nix_version} is not two numbers; give them as (2, 18)")


def _check_closure(spec: ImageSpec) -> None:
    if not spec.closures:
        _need(
            "no closure says which store paths go in; give one",
            {
                "a toplevel": spec.toplevel,
                "a channel": spec.channel,
                "an additional path": spec.additional_paths,
                "a store root": spec.store_root,
                "a Nix version": spec.nix_version,
                "an image of the Nix store alone": spec.only_nix_store,
                "leave to trust hashes": not spec.verify_nar,
            },
        )
    if spec.toplevel is None:
        _need(
            "there is no toplevel to prepare a root for; give one",
            {
                "nixpkgs for a channel": spec.nixpkgs,
                "a channel": spec.channel,
                "a configuration file": spec.config_file,
                "a shell": spec.shell,
                "a variant of the root": spec.root_variant != ROOT_VARIANTS[0],
            },
        )
    if spec.size_formula != SIZE_FORMULAS[0] and spec.disk_size is not None:
        raise SpecError("a size formula has no meaning with a fixed disk size; leave one of them out")


def _need(lack: str, settings: Mapping[str, object]) -> None:
    for what, value in settings.items():
        if value:
            raise SpecError(f"{what} is given, but {lack}")


def _check_only_nix_store(spec: ImageSpec) -> None:
    _need(
        "in an image of the Nix store alone the contents must be empty, no configuration must be provided"
        " and no boot loader installed; leave it out",
        {
            "a tree": spec.trees,
            "a content": spec.contents,
            "a configuration file": spec.config_file,
            "a boot loader": spec.install_boot_loader
            or spec.boot_command
            or spec.boot_loader not in (None, "none"),
        },
    )


def _check_post_vm(spec: ImageSpec) -> None:
    if spec.post_vm:
        raise SpecError(
            "postVM is shell code, and imgwriter runs no other program; run it after imgwriter,"
            " or use nix/make-disk-image.nix, whose builder does"
        )


def _check_deterministic(spec: ImageSpec) -> None:
    if not spec.deterministic:
        raise SpecError(
            "imgwriter's images are deterministic always; leave deterministic out,"
            " and give a seed of its own to an image that is to have other identifiers"
        )
