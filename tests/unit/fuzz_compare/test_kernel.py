"""What the guest says, and which disk it died of."""

from __future__ import annotations

import pytest

from imgwriter.errors import GuestError
from imgwriter.extent import Bytes
from imgwriter.fuzz.compare.kernel import Guest, parse
from imgwriter.fuzz.compare.values import UNASKED, Case, Part, View
from imgwriter.guest.request import GuestRequest, GuestResult

REQUEST = GuestRequest(Bytes(b"kernel"), b"initramfs")


def test_disks_come_in_any_order_and_count_by_target_and_lun():
    log = [
        "disk 1 0",
        "part 2 64 8",
        "part 1 32 8",
        "disk 0 0",
        *(f"disk {t} 0" for t in range(2, 256)),
        "disk 0 1",
        "part 1 1 1",
    ]
    views = parse(log, 257)
    assert views[0] == View("none", partitions=())
    assert views[1] == View("table", None, None, (Part(16384, 4096, 1), Part(32768, 4096, 2)))
    assert views[256].partitions == (Part(512, 512, 1),)


def test_a_disk_that_is_not_there_is_an_error():
    with pytest.raises(GuestError, match="1 of 2 disks"):
        parse(["disk 0 0"], 2)


def guest(deadly: set[bytes], message: str = "the guest's kernel panicked") -> Guest:
    """Return a guest that dies of some disks, and sees no partition on the others."""

    def run(request: GuestRequest) -> GuestResult:
        if deadly & {drive.path for drive in request.scsi_drives}:
            raise GuestError(message, "boot")
        log = tuple(f"disk {number} 0" for number in range(len(request.scsi_drives)))
        return GuestResult(log, {}, "tcg", 1.0)

    return Guest("linux", REQUEST, "6.1", run)


CASES = [Case(str(number), str(number).encode(), 512) for number in range(7)]


@pytest.mark.parametrize("deadly", [{b"0"}, {b"6"}, {b"2", b"3"}, {str(n).encode() for n in range(7)}])
def test_the_disk_that_a_guest_dies_of_is_found(deadly: set[bytes]):
    views = guest(deadly).views(CASES)
    assert [view.state for view in views] == ["crash" if case.path in deadly else "none" for case in CASES]


def test_a_guest_that_hangs_is_a_timeout():
    views = guest({b"1"}, "the guest did not end in 600 seconds").views(CASES)
    assert [view.state for view in views][:3] == ["none", "timeout", "none"]


def test_a_guest_that_dies_without_disks_is_an_error():
    def run(_request: GuestRequest) -> GuestResult:
        raise GuestError("no", "boot")

    with pytest.raises(GuestError):
        Guest("linux", REQUEST, "6.1", run).views(CASES)


def test_an_image_without_a_whole_sector_is_no_disk():
    cases = [Case("a", b"a", 4095, 4096), Case("b", b"b", 4096, 4096), Case("c", b"c", 0)]
    assert guest(set()).views(cases) == [UNASKED, View("none", partitions=()), UNASKED]
