"""The command line as a user meets it: what is printed where, exit statuses, signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from imgwriter import cli
from imgwriter.errors import PlanInvariantError
from tests.terminal import run_on_terminal

COMMAND = [sys.executable, "-m", "imgwriter"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "motd").write_text("hello\n")
    return root


@pytest.fixture
def words(tree: Path, tmp_path: Path) -> list[str]:
    """A small build into tmp_path/out."""
    return ["build", "--tree", str(tree), "--output", str(tmp_path / "out"), "--additional-space", "0"]


def run(words: Sequence[str], **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, **more)


# What is printed


def test_a_build_prints_the_table_on_standard_output_alone(words: list[str], tmp_path: Path) -> None:
    done = run([*words, "--partition-table", "efi"])
    assert (done.returncode, done.stderr) == (0, "")
    image = tmp_path / "out" / "nixos.img"
    assert done.stdout.startswith(f"{image}: 265 MiB, GPT ")
    header, esp, root = done.stdout.splitlines()[2:5]
    assert header.split() == ["#", "role", "type", "offset", "size", "used", "free", "label"]
    assert esp.split()[:7] == ["1", "esp", "FAT32", "8", "MiB", "248", "MiB"]
    assert root.split()[:7] == ["2", "root", "ext4", "256", "MiB", "8", "MiB"]
    assert "PARTUUID=" in done.stdout and " files and directories, " in done.stdout.splitlines()[-1]
    assert image.stat().st_size == 265 << 20


def test_quiet_prints_nothing(words: list[str], tmp_path: Path) -> None:
    done = run([*words, "--quiet"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "out" / "nixos.img").exists()


def test_a_dry_run_prints_the_plan_and_writes_nothing(words: list[str], tmp_path: Path) -> None:
    done = run([*words, "--dry-run"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("dry run: nothing was written\n")
    assert not (tmp_path / "out").exists()


def test_json(words: list[str], tmp_path: Path) -> None:
    planned = json.loads(run([*words, "--json", "--dry-run", "--partition-table", "legacy+gpt"]).stdout)
    written = json.loads(run([*words, "--json", "--partition-table", "legacy+gpt"]).stdout)
    assert planned["dry_run"] and not written["dry_run"]
    assert planned["seconds"] is None and written["seconds"] > 0
    assert planned["image"]["allocated"] is None and written["image"]["allocated"] > 0
    for name in ("schema", "disk", "partitions", "content", "warnings"):
        assert planned[name] == written[name]
    image = tmp_path / "out" / "nixos.img"
    assert written["image"]["path"] == str(image)
    assert written["image"]["size"] == image.stat().st_size
    bios, root = written["partitions"]
    assert (bios["role"], bios["file_system"]) == ("bios", None)
    assert (root["number"], root["start"], root["first_lba"]) == (2, 2 << 20, 4096)
    assert root["last_lba"] == root["first_lba"] + root["size"] // 512 - 1
    assert root["file_system"]["used"] + root["file_system"]["free"] == root["file_system"]["size"]
    assert written["content"] == {"names": 2, "inodes": 3, "size": 6}


def test_json_is_documented(words: list[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    found = json.loads(run([*words, "--json", "--dry-run", "--partition-table", "efi"]).stdout)
    objects = [found, found["image"], found["disk"], found["content"], *found["partitions"]]
    objects += [partition["file_system"] for partition in found["partitions"]]
    names = {name for each in objects for name in each}
    assert sorted(name for name in names if f"`{name}" not in text and f".{name}" not in text) == []


def test_warnings_go_to_standard_error(words: list[str], tree: Path) -> None:
    tree.chmod(0o700)
    done = run([*words, "--json", "--dry-run"])
    assert done.stderr.startswith("imgwriter: warning: ")
    assert len(json.loads(done.stdout)["warnings"]) == 1


def test_a_path_that_is_no_text_is_printed_as_bytes(words: list[str], tmp_path: Path) -> None:
    words[words.index("--output") + 1] = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    done = subprocess.run([*COMMAND, *words], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\xff/nixos.img: " in done.stdout


EVERY_COMMAND = [
    (), ("build",), ("convert",), ("inspect",), ("ls",), ("cat",), ("extract",), ("verify",), ("diff",),
    ("map",), ("fuzz",), ("fuzz", "corpus"), ("fuzz", "compare"), ("fuzz", "dictionary"), ("schema",),
]  # fmt: skip


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=" ".join)
def test_help_reads_on_80_columns(command: Sequence[str]) -> None:
    done = run([*command, "--help"], env={**os.environ, "COLUMNS": "80"})
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) < 80
    name = " ".join(["imgwriter", *command])
    assert lines[0].startswith(f"usage: {name}")
    examples = lines.index("examples")
    assert any(line.startswith(f"  {name} ") for line in lines[examples + 1 :])
    titles = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert len(titles) == len(set(titles)), "each heading is there once"


def test_help_lists_every_command() -> None:
    lines = run(["--help"]).stdout.splitlines()
    first = lines.index("  COMMAND") + 1
    listed = {line.split()[0] for line in lines[first : lines.index("", first)]}
    assert listed == {command[0] for command in EVERY_COMMAND if command}


def test_version_imports_nothing_heavy() -> None:
    code = (
        "import sys; from imgwriter.cli import main; main(['--version']);"
        "heavy = {'construct', 'rich', 'zstandard', 'pyfatfs', 'uuid', 'dataclasses'};"
        "print(*sorted(set(sys.modules) & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    name, heavy = done.stdout.split("\n", 1)
    assert name.startswith("imgwriter ") and heavy.strip() == "", done.stderr


def test_a_build_without_a_terminal_imports_no_rich(words: list[str]) -> None:
    code = "import sys; from imgwriter.cli import main; main(sys.argv[1:]); print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *words, "--quiet"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_terminal_shows_progress(words: list[str]) -> None:
    status, seen = run_on_terminal([*COMMAND, *words])
    assert status == 0
    assert re.search(rb"([1-9]\d*) of \1 files?\b", seen), "those with content, at the end"


# How it ends


def test_no_command_is_status_2() -> None:
    done = run([])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "imgwriter: no command is given; see 'imgwriter --help'\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--verison"],
            "imgwriter: there is no option --verison; --version is the nearest; see 'imgwriter --help'",
        ),
        (["build", "--form=raw"], "imgwriter build: there is no option --form; --format is the nearest;"),
        (["build", "a", "b"], "imgwriter build: 'b' is one word too many; see 'imgwriter build --help'"),
        (["ls", "a", "--jsn"], "imgwriter ls: there is no option --jsn; --json is the nearest;"),
        (["fuzz", "corpus", "--output", "a", "b"], "imgwriter fuzz corpus: 'b' is one word too many;"),
        (
            ["build", "--zzzzzzzz"],
            "imgwriter build: there is no option --zzzzzzzz; see 'imgwriter build --help'",
        ),
        (
            ["build", "--format", "VHD"],
            "imgwriter build: argument --format: format 'VHD' is unknown; use one of raw, qcow2,",
        ),
        (["build", "--fs-type", "xfs"], "imgwriter build: argument --fs-type: file system type 'xfs' is not"),
        (
            ["build", "--block-size", "512"],
            "imgwriter build: argument --block-size: '512' is unknown; use one of 1024, 2048, 4096; see",
        ),
        (
            ["build", "--workers", "0"],
            "imgwriter build: argument --workers/--threads: '0' is not a positive number; give one; see",
        ),
        (["convert", "a", "b", "--format", "vmdk"], "imgwriter convert: argument --format: format 'vmdk' is"),
        (["inspect", "a", "--input-format", "iso"], "imgwriter inspect: argument --input-format: 'iso' is"),
    ],
)
def test_a_word_that_is_not_known_is_status_2(words: list[str], message: str) -> None:
    done = run(words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1


def test_a_contradiction_is_status_1(words: list[str], tmp_path: Path) -> None:
    done = run([*words, "--fs-type", "vfat"])
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr.startswith("imgwriter: file system type 'vfat' needs partition table 'none'")
        and done.stderr.count("\n") == 1
    )
    assert not (tmp_path / "out").exists()


def test_a_table_is_refused_before_the_trees_are_read(words: list[str]) -> None:
    words[words.index("--tree") + 1] = "/nonexistent"
    done = run([*words, "--boot-end", "300"])
    assert done.returncode == 1 and "boot end" in done.stderr


def test_what_does_not_fit_names_the_largest_files(words: list[str], tree: Path) -> None:
    (tree / "large").write_bytes(bytes(range(256)) * (40 << 12))
    done = run([*words[:-2], "--disk-size", "32"])
    assert done.returncode == 1
    sentence, title, first, *_ = done.stderr.splitlines()
    assert sentence.startswith("imgwriter: partition 1 'root': ext4 needs ")
    assert title == "the largest files:" and first.split() == ["40", "MiB", "large"]


def test_an_error_shows_a_traceback_only_with_debug(words: list[str]) -> None:
    words[words.index("--tree") + 1] = "/nonexistent"
    assert "Traceback" not in run(words).stderr
    assert "Traceback" in run([*words, "--debug"]).stderr


@pytest.mark.parametrize("error", [PlanInvariantError("two at 4096"), KeyError("x")])
def test_a_bug_is_status_3_and_asks_for_a_report(
    error: Exception, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_spec: object) -> object:
        raise error

    monkeypatch.setattr("imgwriter.build.plan_image", fail)
    assert cli.main(words) == 3
    said = capsys.readouterr().err
    assert "please report it" in said and type(error).__name__ in said and said.count("\n") == 1


def test_no_memory_is_status_1(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_spec: object) -> object:
        raise MemoryError

    monkeypatch.setattr("imgwriter.build.plan_image", fail)
    assert cli.main(words) == 1
    said = capsys.readouterr().err
    assert "not enough memory" in said and said.count("\n") == 1


def test_a_closed_pipe_is_no_error_message(words: list[str], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, *words], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
    assert (tmp_path / "out" / "nixos.img").exists()


def test_a_full_standard_output_is_status_1(words: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, *words], stdout=full, stderr=PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("imgwriter: standard output takes no more bytes: No space")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "out" / "nixos.img").exists()


@pytest.mark.parametrize("words", [["--help"], ["build", "--help"], ["--version"], ["schema"]], ids=" ".join)
def test_help_that_nobody_takes_is_no_success(words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, *words], stdout=full, stderr=PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("imgwriter: standard output takes no more bytes: No space")


@pytest.mark.parametrize(
    "command",
    [
        ["verify", "{image}"],
        ["diff", "{image}", "{image}"],
        ["fuzz", "compare", "--parsers", "imgwriter", "{folder}"],
    ],
    ids=lambda words: words[0],
)
def test_an_answer_that_nobody_takes_is_none(command: list[str], words: list[str], tmp_path: Path) -> None:
    """Status 1 of these says that there are findings, or differences."""
    run(words)
    image = tmp_path / "out" / "nixos.img"
    command = [word.format(image=image, folder=image.parent) for word in command]
    assert run(command).returncode == 0
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, *command], stdout=full, stderr=PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("imgwriter: standard output takes no more bytes: No space")


def _with_closed(descriptor: int, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run with a closed descriptor: by a shell, since no pipe may get its number."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {descriptor}>&-', "sh", *COMMAND, *words], capture_output=True, text=True
    )


@pytest.mark.parametrize("more", [(), ("--json",), ("--output", "-", "--format", "qcow2-compressed")])
def test_a_closed_standard_output_is_status_1(more: Sequence[str], words: list[str]) -> None:
    done = _with_closed(1, [*words, *more])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(
        "imgwriter: standard output takes no more bytes: Bad file descriptor; look at what reads it\n"
    )


def test_a_closed_standard_error_is_nobody_elses(words: list[str], tree: Path, tmp_path: Path) -> None:
    """What is said goes neither to standard output nor into a file that has its number."""
    os.chmod(tree, 0o700)  # a warning
    usual = subprocess.run([*COMMAND, *words, "--output", "-"], capture_output=True)
    assert b"warning" in usual.stderr
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *COMMAND, *words, "--output", "-"]
    closed = subprocess.run(command, stdout=PIPE)
    assert (closed.returncode, closed.stdout) == (0, usual.stdout)
    done = _with_closed(2, words)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "nixos.img").read_bytes() == usual.stdout


def test_a_closed_standard_input_is_no_tar(words: list[str], tmp_path: Path) -> None:
    words[words.index("--tree") + 1] = "-"
    done = _with_closed(0, words)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_what_was_there(number: signal.Signals, words: list[str], tmp_path: Path) -> None:
    """The signal comes while the tree is read: a tar on standard input that does not end."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "nixos.img").write_text("before")
    words[words.index("--tree") + 1] = "-"
    member = tarfile.TarInfo("large")
    member.size = 1 << 40

    # Whoever runs the tests may ignore the signal, as nohup does, and children inherit that.
    heed = (
        "import os, signal, sys\n"
        "signal.signal(int(sys.argv[1]), signal.SIG_DFL)\n"
        "os.execv(sys.argv[2], sys.argv[2:])"
    )
    command = [sys.executable, "-c", heed, str(number.value), *COMMAND, *words]
    with subprocess.Popen(command, stdin=PIPE, stderr=PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        # More than a pipe holds: when it is taken, the handlers are in place.
        process.stdin.write(member.tobuf() + bytes(1 << 20))
        process.stdin.flush()
        process.send_signal(number)
        assert process.wait() == 128 + number
        said = process.stderr.read().decode()
    assert said == f"imgwriter: stopped by {number.name}; no unfinished file is left behind\n"
    assert [p.name for p in out.iterdir()] == ["nixos.img"]
    assert (out / "nixos.img").read_text() == "before"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_imports_is_one_sentence_too(number: signal.Signals) -> None:
    """The signal comes when the command line is looked for, by whoever looks for it first."""
    program = (
        "import os, signal, sys\n"
        "number = int(sys.argv.pop(1))\n"
        "usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL\n"
        "signal.signal(number, usual)\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'argparse':\n"
        "            os.kill(os.getpid(), number)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "import runpy\n"
        "runpy.run_module('imgwriter', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(number.value), "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert done.stderr == f"imgwriter: stopped by {number.name}; no unfinished file is left behind\n"


def test_a_signal_while_writing_leaves_nothing(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The signal comes from the progress function, which is called between two writes."""
    from imgwriter import build

    write = build.write_image

    def interrupted(plan: build.ImagePlan, _progress: object, started: float) -> build.Result:
        return write(plan, lambda _done, _total: os.kill(os.getpid(), signal.SIGTERM), started)

    monkeypatch.setattr(build, "write_image", interrupted)
    assert cli.main(words) == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
