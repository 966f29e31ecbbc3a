"""Which format an image has: from its content, never from its name.

=======  ==========================================================================================
qcow2    the magic "QFI\\xfb" at 0
vpc      the footer's cookie "conectix" at 0 (dynamic); a footer with its checksum at the end (fixed)
vdi      the signature 0xbeda107f at 64
none     the magic of a VHDX, a VMDK, a QED or a Parallels disk: refused by name
raw      everything else
=======  ==========================================================================================

A magic number is enough: what has one and is damaged is refused by its reader, and not taken for a disk.

A guest may write into its raw disk whatever it likes, also another format's header. Whoever takes disks from
guests says that they are raw. Without it the worst is a disk of other content: no reader opens another file.
"""

from __future__ import annotations

from imgwriter import qcow2, vdi, vhd
from imgwriter.errors import FormatError
from imgwriter.readers.hostfile import HostFile
from imgwriter.readers.vhd import footer_at

_SIGNATURE = vdi.SIGNATURE.to_bytes(4, "little")
_SIGNATURE_AT = slice(64, 68)

_UNREAD = {
    b"vhdxfile": "VHDX",
    b"KDMV": "VMDK",
    b"COWD": "VMDK",
    b"# Disk DescriptorFile": "VMDK",
    b"QED\0": "QED",
    b"WithoutFreeSpace": "Parallels",
    b"WithouFreSpacExt": "Parallels",
}
"""What other containers begin with: taken for raw, their tables would become the disk."""


def probe(file: HostFile) -> str:
    """Return "qcow2", "vpc", "vdi" or "raw".

    Raises:
        SourceError: The file cannot be read.
        FormatError: It is a container that is not read.
    """
    start = file.read(0, min(file.size, 512), "first sector")
    if start.startswith(qcow2.MAGIC):
        return "qcow2"
    if start[_SIGNATURE_AT] == _SIGNATURE:
        return "vdi"
    if start.startswith(vhd.FOOTER_COOKIE) or footer_at(file, file.size - vhd.FOOTER_SIZE):
        return "vpc"
    for magic, name in _UNREAD.items():
        if start.startswith(magic):
            raise FormatError(
                f"the image is a {name}, which is not read; convert it first (qemu-img convert -O qcow2), or"
                " say that it is raw if it is",
                "magic",
                0,
            )
    return "raw"
