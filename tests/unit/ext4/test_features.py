"""Feature flags: mke2fs's -O syntax, defaults, refusals."""

from __future__ import annotations

import pytest

from imgwriter.errors import SpecError
from imgwriter.ext4 import features as f

# `dumpe2fs -h` of `mke2fs -t TYPE -b 4096` 1.47.0 with Debian 12's mke2fs.conf.
MKE2FS = {
    "ext4": "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super"
    " large_file huge_file dir_nlink extra_isize metadata_csum",
    "ext3": "has_journal ext_attr resize_inode dir_index filetype sparse_super large_file",
    "ext2": "ext_attr resize_inode dir_index filetype sparse_super large_file",
}


@pytest.mark.parametrize("fs_type", MKE2FS)
def test_defaults_are_mke2fs_s(fs_type: str) -> None:
    assert str(f.parse(fs_type)) == MKE2FS[fs_type]


def test_words_of_the_superblock() -> None:
    # s_feature_compat, _incompat, _ro_compat at 0x5c of vectors/mke2fs-superblock.hex.
    assert f.parse("ext4") == (0x3C, 0x2C2, 0x46B)


def test_minus_o_syntax() -> None:
    on = f.parse("ext4", "metadata_csum_seed,orphan_file large_dir")
    assert on.compat == 0x3C | 0x1000
    assert on.incompat == 0x2C2 | 0x2000 | 0x4000
    assert not f.parse("ext4", "^has_journal").has(f.Compat.HAS_JOURNAL)
    assert not f.parse("ext4", "-has_journal").has(f.Compat.HAS_JOURNAL)
    assert str(f.parse("ext4", "none,filetype,large_file")) == "filetype large_file"
    assert str(f.parse("ext4", "none,filetype,has_journal")) == "has_journal filetype"
    assert f.parse("ext4", "^bigalloc") == f.parse("ext4"), "leaving off what is not there"


@pytest.mark.parametrize("fs_type", f.DEFAULTS)
def test_there_may_be_no_feature_at_all(fs_type: str) -> None:
    assert f.parse(fs_type, "none") == (0, 0, 0)


@pytest.mark.parametrize("name", f.REFUSED)
def test_refused_by_name(name: str) -> None:
    with pytest.raises(SpecError, match=name):
        f.parse("ext4", name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sparse", "unknown feature 'sparse'"),
        ("^large_file", "resize_inode needs large_file"),
        ("^metadata_csum,metadata_csum_seed", "needs metadata_csum"),
        ("^has_journal,orphan_file", "needs has_journal"),
        ("^dir_index,large_dir", "needs dir_index"),
        ("^sparse_super", "resize_inode needs sparse_super"),
        ("^extent", "64bit needs extent"),
    ],
)
def test_contradictions(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        f.parse("ext4", text)
