"""imgwriter: a tree of files becomes a disk image, without root."""

__version__ = "0.1.0"
