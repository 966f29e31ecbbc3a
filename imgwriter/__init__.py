"""imgwriter: a tree of files becomes a disk image, without root.

::

    from imgwriter import ImageSpec, build_image

    result = build_image(ImageSpec(trees=["rootfs"], partition_table="efi"))

The public names are those of ``__all__``; docs/python-api.md describes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgwriter.build import ImagePlan, Result, build_image, install_boot_loader, plan_image, write_image
    from imgwriter.convert import Conversion, Converted, ConvertSpec, convert_image, plan_conversion
    from imgwriter.errors import ImgwriterError
    from imgwriter.spec import Content, ImageSpec
    from imgwriter.spec.file import read_spec

__version__ = "0.1.0"

__all__ = [
    "Content",
    "Conversion",
    "ConvertSpec",
    "Converted",
    "ImagePlan",
    "ImageSpec",
    "ImgwriterError",
    "Result",
    "__version__",
    "build_image",
    "convert_image",
    "install_boot_loader",
    "plan_conversion",
    "plan_image",
    "read_spec",
    "write_image",
]

_HOME = {
    "Content": "imgwriter.spec",
    "Conversion": "imgwriter.convert",
    "ConvertSpec": "imgwriter.convert",
    "Converted": "imgwriter.convert",
    "ImagePlan": "imgwriter.build",
    "ImageSpec": "imgwriter.spec",
    "ImgwriterError": "imgwriter.errors",
    "Result": "imgwriter.build",
    "build_image": "imgwriter.build",
    "convert_image": "imgwriter.convert",
    "install_boot_loader": "imgwriter.build",
    "plan_conversion": "imgwriter.convert",
    "plan_image": "imgwriter.build",
    "read_spec": "imgwriter.spec.file",
    "write_image": "imgwriter.build",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: ``imgwriter --version`` needs none of them."""
    if name not in _HOME:
        raise AttributeError(f"module 'imgwriter' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
