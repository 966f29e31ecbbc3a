"""Verify an image: container, partition table and file systems, each against its specification.

::

    image ──┬─ containers/   qcow2, VHD, VDI         offsets of the file
            ├─ tables        MBR, GPT against disk   offsets of the disk, from here on
            ├─ ext4/         ext4, ext3, ext2
            ├─ fat/          FAT12, FAT16, FAT32
            └─ traces        what a structure was whose magic number is damaged

``image.verify_image`` goes through the layers and gives a Report; ``report`` makes text and JSON of it. A
checker is a function that returns a Result (``values``): it never raises for what an image has, goes on past
damage, and names structure, field, place and section of all that it finds (``remarks``).
"""
