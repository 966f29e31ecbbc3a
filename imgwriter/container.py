"""Which container an image comes in: one value for building and converting; contradictions are refused.

Format names are those of make-disk-image.nix and of qemu-img: "vpc" is the VHD of Virtual PC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imgwriter.compression import codec
from imgwriter.errors import SpecError
from imgwriter.units import MiB, format_size

FORMATS = ("raw", "qcow2", "qcow2-compressed", "vpc", "vdi")
SUFFIXES = {"raw": ".img", "qcow2": ".qcow2", "qcow2-compressed": ".qcow2", "vpc": ".vhd", "vdi": ".vdi"}
"""What an image's name ends in, as make-disk-image.nix has it."""

QCOW2_COMPATS = ("1.1", "0.10")
"""qcow2 of version 3, and of version 2, by the QEMU that reads them first."""
COMPRESSIONS = ("zlib", "zstd")
CLUSTER_SIZES = (512, 2 * MiB)
"""Bytes in a cluster of a qcow2: the least and the most."""
VHD_SUBFORMATS = ("dynamic", "fixed")
VDI_SUBFORMATS = ("dynamic", "static")

SPOOLED = (
    "qcow2-compressed has in its header what only compressing tells: on its way to standard output it goes"
    " through a temporary file without a name, in TMPDIR"
)
"""What there is to say where such an image is streamed."""

_OTHER_NAMES = {"vhd": "vpc", "img": "raw", "qcow2c": "qcow2-compressed"}
_UNWRITTEN = ("vhdx", "vmdk", "qcow", "qed", "parallels", "ova")
_QCOW2 = ("qcow2", "qcow2-compressed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerOptions:
    """A container, as it is asked for.

    Attributes:
        format: One of :data:`FORMATS`.
        cluster_size: Bytes in a cluster of a qcow2, a power of two from 512 to 2 MiB; None for 64 KiB.
        qcow2_compat: "1.1" (version 3) or "0.10" (version 2) of qcow2; None for 1.1.
        compression: "zlib" or "zstd" for qcow2-compressed; None for zlib.
        compression_level: Its level; None for the one that is best here.
        vhd_subformat: "dynamic" or "fixed"; None for dynamic.
        force_size: Whether a VHD has exactly the size that was asked for, in whole MiB as Azure wants it;
            else it is rounded up to what cylinders, heads and sectors can say.
        vdi_subformat: "dynamic" or "static"; None for dynamic.

    Raises:
        SpecError: The request contradicts itself.
    """

    format: str = "raw"
    cluster_size: int | None = None
    qcow2_compat: str | None = None
    compression: str | None = None
    compression_level: int | None = None
    vhd_subformat: str | None = None
    force_size: bool = False
    vdi_subformat: str | None = None

    def __post_init__(self) -> None:
        check_format(self.format)
        for what, value, choices in (
            ("qcow2 compatibility", self.qcow2_compat, QCOW2_COMPATS),
            ("compression", self.compression, COMPRESSIONS),
            ("VHD subformat", self.vhd_subformat, VHD_SUBFORMATS),
            ("VDI subformat", self.vdi_subformat, VDI_SUBFORMATS),
        ):
            if value is not None:
                one_of(what, value, choices)
        settings: tuple[tuple[str, object, Sequence[str]], ...] = (
            ("a cluster size", self.cluster_size, _QCOW2),
            ("a qcow2 compatibility", self.qcow2_compat, _QCOW2),
            ("a compression", self.compression, ("qcow2-compressed",)),
            ("a compression level", self.compression_level, ("qcow2-compressed",)),
            ("a VHD subformat", self.vhd_subformat, ("vpc",)),
            ("a forced size", self.force_size, ("vpc",)),
            ("a VDI subformat", self.vdi_subformat, ("vdi",)),
        )
        for what, setting, formats in settings:
            if setting is not None and setting is not False and self.format not in formats:
                raise SpecError(
                    f"{what} is given, but format {self.format!r} has none;"
                    f" leave it out or use format {' or '.join(formats)}"
                )
        if self.compression == "zstd" and self.qcow2_compat == "0.10":
            raise SpecError("zstd is unknown to qcow2 of version 0.10; use compatibility 1.1 or zlib")
        _check_cluster_size(self.cluster_size)
        # What levels there are is the codec's to say.
        codec(self.compression or COMPRESSIONS[0], self.compression_level)

    @property
    def suffix(self) -> str:
        """What the image's name ends in."""
        return SUFFIXES[self.format]


def _check_cluster_size(size: int | None) -> None:
    if size is not None and not (CLUSTER_SIZES[0] <= size <= CLUSTER_SIZES[1] and size.bit_count() == 1):
        low, high = map(format_size, CLUSTER_SIZES)
        raise SpecError(f"cluster size {size:,} B is no power of two from {low} to {high}; give one that is")


def check_format(name: str) -> None:
    """Refuse what is not the name of a container that is written.

    Raises:
        SpecError: It is not; where another name or program is meant, that is said.
    """
    if name in _OTHER_NAMES:
        raise SpecError(f"format {name!r} is called {_OTHER_NAMES[name]!r} here; use that")
    if name in _UNWRITTEN:
        raise SpecError(
            f"format {name!r} is not written by imgwriter; use one of {', '.join(FORMATS)}"
            " and convert the image"
        )
    one_of("format", name, FORMATS)


def one_of(what: str, value: object, choices: Sequence[object]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        SpecError: It is not.
    """
    if value not in choices:
        raise SpecError(f"{what} {value!r} is unknown; use one of {', '.join(map(str, choices))}")
