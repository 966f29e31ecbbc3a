"""Tars written by hand after the POSIX and GNU specifications, or by Python's tarfile, become trees."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
from pathlib import Path

import pytest
import zstandard

from imgwriter.errors import FormatError, ImgwriterError, SourceChangedError, SourceError
from imgwriter.tree import tarball
from imgwriter.tree.exclude import Exclusion
from imgwriter.tree.holes import Holes
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.tree.rules import SourceRules
from imgwriter.tree.xattrs import XattrPolicy

END = bytes(1024)


def header(
    name: bytes,
    typeflag: bytes = b"0",
    *,
    size: bytes = b"00000000000",
    mode: bytes = b"0000644",
    uid: bytes = b"0000000",
    gid: bytes = b"0000000",
    mtime: bytes = b"00000000000",
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    major: bytes = b"0000000",
    minor: bytes = b"0000000",
    tail: bytes = b"",
) -> bytes:
    """Lay out a header after POSIX.1-2017, pax, "ustar Interchange Format"; ``tail`` is from prefix on."""
    fields = struct.pack(
        "100s8s8s8s12s12s8s1s100s8s32s32s8s8s167s",
        *(name, mode, uid, gid, size, mtime, b" " * 8, typeflag, link, magic, b"", b"", major, minor, tail),
    )
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def member(name: bytes, content: bytes = b"", typeflag: bytes = b"0", **fields: bytes) -> bytes:
    return header(name, typeflag, size=b"%011o" % len(content), **fields) + padded(content)


def record(keyword: bytes, value: bytes) -> bytes:
    """Return a PAX record; its length counts its own digits."""
    rest = b" " + keyword + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length += 1
    return b"%d" % length + rest


def pax(*records: tuple[bytes, bytes], typeflag: bytes = b"x") -> bytes:
    return member(b"PaxHeaders/x", b"".join(record(*pair) for pair in records), typeflag)


def read(*blocks: bytes, rules: SourceRules = SourceRules()) -> dict[bytes, Inode]:  # noqa: B008  (frozen)
    """Read an archive as a stream; return its inodes by path."""
    root = tarball.read(io.BytesIO(b"".join(blocks) + END), rules)
    return dict(Inventory(root).walk())


def content(inode: Inode) -> bytes:
    return b"".join(bytes(piece) for piece in inode.data.chunks(0, inode.size)) if inode.data else b""


def refusal(*blocks: bytes) -> str:
    with pytest.raises(ImgwriterError) as caught:
        read(*blocks)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("the tar on standard input: ")
    return message


class TestHeaders:
    def test_regular_file(self) -> None:
        tree = read(member(b"a", b"hello", mode=b"0104751", uid=b"0001750", mtime=b"00000000017"))
        file = tree[b"a"]
        assert content(file) == b"hello" and file.size == 5 and file.runs is None
        assert file.mode == stat.S_IFREG | 0o4751  # a type in the mode says nothing
        assert (file.uid, file.gid, file.mtime_ns) == (1000, 0, 15 * 10**9)

    def test_every_type(self) -> None:
        tree = read(
            header(b"c", b"3", major=b"0000004", minor=b"0000100"),
            header(b"b", b"4", major=b"0000010", minor=b"0000001"),
            header(b"p", b"6"),
            header(b"s", b"2", link=b"/to/../nowhere"),
            header(b"d", b"5", mode=b"0001777"),
            member(b"contiguous", b"x", b"7"),
            member(b"v7", b"y", b"\0", magic=b""),
            header(b"v7dir/", b"\0", magic=b""),
        )
        assert (tree[b"c"].mode, tree[b"c"].rdev) == (stat.S_IFCHR | 0o644, (4, 64))
        assert (tree[b"b"].mode, tree[b"b"].rdev) == (stat.S_IFBLK | 0o644, (8, 1))
        assert tree[b"p"].mode == stat.S_IFIFO | 0o644
        assert (tree[b"s"].target, tree[b"s"].size) == (b"/to/../nowhere", 14)
        assert tree[b"d"].mode == stat.S_IFDIR | 0o1777
        assert content(tree[b"contiguous"]) == b"x" and content(tree[b"v7"]) == b"y"
        assert stat.S_ISDIR(tree[b"v7dir"].mode)

    def test_prefix_is_joined_only_in_ustar(self) -> None:
        assert b"dir/sub/name" in read(header(b"name", tail=b"dir/sub"))
        # GNU incremental archives keep times there.
        assert b"name" in read(header(b"name", magic=b"ustar  \0", tail=b"14526712345"))

    def test_numbers_in_base_256(self) -> None:
        """GNU tar 1.34 manual, "Extensions to the POSIX archive format": 0x80 positive, 0xff negative."""
        big = b"\x80" + (4294967294).to_bytes(7, "big")
        old = b"\xff" + (-86400).to_bytes(11, "big", signed=True)
        file = read(header(b"a", uid=big, gid=big, mtime=old))[b"a"]
        assert (file.uid, file.gid, file.mtime_ns) == (4294967294, 4294967294, -86400 * 10**9)

    def test_largest_owner(self) -> None:
        for uid, good in ((2**32 - 1, True), (2**32, False)):
            blocks = header(b"a", uid=b"\x80" + uid.to_bytes(7, "big"))
            if good:
                assert read(blocks)[b"a"].uid == uid
            else:
                assert "owner is 4294967296:0" in refusal(blocks)

    def test_gnu_long_names(self) -> None:
        """GNU tar 1.34, src/tar.h: GNUTYPE_LONGNAME and GNUTYPE_LONGLINK bodies end with a NUL."""
        name, link = b"d/" + b"n" * 200, b"l" * 300
        tree = read(
            member(b"././@LongLink", link + b"\0", b"K", magic=b"ustar  \0"),
            member(b"././@LongLink", name + b"\0", b"L", magic=b"ustar  \0"),
            header(name[:100], b"2", link=link[:100], magic=b"ustar  \0"),
            header(b"after"),
        )
        assert tree[name].target == link and b"after" in tree

    def test_long_name_whose_100th_byte_is_a_slash_stays_a_file(self) -> None:
        name = b"x" * 99 + b"/file"
        tree = read(
            member(b"././@LongLink", name + b"\0", b"L", magic=b"ustar  \0"),
            member(name[:100], b"data", b"\0", magic=b"ustar  \0"),
        )
        assert content(tree[name]) == b"data"

    def test_volume_label_is_passed_over_and_dumpdir_is_a_directory(self) -> None:
        tree = read(header(b"label", b"V"), member(b"d/", b"Yfile\0\0", b"D"), header(b"d/file"))
        assert sorted(tree) == [b"", b"d", b"d/file"]

    def test_unknown_type_is_refused_by_name(self) -> None:
        assert "strange" in (message := refusal(header(b"strange", b"Q"))) and "b'Q'" in message

    @pytest.mark.parametrize("minor", [0o3777777, 0o4000000])
    def test_largest_minor(self, minor: int) -> None:
        blocks = header(b"n", b"3", major=b"0007777", minor=b"%07o" % minor)
        if minor < 2**20:
            assert read(blocks)[b"n"].rdev == (4095, 2**20 - 1)
        else:
            assert "4095:1048576" in refusal(blocks)


class TestPax:
    def test_overrides(self) -> None:
        tree = read(
            pax(
                (b"path", "ü/".encode() + b"\xff name"),
                (b"mtime", b"1350244992.023960108999"),
                (b"uid", b"3000000000"),
                (b"gid", b"7"),
                (b"atime", b"99"),
                (b"size", b"3"),
            ),
            header(b"short", size=b"00000000000") + padded(b"abc"),
            header(b"after"),
        )
        file = tree["ü/".encode() + b"\xff name"]
        assert (file.mtime_ns, file.uid, file.gid) == (1350244992023960108, 3000000000, 7)
        assert content(file) == b"abc" and tree[b"after"].mtime_ns == 0

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (b"-1.5", -1_500_000_000),
            (b"-0.0000000001", -1),
            (b"-1", -(10**9)),
            (b"16725225599.999999999", 16725225599999999999),
            (b"1.", 10**9),
            (b"0.1", 10**8),
        ],
    )
    def test_times_are_exact_and_rounded_down(self, text: bytes, expected: int) -> None:
        assert read(pax((b"mtime", text)), header(b"a"))[b"a"].mtime_ns == expected

    def test_global_records_last_until_replaced(self) -> None:
        tree = read(
            pax((b"comment", b"0123abcd"), (b"uid", b"5"), typeflag=b"g"),
            header(b"a"),
            pax((b"uid", b"6")),
            header(b"b"),
            pax((b"uid", b"")),
            header(b"c", uid=b"0000007"),
            header(b"d"),
        )
        assert [tree[name].uid for name in (b"a", b"b", b"c", b"d")] == [5, 6, 7, 5]

    def test_xattrs(self) -> None:
        file = read(
            pax(
                (b"SCHILY.xattr.user.raw", b"a\0=\n\xff"),
                (b"SCHILY.xattr.user.empty", b""),
                (b"LIBARCHIVE.xattr.user.%C3%BC", b"aGVsbG8"),
                (b"LIBARCHIVE.xattr.user.raw", b"b3RoZXI"),
                (b"RHT.security.selinux", b"label"),
                (b"SCHILY.xattr.security.ima", b"x"),
            ),
            header(b"a"),
        )[b"a"]
        assert list(file.xattrs.items()) == [
            (b"user.empty", b""),
            (b"user.raw", b"a\0=\n\xff"),
            ("user.ü".encode(), b"hello"),
        ]

    def test_names_of_attributes_are_escaped(self) -> None:
        """GNU tar and libarchive write "=" and "%" so. Spec: GNU tar 1.34, src/xheader.c."""
        file = read(
            pax(
                (b"SCHILY.xattr.user.a%3Db", b"1"),
                (b"LIBARCHIVE.xattr.user.a%3Db", b"b3RoZXI"),
                (b"SCHILY.xattr.user.50%25", b"2"),
                (b"SCHILY.xattr.user.%253D", b"3"),
                (b"SCHILY.xattr.user.%41", b"4"),
            ),
            header(b"a"),
        )[b"a"]
        assert file.xattrs == {b"user.a=b": b"1", b"user.50%": b"2", b"user.%3D": b"3", b"user.%41": b"4"}

    def test_policy_decides_about_selinux(self) -> None:
        rules = SourceRules(xattrs=XattrPolicy.parse("none,+security.selinux"))
        blocks = pax((b"RHT.security.selinux", b"label"), (b"SCHILY.xattr.user.x", b"1"))
        assert read(blocks, header(b"a"), rules=rules)[b"a"].xattrs == {b"security.selinux": b"label"}

    def test_acl_with_numbers(self) -> None:
        file = read(
            pax((b"SCHILY.acl.access", b"user::rw-,user:joe:r--:1000,group::r--,mask::r--,other::---")),
            header(b"a"),
        )[b"a"]
        # Linux, include/uapi/linux/posix_acl_xattr.h: version 2, then tag, perm, id of each entry.
        assert file.xattrs[b"system.posix_acl_access"] == bytes.fromhex(
            "02000000 0100 0600 ffffffff 0200 0400 e8030000 0400 0400 ffffffff"
            "1000 0400 ffffffff 2000 0000 ffffffff"
        )

    def test_acl_names_come_from_the_archives_own_accounts(self) -> None:
        text = b"user::rw-\nuser:joe:r--\ngroup::r--\ngroup:staff:r--\nmask::r--\nother::---\n"
        tree = read(
            pax((b"SCHILY.acl.access", text)),
            header(b"a"),
            member(b"etc/passwd", b"root:x:0:0::/:\njoe:x:1234:1:::\n"),
            member(b"etc/group", b"staff:x:50:\n"),
        )
        value = tree[b"a"].xattrs[b"system.posix_acl_access"]
        assert (2, 4, 1234) in struct.iter_unpack("<HHI", value[4:])
        assert (8, 4, 50) in struct.iter_unpack("<HHI", value[4:])

    def test_acl_of_somebody_unknown_is_refused(self) -> None:
        text = b"user::rw-,user:joe:r--,group::r--,mask::r--,other::---"
        message = refusal(pax((b"SCHILY.acl.access", text)), header(b"a"))
        assert "'joe'" in message and "--numeric-owner" in message

    def test_damaged_records_are_refused(self) -> None:
        good = record(b"path", b"x")
        for body in (b"9999 path=x\n", b"3 path=x\n", b"path=x\n", b"0 =\n", good[:-1] + b"x", b"8 pathx\n"):
            assert "PAX header is damaged" in refusal(member(b"h", body, b"x"), header(b"a"))

    def test_nul_in_a_name_is_refused(self) -> None:
        assert "NUL" in refusal(pax((b"path", b"a\0b")), header(b"a"))

    def test_xattr_limit(self) -> None:
        for size in (65536 - 6, 65536 - 5):
            blocks = pax((b"SCHILY.xattr.user.x", bytes(size))) + header(b"a")
            if size == 65536 - 6:
                assert len(read(blocks)[b"a"].xattrs[b"user.x"]) == size
            else:
                assert "65,537 bytes" in refusal(blocks)


SPARSE_CONTENT = bytes(4096) + b"A" * 512 + bytes(8192 - 4608) + b"B" * 100


class TestSparse:
    """[4096, 4608) and [8192, 8292) of 10000 bytes, after GNU tar 1.34's manual, "Storing Sparse Files"."""

    data = padded(b"A" * 512 + b"B" * 100)

    def check(self, file: Inode) -> None:
        assert file.size == 10000 and file.runs == ((4096, 4608), (8192, 8292))
        assert content(file) == SPARSE_CONTENT + bytes(10000 - len(SPARSE_CONTENT))

    def test_old_gnu(self) -> None:
        pairs = b"%011o\0%011o\0%011o\0%011o\0" % (4096, 512, 8192, 100)
        tail = bytes(41) + pairs.ljust(96, b"\0") + b"\0" + b"%011o\0" % 10000
        head = header(b"s", b"S", size=b"%011o" % 612, magic=b"ustar  \0", tail=tail)
        tree = read(head, self.data, header(b"after"))
        self.check(tree[b"s"])
        assert b"after" in tree

    def test_old_gnu_extended(self) -> None:
        empty = b"".join(b"%011o\0%011o\0" % (n, 0) for n in range(4))
        tail = bytes(41) + empty + b"\1" + b"%011o\0" % 10000
        more = b"%011o\0%011o\0%011o\0%011o\0" % (4096, 512, 8192, 100)
        head = header(b"s", b"S", size=b"%011o" % 612, magic=b"ustar  \0", tail=tail)
        self.check(read(head, more.ljust(512, b"\0"), self.data, header(b"after"))[b"s"])

    @pytest.mark.parametrize("form", ["0.0", "0.1", "1.0"])
    def test_pax(self, form: str) -> None:
        size = (b"GNU.sparse.size", b"10000")
        blocks = self.data
        if form == "0.0":
            pairs = ((4096, 512), (8192, 100))
            numbers = [
                (b"GNU.sparse." + keyword, b"%d" % number)
                for pair in pairs
                for keyword, number in zip((b"offset", b"numbytes"), pair, strict=True)
            ]
            extended = pax(size, (b"GNU.sparse.numblocks", b"2"), *numbers)
        elif form == "0.1":
            extended = pax(size, (b"GNU.sparse.name", b"s"), (b"GNU.sparse.map", b"4096,512,8192,100"))
        else:
            version = (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")
            extended = pax(*version, (b"GNU.sparse.name", b"s"), (b"GNU.sparse.realsize", b"10000"))
            blocks = padded(b"2\n4096\n512\n8192\n100\n") + self.data
        name = b"s" if form == "0.0" else b"GNUSparseFile.1/s"
        stored = 612 + len(blocks) - len(self.data)
        tree = read(extended, header(name, size=b"%011o" % stored), blocks, header(b"after"))
        self.check(tree[b"s"])
        assert sorted(tree) == [b"", b"after", b"s"]

    def sparse(self, numbers: bytes, size: bytes, stored: bytes) -> bytes:
        records = (b"GNU.sparse.size", size), (b"GNU.sparse.map", numbers)
        return pax(*records) + member(b"s", stored)

    def test_fill_has_no_holes_and_detect_looks_at_contents(self) -> None:
        blocks = self.sparse(b"0,4096,8192,1", b"20000", bytes(4096) + b"x")
        assert read(blocks)[b"s"].runs == ((0, 4096), (8192, 8193))
        assert read(blocks, rules=SourceRules(holes=Holes.FILL))[b"s"].runs is None
        assert read(blocks, rules=SourceRules(holes=Holes.DETECT))[b"s"].runs == ((8192, 12288),)

    def test_detect_in_a_dense_member(self) -> None:
        data = b"x" * 4096 + bytes(4096) + b"y"
        assert read(member(b"a", data))[b"a"].runs is None
        assert read(member(b"a", data), rules=SourceRules(holes=Holes.DETECT))[b"a"].runs == (
            (0, 4096),
            (8192, 8193),
        )

    @pytest.mark.parametrize("holes", list(Holes))
    def test_bomb_of_holes_is_only_a_number(self, holes: Holes) -> None:
        huge = 1 << 60
        blocks = self.sparse(b"%d,1" % (huge - 1), b"%d" % huge, b"x")
        file = read(blocks, rules=SourceRules(holes=holes))[b"s"]
        assert file.size == huge and file.data is not None and len(file.data) == huge
        assert b"".join(bytes(piece) for piece in file.data.chunks(huge - 3, huge)) == b"\0\0x"

    @pytest.mark.parametrize("holes", list(Holes))
    def test_all_hole(self, holes: Holes) -> None:
        file = read(self.sparse(b"5000,0", b"5000", b""), rules=SourceRules(holes=holes))[b"s"]
        assert file.size == 5000
        assert sum(high - low for low, high in file.data_runs()) == (5000 if holes is Holes.FILL else 0)

    @pytest.mark.parametrize(
        ("numbers", "size"),
        [
            (b"0,2,1,1", b"9"),  # overlap
            (b"5,1,0,2", b"9"),  # not sorted
            (b"7,3", b"9"),  # beyond the end
            (b"0,2", b"9"),  # less than is stored
            (b"0,4", b"9"),  # more than is stored
            (b"0,3,5", b"9"),  # half a pair
            (b"0,-3", b"9"),
            (b"", b"9"),
            (b"0,3", b"9" * 40),
        ],
    )
    def test_maps_that_contradict_are_refused(self, numbers: bytes, size: bytes) -> None:
        assert "'s'" in refusal(self.sparse(numbers, size, b"abc")).replace(" s ", " 's' ")

    def test_map_of_too_many_pieces_is_refused_before_it_is_read(self) -> None:
        records = (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")
        assert "1,048,576" in refusal(pax(*records), member(b"s", padded(b"1048577\n")))

    def test_map_whose_numbers_do_not_end_is_refused_at_once(self) -> None:
        records = (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")
        for text in (b"0" * 9000, b"2\n" + b"0" * 9000):
            assert "map is damaged" in refusal(pax(*records), member(b"s", text))


class TestPlaces:
    def test_root_and_missing_directories(self) -> None:
        tree = read(header(b"./", b"5", mode=b"0000700", uid=b"0000003"), header(b"./a//./b/c"))
        root = tree[b""]
        assert (root.mode, root.uid, root.implicit) == (stat.S_IFDIR | 0o700, 3, False)
        assert tree[b"a/b"].implicit and tree[b"a/b"].mode == stat.S_IFDIR | 0o755
        assert read(header(b"x"))[b""].implicit

    def test_directory_described_after_its_contents(self) -> None:
        tree = read(header(b"d/f"), header(b"d", b"5", mode=b"0000711"))
        assert not tree[b"d"].implicit and tree[b"d"].mode & 0o777 == 0o711 and b"d/f" in tree

    def test_absolute_names_are_from_the_images_root(self) -> None:
        tree = read(header(b"/etc/x"), header(b"y", b"1", link=b"/etc/x"))
        assert tree[b"y"] is tree[b"etc/x"]

    @pytest.mark.parametrize("name", [b"../x", b"a/../../x", b"..", b"a/..", b"/../x"])
    def test_dot_dot_is_refused(self, name: bytes) -> None:
        assert name.decode() in refusal(header(name))
        assert ".." in refusal(header(b"x"), header(b"l", b"1", link=name))

    def test_members_beneath_a_symlink_follow_it(self) -> None:
        tree = read(
            header(b"usr/lib", b"5"),
            header(b"lib", b"2", link=b"usr/lib"),
            header(b"abs", b"2", link=b"/lib"),
            header(b"out", b"2", link=b"../../../usr"),
            header(b"lib/a"),
            header(b"abs/b"),
            header(b"out/c"),
            header(b"lib", b"5", mode=b"0000700"),
        )
        assert {b"usr/lib/a", b"usr/lib/b", b"usr/c"} <= tree.keys()
        assert stat.S_ISLNK(tree[b"lib"].mode) and tree[b"usr/lib"].mode & 0o777 == 0o700

    def test_a_symlink_that_is_replaced_is_not_followed_any_more(self) -> None:
        tree = read(
            header(b"one/", b"5"),
            header(b"two/", b"5"),
            header(b"l", b"2", link=b"one"),
            header(b"l/a"),
            header(b"l", b"2", link=b"two"),
            header(b"l/b"),
        )
        assert {b"one/a", b"two/b"} <= tree.keys()

    def test_symlinks_that_lead_nowhere(self) -> None:
        assert "loop" in refusal(header(b"l", b"2", link=b"l"), header(b"l/x"))
        message = refusal(header(b"l", b"2", link=b"/etc"), header(b"l/passwd"))
        assert "l/passwd" in message and "nothing" in message

    def test_a_member_beneath_a_file_is_refused(self) -> None:
        assert "f/x" in (message := refusal(member(b"f", b"1"), header(b"f/x"))) and "file" in message

    def test_last_of_duplicates_wins(self) -> None:
        tree = read(member(b"a", b"1"), header(b"b", b"1", link=b"a"), header(b"a", b"2", link=b"x"))
        assert stat.S_ISLNK(tree[b"a"].mode) and content(tree[b"b"]) == b"1"

    def test_directory_against_anything_else_is_refused(self) -> None:
        assert "directory" in refusal(header(b"d/", b"5"), header(b"d"))
        assert "directory" in refusal(header(b"d"), header(b"d/", b"5"))
        assert "root" in refusal(header(b"./", b"2", link=b"x"))

    def test_hard_links_share_an_inode(self) -> None:
        tree = read(
            member(b"f", b"1"),
            header(b"d/g", b"1", link=b"./f"),
            header(b"s", b"2", link=b"f"),
            header(b"s2", b"1", link=b"s"),
            header(b"n", b"3"),
            header(b"n2", b"1", link=b"n"),
            header(b"f", b"1", link=b"f"),
        )
        assert tree[b"d/g"] is tree[b"f"] and tree[b"f"].nlink == 2
        assert tree[b"s2"] is tree[b"s"] and tree[b"n2"] is tree[b"n"]

    @pytest.mark.parametrize("target", [b"later", b"l", b"d", b"no/where", b""])
    def test_hard_links_to_what_cannot_be_linked(self, target: bytes) -> None:
        message = refusal(header(b"d/", b"5"), header(b"l", b"1", link=target), header(b"later"))
        assert "l is a hard link to" in message

    def test_excluded_names_go_and_their_hard_links_stay(self) -> None:
        rules = SourceRules(exclude=Exclusion([b"a", b"tmp/"]))
        tree = read(member(b"a", b"1"), header(b"b", b"1", link=b"a"), header(b"tmp/x"), rules=rules)
        assert sorted(tree) == [b"", b"b"] and content(tree[b"b"]) == b"1"

    def test_symlink_limits(self) -> None:
        assert read(pax((b"linkpath", b"x" * 4095)), header(b"l", b"2"))[b"l"].size == 4095
        assert "4,096 bytes" in refusal(pax((b"linkpath", b"x" * 4096)), header(b"l", b"2"))
        assert "0 bytes" in refusal(header(b"l", b"2"))


class TestEnds:
    def test_each_way_to_end(self) -> None:
        whole = member(b"a", b"x" * 700)
        for end, good in ((1024, True), (10240, True), (700, True), (512, True), (511, False), (0, False)):
            stream = io.BytesIO(whole + bytes(end))
            if good:
                assert b"a" in (tarball.read(stream, SourceRules()).entries or {})
            else:
                with pytest.raises(FormatError, match="ends"):
                    tarball.read(stream, SourceRules())

    def test_lone_block_of_zeros_is_damage(self) -> None:
        assert "lone block" in refusal(member(b"a"), bytes(512), member(b"b"))

    def test_what_follows_the_end_is_not_looked_at(self) -> None:
        assert sorted(read(member(b"a"), END, b"garbage" * 99)) == [b"", b"a"]

    @pytest.mark.parametrize("cut", [0, 1, 511, 512, 700, 1024, 1200, 1536, 2047])
    def test_cut_off_archives(self, cut: int, tmp_path: Path) -> None:
        data = (pax((b"mtime", b"1.5")) + member(b"a", b"x" * 512) + END)[:cut]
        path = tmp_path / "x.tar"
        path.write_bytes(data)
        for source in (bytes(path), io.BytesIO(data)):
            with pytest.raises(FormatError):
                tarball.read(source, SourceRules())

    def test_damaged_header_is_not_the_end(self) -> None:
        broken = bytearray(member(b"b"))
        broken[0] ^= 1
        assert "bad checksum" in refusal(member(b"a"), bytes(broken), member(b"c"))

    def test_size_beyond_the_end(self, tmp_path: Path) -> None:
        path = tmp_path / "x.tar"
        path.write_bytes(header(b"a", size=b"77777777777") + b"only this")
        for source in (bytes(path), io.BytesIO(path.read_bytes())):
            with pytest.raises(
                FormatError, match=r"a .*ends inside its contents \(9 of 8,589,934,591 bytes\)"
            ):
                tarball.read(source, SourceRules())

    def test_huge_and_negative_sizes(self) -> None:
        for number in ((1 << 80) - 1, -1):
            field = (b"\x80" if number > 0 else b"\xff") + number.to_bytes(12, "big", signed=True)[1:]
            assert "gives a size" in refusal(header(b"a", size=field))

    def test_extended_headers_are_bounded(self) -> None:
        for typeflag in (b"x", b"g", b"L", b"K"):
            assert "1 MiB" in refusal(header(b"h", typeflag, size=b"77777777777"))
        flood = [pax((b"SCHILY.xattr.user.%d" % n, bytes(9000)), typeflag=b"g") for n in range(8)]
        assert "64 KiB" in refusal(*flood)

    def test_extended_header_without_a_member(self) -> None:
        assert "after an extended header" in refusal(pax((b"path", b"x")))


class TestSources:
    archive = member(b"d/a", b"hello") + member(b"z", bytes(300_000)) + END

    def check(self, root: Inode) -> None:
        tree = dict(Inventory(root).walk())
        assert content(tree[b"d/a"]) == b"hello" and content(tree[b"z"]) == bytes(300_000)

    @pytest.mark.parametrize(
        "packed",
        [
            archive,
            gzip.compress(archive),
            gzip.compress(archive[:700]) + gzip.compress(archive[700:]),
            lzma.compress(archive),
            bz2.compress(archive),
            zstandard.compress(archive),
            struct.pack("<II", 0x184D2A50, 4) + b"skip" + zstandard.compress(archive),
        ],
    )
    def test_forms_are_known_by_content(self, packed: bytes, tmp_path: Path) -> None:
        path = tmp_path / "any.name"
        path.write_bytes(packed)
        self.check(tarball.read(bytes(path), SourceRules(), spool_directory=bytes(tmp_path)))
        self.check(tarball.read(io.BytesIO(packed), SourceRules(), spool_directory=bytes(tmp_path)))
        assert list(tmp_path.iterdir()) == [path]

    def test_a_member_named_like_a_compressor(self) -> None:
        assert content(read(member(b"BZh9", b"x"))[b"BZh9"]) == b"x"

    @pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress, zstandard.compress])
    def test_compressed_data_cut_off_or_damaged(self, pack: object) -> None:
        assert callable(pack)
        packed = pack(member(b"a", bytes(range(256)) * 400) + END)
        flipped = bytes(byte ^ 0x55 for byte in packed[40:70])
        for damaged in (packed[: len(packed) // 2], packed[:40] + flipped + packed[70:]):
            with pytest.raises(FormatError, match=r"cut off|damaged"):
                tarball.read(io.BytesIO(damaged), SourceRules())

    @pytest.mark.parametrize(("head", "name"), [(b"PK\x03\x04", "zip"), (b"\x1f\x9d\x90", "compress")])
    def test_other_forms_are_refused_by_name(self, head: bytes, name: str) -> None:
        with pytest.raises(SourceError, match=f"is in {name} form"):
            tarball.read(io.BytesIO(head + bytes(600)), SourceRules())

    def test_a_window_that_is_too_large_is_refused(self) -> None:
        """RFC 8878, 3.1.1.1: magic, frame header descriptor, window descriptor of 2 GiB, a raw block."""
        frame = b"\x28\xb5\x2f\xfd\x00" + bytes([21 << 3]) + b"\x01\0\0"
        with pytest.raises(SourceError, match="too much memory"):
            tarball.read(io.BytesIO(frame), SourceRules())

    @pytest.mark.parametrize("garbage", [b"", b"x", b"no tar " * 1000, b"\xff" * 512])
    def test_garbage(self, garbage: bytes) -> None:
        with pytest.raises(FormatError):
            tarball.read(io.BytesIO(garbage), SourceRules())

    def test_plain_tar_is_not_copied_and_is_watched(self, tmp_path: Path) -> None:
        path = tmp_path / "x.tar"
        path.write_bytes(self.archive)
        file = dict(Inventory(tarball.read(bytes(path), SourceRules())).walk())[b"d/a"]
        with path.open("ab") as stream:
            stream.write(b"more")
        with pytest.raises(SourceChangedError, match=r"x\.tar changed"):
            content(file)

    def test_missing_file_and_directory(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.tar", tmp_path):
            with pytest.raises(SourceError, match=str(path)):
                tarball.read(bytes(path), SourceRules())

    def test_order_of_members_does_not_show(self) -> None:
        first = read(header(b"b"), header(b"a"), header(b"c/", b"5"))
        second = read(header(b"c/", b"5"), header(b"a"), header(b"b"))
        assert list(first) == list(second) == [b"", b"a", b"b", b"c"]

    @pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_archives_by_tarfile(self, form: int) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            info = tarfile.TarInfo("d" * 90 + "/" + "f" * 90)
            info.size, info.mtime, info.uid, info.mode = 3, 1700000000, 2097151, 0o6755
            archive.addfile(info, io.BytesIO(b"abc"))
        buffer.seek(0)
        tree = dict(Inventory(tarball.read(buffer, SourceRules())).walk())
        file = tree[b"d" * 90 + b"/" + b"f" * 90]
        assert (content(file), file.mtime_ns, file.uid) == (b"abc", 1700000000 * 10**9, 2097151)
        assert file.mode & 0o7777 == 0o6755
