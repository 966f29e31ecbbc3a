"""What is asked for: the request as a value, and as a file.

- ``image_spec``: ImageSpec, the value behind the command line and the Python API, and its checks;
- ``boot``, ``nix``: the checks of what concerns boot loaders and NixOS, and what follows from it;
- ``schema``, ``kinds``, ``file``: spec files: the table of keys, what a value may be, the reader.
"""

from imgwriter.spec.image_spec import (
    BOOT_TABLES,
    DEFAULT_ADDITIONAL_SPACE,
    ESP_TABLES,
    PARTITION_TABLES,
    Compat,
    Content,
    HostPath,
    ImageSpec,
    TableKind,
)

__all__ = [
    "BOOT_TABLES",
    "DEFAULT_ADDITIONAL_SPACE",
    "ESP_TABLES",
    "PARTITION_TABLES",
    "Compat",
    "Content",
    "HostPath",
    "ImageSpec",
    "TableKind",
]
