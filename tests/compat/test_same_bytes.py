"""The same input gives the same bytes, whoever builds, where, when and with which Python.

What may vary is varied for real: in processes of their own, under changed environments.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.golden import sample

pytestmark = pytest.mark.compat

REPOSITORY = Path(__file__).parents[2]
VERSIONS = ("3.11", "3.12", "3.13")
WORDS = ("--partition-table", "efi", "--additional-space", "0", "--esp-content", "tool:/EFI/tool", "--sha256")
# Eight mebibytes that can be compressed: several jobs for several threads.
TEXT = ("--content", "text:/text")
CONTAINERS = {
    "qcow2": ("--format", "qcow2"),
    "qcow2-0.10-4k": ("--format", "qcow2", "--qcow2-compat", "0.10", "--cluster-size", "4KiB"),
    "qcow2-zlib": ("--format", "qcow2-compressed"),
    "qcow2-zstd": ("--format", "qcow2-compressed", "--compression", "zstd"),
    "vhd": ("--format", "vpc"),
    "vhd-fixed-force-size": ("--format", "vpc", "--vhd-subformat", "fixed", "--force-size"),
    "vdi": ("--format", "vdi"),
    "vdi-static": ("--format", "vdi", "--vdi-subformat", "static"),
}


class Container(NamedTuple):
    """The options of a container, and the sum that every other build of it is held against."""

    words: tuple[str, ...]
    expected: str


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that anybody may enter, with the tree, a file for the ESP and one for containers."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to other users
        place = Path(folder)
        place.chmod(0o755)
        sample.write_tree(place / "tree")
        for name, content in (("tool", sample.noise(5_000, "tool")), ("text", sample.text(8 << 20, "text"))):
            (place / name).write_bytes(content)
            os.utime(place / name, (sample.TIME, sample.TIME))
        yield place


@pytest.fixture(scope="module")
def expected(place: Path) -> str:
    """The sum that every other build is held against."""
    return build(place, "expected")


@pytest.fixture(scope="module", params=CONTAINERS)
def container(request: pytest.FixtureRequest, place: Path) -> Container:
    """Each container in turn."""
    words = (*CONTAINERS[request.param], *TEXT)
    return Container(words, build(place, "expected", *words))


def build(
    place: Path,
    name: str,
    *words: str,
    tree: str = "tree",
    command: Sequence[str | Path] = (sys.executable, "-m", "imgwriter"),
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    umask: int = 0o022,
) -> str:
    """Build into a directory of its own and return the image's sum."""
    output = place / name
    given = ("--tree", tree if cwd else place / tree, "--output", output, "--quiet", *WORDS, *words)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **(env or {})}
    done = subprocess.run(
        [*command, "build", *given], capture_output=True, cwd=cwd or place, env=environment, umask=umask
    )
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    (written,) = output.glob("nixos.*.sha256")
    total = written.read_text().split()[0]
    shutil.rmtree(output)
    return total


@pytest.mark.parametrize(
    "env",
    [
        {"TZ": "Pacific/Kiritimati"},
        {"TZ": "America/St_Johns"},
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "C.UTF-8"},
        {"LC_ALL": "tr_TR.UTF-8"},
        {"PYTHONHASHSEED": "0"},
        {"PYTHONHASHSEED": "12345"},
        {"PYTHONOPTIMIZE": "2"},
        {"HOME": "/nonexistent", "USER": "nobody"},
    ],
    ids=str,
)
def test_the_environment_does_not_show(env: dict[str, str], place: Path, expected: str) -> None:
    assert build(place, "out", env=env) == expected


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_umask_does_not_show(umask: int, place: Path, expected: str) -> None:
    assert build(place, "out", umask=umask) == expected


@pytest.mark.parametrize("workers", ["1", "2", "7"])
def test_the_number_of_workers_does_not_show(workers: str, place: Path, expected: str) -> None:
    assert build(place, "out", "--workers", workers) == expected


def test_the_working_directory_does_not_show(place: Path, expected: str) -> None:
    assert build(place, "out", cwd=place) == expected
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    shutil.copy2(place / "tool", elsewhere)
    assert build(place, "out", tree="../tree", cwd=elsewhere) == expected


def test_the_order_of_readdir_does_not_show(place: Path, expected: str) -> None:
    """tmpfs lists by age and ext4 by hash: the tree made backwards on the one, in order on the other."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        sample.write_tree(Path(memory), backwards=True)
        many = "usr/share/many"
        assert os.listdir(place / "tree" / many) != os.listdir(Path(memory) / many)
        assert build(place, "out", tree=memory) == expected


def test_what_was_there_does_not_show(place: Path, expected: str) -> None:
    (place / "out").mkdir()
    (place / "out" / "nixos.img").write_bytes(b"\xff" * (1 << 20))
    assert build(place, "out") == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_user_does_not_show(place: Path, expected: str) -> None:
    """Built by user 65534, who needs no root for any of it."""
    (place / "theirs").mkdir()
    os.chown(place / "theirs", 65534, 65534)
    # The interpreter may stand where that user cannot read: a dry run loads its modules beforehand.
    code = (
        "import os, sys; from imgwriter.cli import main; main([*sys.argv[1:], '--dry-run']);"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(main())"
    )
    assert build(place, "theirs", command=(sys.executable, "-c", code)) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_the_version_of_python_does_not_show(version: str, place: Path, expected: str) -> None:
    assert build(place, "out", command=(_python(version), "-m", "imgwriter")) == expected


def _python(version: str) -> Path:
    """Return the interpreter of a version, with what imgwriter needs."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        python = Path(sys.executable)
    else:
        python = REPOSITORY / f".venv-{version}" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no environment for Python {version}: `make setup` makes one where it is installed")
    return python


@pytest.mark.parametrize(
    ("env", "umask"),
    [
        ({"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONHASHSEED": "0"}, 0o000),
        ({"TZ": "America/St_Johns", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "12345"}, 0o077),
        ({"HOME": "/nonexistent", "USER": "nobody", "PYTHONOPTIMIZE": "2"}, 0o022),
    ],
    ids=["east-0", "west-12345", "nobody"],
)
def test_the_environment_does_not_show_in_a_container(
    env: dict[str, str], umask: int, place: Path, container: Container
) -> None:
    assert build(place, "out", *container.words, env=env, umask=umask) == container.expected


@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_the_number_of_threads_does_not_show_in_a_container(
    threads: str, place: Path, container: Container
) -> None:
    assert build(place, "out", *container.words, "--threads", threads) == container.expected


def test_the_number_of_processors_does_not_show_in_a_container(place: Path, container: Container) -> None:
    """A build that is not told how many threads asks how many processors it may use: one."""
    one = str(min(os.sched_getaffinity(0)))
    command = ("taskset", "-c", one, sys.executable, "-m", "imgwriter")
    assert build(place, "out", *container.words, command=command) == container.expected


@pytest.mark.parametrize("version", VERSIONS)
def test_the_version_of_python_does_not_show_in_a_container(
    version: str, place: Path, container: Container
) -> None:
    command = (_python(version), "-m", "imgwriter")
    assert build(place, "out", *container.words, command=command) == container.expected


def test_what_was_there_does_not_show_in_a_container(place: Path, container: Container) -> None:
    (place / "out").mkdir()
    for suffix in ("qcow2", "vhd", "vdi"):
        (place / "out" / f"nixos.{suffix}").write_bytes(b"\xff" * (1 << 20))
    assert build(place, "out", *container.words) == container.expected


def test_a_change_of_one_byte_shows_in_a_container(place: Path, container: Container) -> None:
    text = place / "text"
    before = text.read_bytes()
    _change_byte(text)
    assert build(place, "out", *container.words) != container.expected
    text.write_bytes(before)
    os.utime(text, (sample.TIME, sample.TIME))
    assert build(place, "out", *container.words) == container.expected


def test_a_change_of_one_byte_shows(place: Path, expected: str) -> None:
    """The sums can tell: one byte, one mode, one second each give another."""
    tree = place / "changed"
    for change in (_change_byte, _change_mode, _change_time):
        sample.write_tree(tree)
        change(tree / "usr/share/block")
        assert build(place, "out", tree="changed") != expected, change
        shutil.rmtree(tree)


def _change_byte(path: Path) -> None:
    before = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _change_mode(path: Path) -> None:
    path.chmod(0o640)


def _change_time(path: Path) -> None:
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
