"""Checksums against published check values and what mke2fs wrote."""

from __future__ import annotations

import struct

from imgwriter.ext4.checksum import crc32c, fs_seed, inode_seed

UUID = bytes(range(16))


def test_crc32c_has_the_published_check_value() -> None:
    # RFC 3720, B.4 and the catalogue of parametrised CRC algorithms: CRC-32C of "123456789" is 0xe3069283,
    # the final inversion included, which ext4 leaves out.
    assert crc32c(b"123456789") ^ 0xFFFFFFFF == 0xE3069283
    assert crc32c(bytes(32)) ^ 0xFFFFFFFF == 0x8A9136AA  # RFC 3720, B.4: 32 bytes of zeros


def test_crc32c_continues_from_a_seed() -> None:
    assert crc32c(b"456789", crc32c(b"123")) == crc32c(b"123456789")
    assert crc32c(b"123456789", 0xFFFFFFFF) == crc32c(b"123456789")


def test_inode_seed_covers_number_and_generation() -> None:
    assert inode_seed(fs_seed(UUID), 12, 7) == crc32c(UUID + struct.pack("<II", 12, 7))
