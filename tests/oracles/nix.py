"""Nix itself (Debian's nix-bin), offline, on a store of its own: it makes closures, and judges an image's.

A :class:`Nix` has a root directory that holds ``nix/store`` and ``nix/var/nix``, as an image's root does;
store paths are ``/nix/store/...`` all the same. Nix builds in a sandbox there, so user namespaces are needed,
but not root.
"""

from __future__ import annotations

import json
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.oracles.tools import Result, attempt, require

CLOSURE = Path(__file__).with_name("nix_closure.nix")
"""The expression of the small closure; its attributes are what :meth:`Nix.build_closure` takes."""


class Nix:
    """One store, and the Nix that works on it.

    Args:
        folder: Where configuration and home go; nothing else of the machine's Nix is seen.
        root: The directory that holds ``nix/``; ``folder/root`` when None. It may be a root made by others.
        settings: Further lines of nix.conf, such as ``sandbox-paths = /usr``.
    """

    def __init__(self, folder: Path, root: Path | None = None, settings: str = "") -> None:
        require("nix-store")
        self.root = root or folder / "root"
        self.folder = folder
        conf, home = folder / "conf", folder / "home"
        for made in (conf, home, self.root):
            made.mkdir(parents=True, exist_ok=True)
        (conf / "nix.conf").write_text(
            "sandbox = true\nbuild-users-group =\nsubstitute = false\nsubstituters =\n"
            f"experimental-features = nix-command flakes\n{settings}\n"
        )
        self.env = {
            "NIX_CONF_DIR": str(conf),
            "NIX_REMOTE": f"local?root={self.root}",
            "NIX_PATH": "",
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
        }

    def attempt(self, tool: str, *arguments: str | bytes | Path, stdin: bytes = b"") -> Result:
        """Run one of Nix's programs on this store and return what it answered, whatever that is."""
        return attempt(tool, *arguments, stdin=stdin, env=self.env)

    def run(self, tool: str, *arguments: str | bytes | Path, stdin: bytes = b"") -> str:
        """Run one of Nix's programs, which has to succeed, and return its standard output."""
        result = self.attempt(tool, *arguments, stdin=stdin)
        assert result.status == 0, result.text
        return result.out

    def run_bytes(self, tool: str, *arguments: str | bytes | Path, stdin: bytes = b"") -> bytes:
        """As :meth:`run`, for output that is no text."""
        return self.run(tool, *arguments, stdin=stdin).encode("utf-8", "surrogateescape")

    def real(self, path: str) -> Path:
        """Return where a store path lies on the host."""
        return self.root / path.lstrip("/")

    # --- Making a closure ---

    def build(self, expression: Path, *arguments: str | Path) -> list[str]:
        """Build what an expression evaluates to and return the store paths of its outputs."""
        return self.run("nix-build", "--no-out-link", expression, *arguments).split()

    def build_closure(self, *attributes: str) -> dict[str, str]:
        """Build attributes of the small closure and return their store paths by name."""
        arguments = [word for name in attributes for word in ("-A", name)]
        paths = self.build(CLOSURE, *arguments, "--arg", "busybox", self.busybox)
        return dict(zip(attributes, paths, strict=True))

    @cached_property
    def busybox(self) -> Path:
        # From a directory: a file of its own would be called HASH-busybox, and busybox goes by its name.
        place = self.folder / "busybox"
        place.mkdir()
        shutil.copy(require("busybox"), place / "busybox")
        (place / "busybox").chmod(0o755)
        return place

    def add(self, path: Path) -> str:
        """Copy a host file or directory into the store and return its store path."""
        return self.run("nix-store", "--add", path).strip()

    # --- What it says of a closure: one method for each format ---

    def dump(self, path: str) -> bytes:
        """Return the NAR of a store path."""
        return self.run_bytes("nix-store", "--dump", self.real(path))

    def export(self, *paths: str) -> bytes:
        """Return the ``--export`` stream of store paths, in the caller's order."""
        return self.run_bytes("nix-store", "--export", *paths)

    def dump_db(self, *paths: str) -> str:
        """Return ``--dump-db``, of some paths or of the whole store."""
        return self.run("nix-store", "--dump-db", *paths)

    def references_graph(self) -> str:
        """Return what ``exportReferencesGraph`` gives to a builder, classic text: toplevel's closure."""
        return (self.real(self.build_closure("graph")["graph"]) / "closure").read_text()

    def structured_graph(self) -> str:
        """Return what it gives with structured attributes: JSON; ``closure`` is of toplevel and channel."""
        return self.real(self.build_closure("structuredGraph")["structuredGraph"]).read_text()

    def closure_info(self) -> tuple[str, str]:
        """Return nixpkgs' closureInfo of toplevel and channel: its files registration and store-paths.

        Made from the structured graph as pkgs/build-support/closure-info.nix does with jq.
        """
        closure = json.loads(self.structured_graph())["closure"]
        registration = ""
        for info in closure:
            references = info["references"]
            lines = [
                info["path"],
                info["narHash"],
                str(info["narSize"]),
                "",
                str(len(references)),
                *references,
            ]
            registration += "\n".join(lines) + "\n"
        return registration, "".join(p["path"] + "\n" for p in closure)

    def path_info(self, *paths: str) -> list[dict[str, Any]]:
        """Return ``nix path-info --json``; ``-r`` may be among the paths."""
        answer: list[dict[str, Any]] = json.loads(self.run("nix", "path-info", "--json", *paths))
        return answer

    # --- What it says of a store that others made ---

    def load_db(self, registration: str) -> None:
        """Register paths from ``--dump-db`` or closureInfo text; nothing is hashed."""
        self.run("nix-store", "--load-db", stdin=registration.encode())

    def raw_verify(self) -> Result:
        """Run ``--verify --check-contents`` and return what it said."""
        return self.attempt("nix-store", "--verify", "--check-contents")

    def verify(self) -> None:
        """Assert that every path of the database is there and has its hash, and that nothing is remarked."""
        result = self.raw_verify()
        said = {line for line in result.err.splitlines() if not line.startswith("reading the Nix store...")}
        said -= {"checking path existence...", "checking link hashes...", "checking store hashes..."}
        assert result.status == 0 and not said, result.text

    def requisites(self, *paths: str) -> list[str]:
        """Return ``-q --requisites``: the closure, references before referrers."""
        return self.run("nix-store", "-q", "--requisites", *paths).split()

    def references(self, path: str) -> list[str]:
        """Return ``-q --references``."""
        return self.run("nix-store", "-q", "--references", path).split()

    def referrers(self, path: str) -> list[str]:
        """Return ``-q --referrers``."""
        return self.run("nix-store", "-q", "--referrers", path).split()

    def set_profile(self, profile: str, path: str) -> None:
        """Make ``path`` the next generation of a profile, which is named by its path in the image."""
        self.run("nix-env", "-p", self.real(profile), "--set", path)

    def generations(self, profile: str) -> str:
        """Return ``nix-env --list-generations`` of a profile, named as in the image."""
        return self.run("nix-env", "-p", self.real(profile), "--list-generations")
