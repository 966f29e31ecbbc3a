"""What is heard when QEMU closes its sockets one after the other, in any order.

A busy machine shows any of these orders; QEMU itself cannot be asked for one. So a program in its place
speaks as much of QMP as is needed. Spec: QEMU, docs/interop/qmp-spec.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from imgwriter.errors import GuestError
from imgwriter.extent import Bytes
from imgwriter.guest.request import GuestRequest
from imgwriter.vm import run_guest

QEMU = r"""#!{python}
import json, os, re, sys, time
words = " ".join(sys.argv)
fd = {{name: int(number) for name, number in re.findall(r"socket,id=(\w+),fd=(\d+)", words)}}
def say(**message):
    os.write(fd["qmp"], json.dumps(message).encode() + b"\n")
version = {{"qemu": {{"micro": 0, "minor": 2, "major": 7}}, "package": ""}}
say(QMP={{"version": version, "capabilities": []}})
# A message at a time: the client waits for each answer, and ends none with a newline.
while asked := json.loads(os.read(fd["qmp"], 65536)):
    say(**{{"return": {{}}, "id": asked.get("id")}})
    if asked["execute"] == "cont":
        break
os.write(fd["status"], b"stage install\nexit 0\n")
for step in {order!r}.split():
    if step == "SHUTDOWN":
        event = {{"timestamp": {{"seconds": 1, "microseconds": 0}}, "event": "SHUTDOWN"}}
        say(**event, data={{"guest": True, "reason": "guest-shutdown"}})
    elif step == "wait":
        time.sleep(0.2)
    elif step == "stderr":
        os.close(1), os.close(2)
    elif step == "qmp":
        os.close(fd["qmp"])
    else:
        os.close(fd[step])
os._exit(0)
"""

ORDERS = (
    "SHUTDOWN",
    "status wait SHUTDOWN",
    "serial status log wait SHUTDOWN wait",
    "status wait stderr wait SHUTDOWN wait",
    "SHUTDOWN stderr wait",
    "SHUTDOWN qmp wait",
    "serial wait status wait log wait console wait SHUTDOWN qmp wait stderr wait",
)


def request(folder: Path, order: str) -> GuestRequest:
    program = folder / "qemu"
    program.write_text(QEMU.format(python=sys.executable, order=order))
    program.chmod(0o755)
    return GuestRequest(Bytes(b"kernel"), b"initramfs", timeout=60.0, qemu=bytes(program))


@pytest.mark.parametrize("order", ORDERS)
def test_a_guest_that_did_its_job_did_it_whatever_the_order(order: str, tmp_path: Path) -> None:
    assert run_guest(request(tmp_path, order)).stages.keys() == {"start", "boot", "install"}


@pytest.mark.parametrize(
    "order", ["status wait", "status wait serial wait", "qmp wait", "stderr wait", "wait"]
)
def test_one_that_ends_without_a_reason_did_not(order: str, tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="before the guest did"):
        run_guest(request(tmp_path, order))


def test_progress_that_raises_ends_it(tmp_path: Path) -> None:
    def progress(stage: str) -> None:
        if stage == "install":
            raise KeyError(stage)

    with pytest.raises(KeyError):
        run_guest(request(tmp_path, "wait wait wait wait wait SHUTDOWN"), progress)
