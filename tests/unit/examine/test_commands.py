"""The four commands as a user meets them: what is printed where, and exit statuses."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from imgwriter import Content, ImageSpec, build_image
from tests.terminal import run_on_terminal

COMMAND = [sys.executable, "-m", "imgwriter"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT disk with an ESP and a root that holds two files."""
    base = tmp_path_factory.mktemp("commands")
    tree = base / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "motd").write_bytes(b"hello\n")
    (tree / "etc" / "large").write_bytes(bytes(range(256)) * 4096)
    (tree / "etc" / "link").symlink_to("/etc/motd")
    spec = ImageSpec(
        trees=[tree],
        partition_table="efi",
        additional_space=0,
        output=base / "out",
        boot_end=16 << 20,
        esp_contents=[Content(str(tree / "etc" / "motd"), "/EFI/motd.txt")],
        time=1_700_000_000,
    )
    return Path(os.fsdecode(build_image(spec).path))


def run(*words: object, **more: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, **more)


def good(*words: object) -> bytes:
    """Return what a command prints that has nothing to complain of."""
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


# --- inspect ---


def test_inspect_prints_a_table_and_a_paragraph_for_each(image: Path) -> None:
    lines = good("inspect", image).decode().splitlines()
    size = image.stat().st_size >> 20
    assert lines[0].startswith(f"{image}: {size} MiB, raw, GPT ")
    assert lines[4].split() == ["#", "type", "offset", "size", "used", "free", "file", "system", "label"]
    assert lines[5].split()[:6] == ["1", "EFI", "system", "partition", "8", "MiB"]
    assert lines[6].split()[:5] == ["2", "Linux", "data", "16", "MiB"]
    assert {"partition 1: FAT16", "partition 2: ext4"} < set(lines)


def test_a_paragraph_of_inspect_reads_on_80_columns(image: Path) -> None:
    lines = good("inspect", image).decode().splitlines()
    first = lines.index("partition 2: ext4")
    assert max(map(len, lines[first:])) < 80
    features = next(n for n, line in enumerate(lines) if line.startswith("  features "))
    words = " ".join(lines[features:]).partition("  mounts")[0].split()[1:]
    found = json.loads(good("inspect", image, "--json"))
    assert words == found["partitions"][1]["file_system"]["features"]


def test_inspect_as_a_document(image: Path) -> None:
    found = json.loads(good("inspect", image, "--json"))
    assert (found["schema"], found["image"]["format"], found["table"]["kind"]) == (1, "raw", "gpt")
    esp, root = found["partitions"]
    assert (esp["type_name"], root["file_system"]["type"]) == ("EFI system partition", "ext4")


def test_inspect_says_what_cannot_be_read(tmp_path: Path) -> None:
    """Nothing of it is an error: the image is looked at, not used."""
    (tmp_path / "xfs").write_bytes(b"XFSB".ljust(1 << 20, b"\0"))
    (tmp_path / "empty").write_bytes(bytes(1 << 20))
    (tmp_path / "bad").write_bytes(bytes(0x438) + b"\x53\xef".ljust(1 << 20, b"\0"))
    assert b"the disk: xfs\n  not read  imgwriter reads ext4, ext3, ext2 and FAT, not xfs\n" in good(
        "inspect", tmp_path / "xfs"
    )
    assert good("inspect", tmp_path / "empty").decode().splitlines()[1:] == [
        "the file has 1 MiB, 1 MiB allocated"
    ]
    assert b"the disk: ext4\n  not read  " in good("inspect", tmp_path / "bad")


# --- ls ---


def test_ls(image: Path) -> None:
    assert good("ls", image) == b"etc\nlost+found\n"
    assert good("ls", image, "/etc") == b"large\nlink\nmotd\n"
    assert good("ls", image, "/etc/motd", "/etc") == b"/etc/motd\n\n/etc:\nlarge\nlink\nmotd\n"
    assert good("ls", "-R", image) == b"/:\netc\nlost+found\n\n/etc:\nlarge\nlink\nmotd\n\n/lost+found:\n"
    assert good("ls", "--partition", "1", image, "EFI") == b"motd.txt\n"
    assert (
        good("ls", "-ld", image, "/lost+found")
        .decode()
        .startswith("drwx------  2  0  0  16384  2023-11-14T22:13:20Z")
    )


def test_options_may_stand_anywhere(image: Path) -> None:
    assert good("ls", image, "--partition", "1", "EFI") == b"motd.txt\n"
    assert good("ls", image, "/etc", "-d", "/lost+found") == b"/etc\n/lost+found\n"
    assert b"/ has no '-d'" in run("ls", image, "--partition", "2", "--", "-d").stderr


def test_ls_as_lines_of_json(image: Path) -> None:
    lines = [json.loads(line) for line in good("ls", "-R", "--json", image).splitlines()]
    assert [line["path"] for line in lines] == [
        "/etc", "/lost+found", "/etc/large", "/etc/link", "/etc/motd",
    ]  # fmt: skip


def test_fat_has_more_to_say(image: Path) -> None:
    (line,) = good("ls", "--json", "--partition", "1", image, "EFI/motd.txt").splitlines()
    found = json.loads(line)
    assert (found["short_name"], found["attributes"]) == ("MOTD    TXT", 0x20) and "inode" not in found


def test_the_end_of_a_pipe_is_no_error_of_its_own(image: Path) -> None:
    shell = f"'{sys.executable}' -m imgwriter cat '{image}' /etc/large | head -c 1 >/dev/null;"
    shell += " echo ${PIPESTATUS[0]}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True)
    assert (done.stdout, done.stderr) == (b"141\n", b"")


# --- cat ---


def test_cat(image: Path) -> None:
    large = bytes(range(256)) * 4096
    assert good("cat", image, "/etc/link") == b"hello\n"
    assert good("cat", image, "etc/motd", "etc/large", "etc/motd") == b"hello\n" + large + b"hello\n"


def test_cat_writes_to_a_terminal_too(image: Path) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb") as terminal:
        done = subprocess.run([*COMMAND, "cat", str(image), "/etc/motd"], stdout=follower)
        os.close(follower)
        assert (done.returncode, terminal.read(7)) == (0, b"hello\r\n")


def test_standard_output_that_is_full(image: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "cat", str(image), "/etc/large"], stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 1
    assert b"standard output takes no more bytes: No space left on device" in done.stderr


# --- extract ---


def test_extract(image: Path, tmp_path: Path) -> None:
    said = good("extract", image, "/etc/motd", "--output", tmp_path / "out")
    assert said == f"2 names, 6 B of contents, written to {tmp_path}/out\n".encode()
    assert (tmp_path / "out" / "etc" / "motd").read_text() == "hello\n"
    assert sorted(os.listdir(tmp_path / "out" / "etc")) == ["motd"]
    assert good("extract", image, "--output", tmp_path / "all", "--quiet") == b""
    assert sorted(os.listdir(tmp_path / "all" / "etc")) == ["large", "link", "motd"]


def test_extract_to_a_tar(image: Path, tmp_path: Path) -> None:
    said = good("extract", image, "--to-tar", tmp_path / "x.tar").decode()
    size = (tmp_path / "x.tar").stat().st_size
    assert said == f"5 names, {size >> 10:,} KiB, written to {tmp_path}/x.tar\n"
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.getnames() == [".", "./etc", "./etc/large", "./etc/link", "./etc/motd", "./lost+found"]
    done = run("extract", image, "--to-tar", "-")
    assert (done.returncode, done.stdout) == (0, (tmp_path / "x.tar").read_bytes())
    assert done.stderr.endswith(b"written to standard output\n")


def test_a_tar_is_not_for_a_terminal(image: Path) -> None:
    leader, follower = pty.openpty()
    done = subprocess.run(
        [*COMMAND, "extract", str(image), "--to-tar", "-"], stdout=follower, stderr=subprocess.PIPE
    )
    os.close(leader)
    os.close(follower)
    assert done.returncode == 1 and b"standard output is a terminal" in done.stderr


def test_what_is_left_out_is_a_warning(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "suid").touch()
    (tree / "suid").chmod(0o4755)
    spec = ImageSpec(trees=[tree], partition_table="none", additional_space=0, output=tmp_path / "image")
    path = os.fsdecode(build_image(spec).path)
    done = run("extract", path, "/suid", "--output", tmp_path / "out", "--owner", "caller")
    assert done.returncode == 0
    assert done.stderr == (
        b"imgwriter: warning: set-user-ID and set-group-ID bits of 1 file were left out, first of suid\n"
    )


def test_a_full_directory_is_refused(image: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    done = run("extract", image, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"imgwriter: {tmp_path}/out is not empty; choose a new directory, or allow --overwrite\n"
    )
    assert os.listdir(tmp_path / "out") == ["mine"]
    good("extract", image, "--output", tmp_path / "out", "--overwrite")
    assert sorted(os.listdir(tmp_path / "out")) == ["etc", "lost+found", "mine"]


def test_a_half_tree_is_told_of(image: Path, tmp_path: Path) -> None:
    """ulimit -f makes a file of the tree too large: EFBIG, as SIGXFSZ is ignored by Python."""
    shell = f"ulimit -f 512; '{sys.executable}' -m imgwriter extract '{image}' --output '{tmp_path}/out'"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith(f"imgwriter: {tmp_path}/out/etc/large: cannot be written: File too large; ")
    assert second.startswith(f"imgwriter: {tmp_path}/out holds an unfinished tree, 2 of 5 names: remove it")


def test_a_signal_tells_what_is_left(image: Path, tmp_path: Path) -> None:
    """It comes with the first symlink that is made, so that where it comes is known."""
    program = f"""
import os, signal
from imgwriter import cli
make = os.symlink
def symlink(*arguments, **more):
    make(*arguments, **more)
    os.kill(os.getpid(), signal.SIGTERM)
os.symlink = symlink
os._exit(cli.main(["extract", {str(image)!r}, "--output", {str(tmp_path / "out")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 128 + 15
    said = f"imgwriter: stopped by SIGTERM; {tmp_path}/out holds an unfinished tree, 3 of 5 names: remove it"
    assert done.stderr.startswith(said)


def test_progress_on_a_terminal(image: Path, tmp_path: Path) -> None:
    status, seen = run_on_terminal([*COMMAND, "extract", str(image), "--output", str(tmp_path / "out")])
    assert status == 0 and b"extracting, 2 of 2 files" in seen


# --- refusals ---


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("ls", "IMAGE", "/nothing"), 1, "/nothing does not exist: / has no 'nothing'; 'imgwriter ls' shows"),
        (("ls", "IMAGE", "--partition", "3"), 1, "no partition 3"),
        (("ls", "IMAGE", "--partition", "x"), 2, "'x' is not a number"),
        (("cat", "IMAGE", "/etc"), 1, "/etc is a directory; give a regular file"),
        (("cat", "IMAGE"), 2, "the following arguments are required: PATH; see 'imgwriter cat --help'"),
        (("ls",), 2, "the following arguments are required: IMAGE; see 'imgwriter ls --help'"),
        (("cat", "/nowhere", "x"), 1, "/nowhere"),
        (("extract", "IMAGE"), 2, "--output --to-tar is required"),
        (("extract", "IMAGE", "--output", "x", "--to-tar", "y"), 2, "not allowed with"),
        (
            ("extract", "IMAGE", "--to-tar", "y", "--overwrite"),
            2,
            "--owner and --overwrite are of a directory",
        ),
        (("inspect", "IMAGE", "--input-format", "vmdk"), 2, "'vmdk' is unknown; use one of raw, qcow2"),
        (("inspect", "IMAGE", "--sector-size", "100"), 1, "sectors of 100 bytes are not read"),
    ],
)
def test_refusals(image: Path, words: tuple[str, ...], status: int, says: str, tmp_path: Path) -> None:
    done = run(*(image if word == "IMAGE" else word for word in words), cwd=tmp_path)
    assert done.returncode == status
    assert says in done.stderr.decode() and done.stdout == b""
    assert list(tmp_path.iterdir()) == []


# --- documentation ---


def test_every_field_is_documented(image: Path) -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "command-line.md").read_text()
    section = text[text.index("### The documents of inspect and ls") :]

    def keys(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(keys, value))
        return set(value).union(*map(keys, value.values())) if isinstance(value, dict) else set()

    found = keys(json.loads(good("inspect", image, "--json")))
    for partition in (1, 2):
        for line in good("ls", "-R", "--json", image, "--partition", partition).splitlines():
            found |= set(json.loads(line))
    assert [key for key in sorted(found) if not re.search(rf"[`.]{key}(`|\.|\[)", section)] == []


def test_every_option_is_documented_and_explained(image: Path) -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "command-line.md").read_text()
    section = text[text.index("## Looking into an image") :]
    for command in ("inspect", "ls", "cat", "extract"):
        said = good(command, "--help").decode()
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", said)) - {"--help"}
        assert [option for option in sorted(options) if option not in section] == []
        assert max(map(len, said.splitlines())) <= 84 and "examples\n" in said and "exit status\n" in said


def test_which_image_is_damaged_is_said(image: Path, tmp_path: Path) -> None:
    """A script may look into many, and diff always has two."""
    (tmp_path / "text").write_bytes(b"no image")
    (tmp_path / "cut.qcow2").write_bytes(b"QFI\xfb\x00\x00\x00\x03".ljust(64, b"\x00"))
    for words in (
        ("ls", "text"),
        ("cat", "text", "/x"),
        ("inspect", "cut.qcow2"),
        ("map", "cut.qcow2", "--svg=x"),
    ):
        done = run(words[0], tmp_path / words[1], *words[2:])
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.startswith(b"imgwriter: " + os.fsencode(tmp_path / words[1]) + b": ")
    for words in (("diff", image, tmp_path / "cut.qcow2"), ("verify", tmp_path / "cut.qcow2")):
        done = run(*words)
        assert done.returncode in (1, 2)
        assert done.stderr.startswith(b"imgwriter: " + os.fsencode(tmp_path / "cut.qcow2") + b": ")


def test_sizes_and_switches_of_a_container_are_words(image: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "imgwriter", "convert", image, tmp_path / "a.qcow2"], capture_output=True
    )
    assert done.returncode == 0
    second = good("inspect", tmp_path / "a.qcow2").decode().splitlines()[1]
    assert ", cluster size 64 KiB, " in second and second.endswith(", extended l2 no")


def test_a_partition_that_is_no_number_is_status_2(image: Path) -> None:
    for command in ("ls", "verify"):
        done = run(command, image, "--partition", "x")
        assert done.returncode == 2 and b"partition 'x' is not a number; 'imgwriter inspect'" in done.stderr
