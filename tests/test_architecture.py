"""The layers stay as docs/architecture.md draws them: read from the sources, nothing is imported.

::

    L5  cli  commands/  report  terminal  progress  __main__
    L4  build  convert  install/  examine/  verify/  diff/  map/  fuzz/
    L3  disk/  sink  sidecar  tree/  nix/  readers/  tables_reader/  bootloader/  guest/  vm
    L2  mbr  gpt  ext4/  fat/  qcow2  vhd  vdi    siblings do not know each other, except gpt -> mbr
    L1  extent  filedata  tree.inventory  spec  identifiers
    L0  errors  units
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "imgwriter"

# Longest prefix wins: tree.inventory is below the rest of tree.
LAYERS = {
    "errors": 0, "units": 0,
    "extent": 1, "filedata": 1, "deferred": 1, "worker": 1, "tree.inventory": 1, "spec": 1, "identifiers": 1,
    "compression": 1, "container": 1, "values": 1, "window": 1,
    "findings": 0, "columns": 0, "collection": 0, "exit_status": 0,
    "mbr": 2, "gpt": 2, "ext4": 2, "fat": 2,
    "qcow2": 2, "qcow2_tables": 2, "qcow2_compressed": 2, "vhd": 2, "vdi": 2,
    "disk": 3, "sink": 3, "sidecar": 3, "tree": 3, "readers": 3, "zeros": 3, "encoder": 3, "nixpkgs_size": 3,
    "tables_reader": 3, "nearest": 0, "spec.kinds": 3, "spec.schema": 3, "spec.file": 3,
    "nix.path_info": 1, "nix.hashes": 1, "nix": 3,
    "guest": 3, "vm": 3,
    "build": 4, "convert": 4, "": 4,
    "sources": 4, "outputs": 4, "image_plan": 4, "boot_files": 4, "install": 4, "bootloader": 3,
    "examine": 4, "verify": 4, "diff": 4, "map": 4, "fuzz": 4,
    "cli": 5, "commands": 5, "report": 5, "terminal": 5, "progress": 5, "start": 5, "__main__": 5,
}  # fmt: skip

# (who, whom) within one layer. Everything else goes down.
SIDEWAYS = {
    ("columns", "units"),  # sizes as text
    ("units", "errors"),  # a size that is no size is refused
    ("filedata", "extent"),  # kinds of Data
    ("worker", "filedata"),  # how much is done
    ("deferred", "filedata"),  # how much a job reads
    ("deferred", "extent"),  # its bytes are buffers, the rest of its file a Volume
    ("window", "extent"),  # part of a Volume
    ("window", "filedata"),  # what is a slice of a file stays one
    ("tree.inventory", "extent"),  # a file's content is a Data
    ("gpt", "mbr"),  # the protective MBR
    ("container", "compression"),  # which levels there are
    ("spec", "container"),  # an image has a container; a choice is refused in the same words
    ("spec.schema", "spec.kinds"),  # what a key's value may be
    ("spec.file", "spec.kinds"),
    ("spec.file", "spec.schema"),  # the table of keys
    ("spec", "nix.path_info"),  # what a store path is
    ("encoder", "sink"),  # how many processes pay
    ("qcow2", "qcow2_tables"),
    ("qcow2_compressed", "qcow2"),  # the same header and tables
    ("qcow2_compressed", "qcow2_tables"),
    ("zeros", "readers"),  # what a reader gave
    ("nix", "tree"),  # store paths become trees, whose contents may be spooled
    ("guest", "tree"),  # kernels and busybox of a tree, decompressed
    ("vm", "guest"),  # what is run, and what it means
    ("", "build"),  # the public names
    ("verify", "examine"),  # an image is opened in one way
    ("diff", "examine"),
    ("map", "examine"),
    ("fuzz", ""),  # the version, for the manifest
    ("fuzz", "examine"),
    ("build", "install"),  # a boot loader is part of the recipe
    ("build", "sources"),  # what goes in
    ("build", "image_plan"),
    ("build", "outputs"),  # where it goes
    ("outputs", "image_plan"),
    ("outputs", "sources"),  # what the image is called
    ("build", "boot_files"),  # a loader's files, where no guest is needed
    ("boot_files", "image_plan"),  # where partitions will stand
    ("image_plan", "sources"),  # where the image goes
    ("install", "sources"),  # where there is room for a scratch disk
    ("install", "image_plan"),  # what the guest works on, and what becomes of it
    ("install", "examine"),  # what a guest changed is read back
    ("bootloader", "tree"),  # a loader's files become part of the tree
    ("bootloader", "disk"),  # where boot code goes
    ("cli", "commands"),
    ("cli", "terminal"),
    ("commands", "report"),
    ("commands", "terminal"),  # what is asked for goes out
    ("commands", "progress"),
    ("start", "cli"),
    ("__main__", "start"),
}

# Modules imported inside functions, and why: each would be paid by commands that do not need it.
LAZY = {
    ("cli", "imgwriter.units"): "re; only for a message",
    ("cli", "traceback"): "only for --debug",
    ("start", "imgwriter.cli"): "argparse and all else: a signal is heeded before",
    ("commands.build", "imgwriter.build"): "construct, pyfatfs, all the planning: --version needs none",
    ("commands.build", "imgwriter.report"): "with build",
    ("commands.build", "imgwriter.spec"): "dataclasses: 20 ms that --version does without",
    ("commands.build", "imgwriter.spec.boot"): "the same",
    ("commands.build", "imgwriter.spec.file"): "tomllib and json: only where a file is given",
    ("commands.cat", "imgwriter.examine.contents"): "the readers, only for commands that look into an image",
    ("commands.cat", "imgwriter.sink"): "for cat; other commands import it with build",
    ("commands.convert", "imgwriter.convert"): "the formats' readers, only for this command",
    ("commands.convert", "imgwriter.report"): "with convert",
    ("commands.diff", "imgwriter.diff.compare"): "the formats' readers, only for this command",
    ("commands.diff", "imgwriter.diff.report"): "the same",
    ("commands.diff", "imgwriter.examine.opening"): "the same",
    ("commands.extract", "imgwriter.examine.extraction"): "as for cat",
    ("commands.extract", "imgwriter.examine.selection"): "as for cat",
    ("commands.fuzz_compare", "imgwriter.fuzz.compare.report"): "only for this command",
    ("commands.fuzz_compare", "imgwriter.fuzz.compare.request"): "readers and guests, only for this command",
    ("commands.fuzz_corpus", "imgwriter.fuzz.corpus"): "all of the formats, only for this command",
    ("commands.fuzz_dictionary", "imgwriter.fuzz.dictionary"): "only for this command",
    ("commands.image", "imgwriter.examine.browse"): "as for cat",
    ("commands.image", "imgwriter.examine.choice"): "as for cat",
    ("commands.image", "imgwriter.examine.opening"): "as for cat",
    ("commands.inspect", "imgwriter.examine.inspection"): "as for cat",
    ("commands.inspect", "imgwriter.examine.inspection_text"): "as for cat",
    ("commands.ls", "imgwriter.examine.listing"): "as for cat",
    ("commands.map", "imgwriter.examine.opening"): "the formats' readers, only for this command",
    ("commands.map", "imgwriter.map.model"): "the same",
    ("commands.map", "imgwriter.map.output"): "the same",
    ("commands.map", "imgwriter.map.page"): "the same",
    ("commands.map", "imgwriter.map.svg"): "the same",
    ("commands.build_options", "imgwriter.spec.image_spec"): "only for a word that is not known",
    ("commands.parser", "imgwriter.container"): "the same",
    ("commands.parser", "difflib"): "only where an option is not known",
    ("commands.schema", "imgwriter.spec.schema"): "only for this command",
    ("commands.schema", "json"): "only for this command",
    ("commands.verify", "imgwriter.verify.image"): "the readers and checkers, only for this command",
    ("commands.verify", "imgwriter.verify.report"): "with verify",
    ("progress", "rich.console"): "200 ms; only where a bar is seen",
    ("progress", "rich.progress"): "200 ms; only where a bar is seen",
    ("terminal", "json"): "only for --json",
    ("build", "imgwriter.install"): "readers, and all about guests: most images have none",
    ("install.guest", "imgwriter.vm"): "asyncio and qemu.qmp",
    ("build", "imgwriter.boot_files"): "what only a boot loader needs",
    ("sources", "imgwriter.nix.system"): "what only NixOS needs",
    ("values", "uuid"): "only where an identifier is given",
    ("", "importlib"): "the public names are imported when asked for: 100 ms that --version does without",
    ("fuzz.compare.request", "imgwriter.vm"): "asyncio and qemu.qmp",
    ("sink.stream", "tempfile"): "only where a compressed image goes into a pipe",
    ("tree.scan", "imgwriter.tree.tarball"): "20 ms; only where a tar is given",
    ("tree.compression", "zstandard"): "30 ms; only for .tar.zst",
    ("compression", "zlib_ng"): "only for qcow2's compressed clusters",
    ("compression", "zstandard"): "30 ms; only for qcow2's clusters in zstd",
}  # fmt: skip

# What touches files, clocks, chance or other processes has no place where decisions are made.
IMPURE = {
    "os", "io", "time", "random", "secrets", "tempfile", "shutil", "pathlib", "glob", "fcntl", "socket",
    "threading",
}  # fmt: skip


class Import(NamedTuple):
    """One imported module: by whom, whom (dotted), and whether inside a function."""

    importer: str
    imported: str
    inside_function: bool
    line: int


def _name(path: Path) -> str:
    """Return a module's dotted name inside the package; the package itself is ""."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


def _is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _imports(module: str) -> Iterator[Import]:
    """Yield what a module imports when it runs: what only a type checker sees is left out."""

    def visit(node: ast.AST, inside: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, inside, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports relatively"
            for alias in node.names:
                yield Import(module, _target(node.module or "", alias.name), inside, node.lineno)
        elif not (isinstance(node, ast.stmt) and _is_type_checking(node)):
            inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, inside)

    yield from visit(_tree(module), False)


def _target(module: str, name: str) -> str:
    """Return the module that ``from module import name`` means."""
    inner = f"{module}.{name}".removeprefix("imgwriter.")
    return f"imgwriter.{inner}" if module.startswith("imgwriter") and inner in MODULES else module


def _unit(module: str) -> str:
    """Return the layers' name for a module: itself, or the package that it is in."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if (prefix := ".".join(parts[:length])) in LAYERS:
            return prefix
    raise AssertionError(f"imgwriter.{module} has no layer; give it one in {Path(__file__).name}")


def _inner(imported: str) -> str | None:
    """Return the name inside the package, or None for a module of somebody else's."""
    if imported == "imgwriter":
        return ""
    return imported.removeprefix("imgwriter.") if imported.startswith("imgwriter.") else None


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    importer = _unit(module)
    for item in _imports(module):
        inner = _inner(item.imported)
        if inner is None or _unit(inner) == importer or (importer, _unit(inner)) in SIDEWAYS:
            continue
        imported = _unit(inner)
        assert LAYERS[imported] < LAYERS[importer], (
            f"{MODULES[module]}:{item.line}: {importer} (L{LAYERS[importer]}) imports "
            f"{imported} (L{LAYERS[imported]})"
        )


def test_no_cycles() -> None:
    """Also within a package; imports inside functions count."""
    graph = {m: {i for x in _imports(m) if (i := _inner(x.imported)) is not None and i != m} for m in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for imported in sorted(graph[module]):
                visit(imported, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("module", MODULES)
def test_imports_stand_at_the_top(module: str) -> None:
    for item in _imports(module):
        if item.inside_function:
            assert (module, item.imported) in LAZY, f"{MODULES[module]}:{item.line} imports {item.imported}"


def test_every_lazy_import_that_is_allowed_exists() -> None:
    lazy = {(item.importer, item.imported) for m in MODULES for item in _imports(m) if item.inside_function}
    assert LAZY.keys() - lazy == set()


@pytest.mark.parametrize(
    "module", [m for m in MODULES if LAYERS[_unit(m)] == 2 or _unit(m) in ("disk", "units")]
)
def test_decisions_are_pure(module: str) -> None:
    found = {item.imported.partition(".")[0] for item in _imports(module)} & IMPURE
    assert not found


@pytest.mark.parametrize("module", MODULES)
def test_no_other_program_is_called(module: str) -> None:
    for item in _imports(module):
        called = item.imported.partition(".")[0] in ("subprocess", "pty", "multiprocessing")
        # QEMU, where a guest is asked for; and the parsers that `fuzz compare` compares.
        assert not called or module in ("vm", "fuzz.compare.run"), item
    calls = _attributes(module) & {"system", "popen", "execv", "execvp", "posix_spawn", "spawnv", "fork"}
    # The sink's workers are this program itself.
    assert calls == ({"fork"} if module == "worker" else set())


@pytest.mark.parametrize("module", [m for m in MODULES if m != "vm"])
def test_a_guest_is_paid_for_where_it_is_run(module: str) -> None:
    """asyncio and qemu.qmp take longer to import than all of imgwriter."""
    for item in _imports(module):
        assert item.imported.partition(".")[0] not in ("asyncio", "qemu"), item
        assert item.imported != "imgwriter.vm" or item.inside_function, item


@pytest.mark.parametrize("module", [m for m in MODULES if m not in ("cli", "terminal", "progress")])
def test_only_the_command_line_prints(module: str) -> None:
    names = {node.id for node in ast.walk(_tree(module)) if isinstance(node, ast.Name)}
    assert not names & {"print", "input"}
    assert not _attributes(module) & {"stdout", "stderr"}


@pytest.mark.parametrize("module", [m for m in MODULES if m not in ("commands.build", "commands.convert")])
def test_only_commands_read_the_environment(module: str) -> None:
    """SOURCE_DATE_EPOCH is all that is looked at."""
    assert not _attributes(module) & {"environ", "environb", "getenv", "getenvb"}


@pytest.mark.parametrize(
    "module", [m for m in MODULES if _unit(m) not in ("sink", "sidecar") and m != "tree.spool"]
)
def test_only_the_sink_writes(module: str) -> None:
    """sidecar writes the files beside the image, and tree.spool a file without a name."""
    writing = {
        "write", "pwrite", "pwritev", "writev", "truncate", "ftruncate", "copy_file_range", "sendfile",
        "rename", "replace_file", "unlink", "rmdir", "write_bytes", "write_text",
    }  # fmt: skip
    # terminal: standard output's buffer, as print() has no bytes. start, progress: standard error.
    # outputs: a folder of its own that stayed empty.
    # worker: the pipes between processes. vm: files in memory.
    # examine.unpack: a tree of an image as files of the host, each made new in an open directory.
    allowed = {
        "terminal": {"write"}, "start": {"write"}, "progress": {"write"}, "outputs": {"rmdir"},
        "worker": {"write"}, "vm": {"write"}, "examine.unpack": {"write", "unlink"},
    }  # fmt: skip
    assert _attributes(module, but_of="sink") & writing <= allowed.get(module, set())


def _attributes(module: str, but_of: str = "") -> set[str]:
    """Return the names after a dot, less those of the name ``but_of``."""
    nodes = [node for node in ast.walk(_tree(module)) if isinstance(node, ast.Attribute)]
    return {n.attr for n in nodes if not (isinstance(n.value, ast.Name) and n.value.id == but_of)}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(_tree(module)), f"{MODULES[module]} has no docstring"
