"""A real kernel, compressed by the tools that the kernel's build calls, comes out as it went in."""

from __future__ import annotations

import pytest

from imgwriter.guest.vmlinux import vmlinux
from tests.oracles import kernel_build
from tests.oracles.tools import CACHE, require_file
from tests.unit.guest.kernels import x86_kernel

pytestmark = pytest.mark.compat


@pytest.fixture(scope="module")
def cloud() -> bytes:
    """Debian's cloud kernel, a bzImage with LZ4."""
    (image,) = require_file(CACHE / "guest" / ".ready").parent.glob("boot/vmlinuz-*")
    return image.read_bytes()


@pytest.mark.parametrize("compression", kernel_build.COMPRESSIONS)
def test_what_the_kernels_tools_compress(cloud, compression):
    plain = kernel_build.unpack_lz4(cloud)
    assert vmlinux(x86_kernel(kernel_build.pack(plain, compression)), 1 << 30) == plain


def test_lz4_stays_as_it_is(cloud):
    assert vmlinux(cloud, 1 << 30) is None
