"""Whatever is in an image, verify ends with a report: never with another exception."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgwriter.errors import FormatError
from imgwriter.units import MiB
from imgwriter.verify.image import verify_image
from tests.unit.readers.images import COPIED, KiB, dynamic_vhd, qcow2, vdi
from tests.unit.verify.volumes import FatVolume

pytestmark = pytest.mark.property

BASES = {
    "fat12": bytes(FatVolume(12).image),
    "fat16": bytes(FatVolume(16).image),
    "fat32": bytes(FatVolume(32).image[: 700 * KiB]),
    "qcow2": bytes(qcow2({0: 4096 * 4 | COPIED, 3: 1}, MiB, cluster_bits=12)),
    "extended qcow2": bytes(qcow2({0: (16384 * 4 | COPIED, 5)}, MiB, cluster_bits=14)),
    "vhd": bytes(dynamic_vhd([4], 64 * KiB, header={"block_size": 64 * KiB}, length=70 * KiB)),
    "vdi": bytes(vdi([0], MiB, length=MiB + KiB)),
}
# Where structures are: of a FAT volume the start, the FATs, the root; of the others the first clusters.
CHANGES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6
)
LENGTHS = {"fat12": 64 * KiB, "fat16": 64 * KiB, "fat32": 610 * KiB, "vdi": KiB}


@pytest.mark.parametrize("kind", BASES)
@given(changes=CHANGES, cut=st.none() | st.floats(0, 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_damage_ends_in_another_exception(
    tmp_path: Path, kind: str, changes: list[tuple[float, bytes]], cut: float | None
) -> None:
    image = bytearray(BASES[kind])
    reach = LENGTHS.get(kind, len(image))
    for place, content in changes:
        at = int(place * reach)
        image[at : at + len(content)] = content
    if cut is not None:
        image = image[: int(cut * len(image))]
    path = tmp_path / "image"
    path.write_bytes(image)
    for input_format in (None, kind.rpartition(" ")[2].replace("vhd", "vpc")):
        pinned = input_format if input_format in ("qcow2", "vpc", "vdi") else None
        try:
            result = verify_image(bytes(path), pinned)
        except FormatError as error:
            # The magic number of a container that is not read.
            assert pinned is None and error.where == "magic"
            continue
        for layer in result.layers:
            for remark in (*layer.result.findings, *layer.result.notes):
                assert str(remark)
                assert remark.offset >= 0
