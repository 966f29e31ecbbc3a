"""``contents``: host files grafted into the tree at a target, as make-disk-image.nix does it.

============================ ============================================================
source                       result
============================ ============================================================
a file                       the target is that file
a directory, or a symlink    the target is that directory, with all that is in it
to one                       (``nest``: without a slash behind it, the directory goes
                             *into* the target, under its own name, as ``rsync -a DIR T``)
a pattern with ``*``         every match of the shell's goes into the target, a directory
                             that is made when missing; directories merge, later matches
                             replace files; with a slash at its end, what is in the matches
============================ ============================================================

Directories above the target are made, 0755 root:root. The target must not exist ("duplicate entry"),
save for a pattern's. A target of ``/`` is right for a pattern, and for a directory as long as the image
holds nothing yet. Symlinks of the image above the target are followed inside the image, and one in the
target's place is a duplicate. Owners are 0:0 (rsync's ``--no-o --no-g``), or those given; ``mode`` is
applied as rsync's ``--chmod``, to what the content brings; ``user`` and ``group`` as ``chown -R``, to all
that is at the target once every content is in place.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from imgwriter.errors import SourceError, SpecError
from imgwriter.tree import directory, layers
from imgwriter.tree.accounts import Accounts
from imgwriter.tree.chmod import Chmod
from imgwriter.tree.exclude import Exclusion
from imgwriter.tree.inventory import Inode
from imgwriter.tree.lookup import Lookup, made_directory, split
from imgwriter.tree.rules import SourceRules


@dataclass(frozen=True, slots=True)
class Content:
    """One graft.

    Attributes:
        source: A host path; with a ``*`` in it, a pattern.
        target: A path inside the image; the leading slash may be left out.
        mode: As rsync's --chmod, or a number; None keeps the source's.
        user, group: Names of the image's own, or numbers; both or neither.
    """

    source: str
    target: str
    mode: str | int | None = None
    user: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        if not self.source or not self.target:
            raise SpecError(f"content '{self.source}:{self.target}' needs a source and a target")
        if (self.user is None) != (self.group is None):
            raise SpecError(f"content '{self}' sets only one of user and group; set both or none")
        if self.mode is not None:
            Chmod.parse(self.mode)

    def __str__(self) -> str:
        return f"{self.source}:{self.target}"

    @property
    def origin(self) -> str:
        """What it is called in messages."""
        return f"content {self}"


def graft(root: Inode, contents: Sequence[Content], rules: SourceRules, nest: bool = False) -> None:
    """Put contents, in their order, into the tree of ``root``, which is changed in place.

    Args:
        root: The tree's root.
        contents: What goes in.
        rules: Holes and xattrs; the owner is 0:0 and nothing is excluded, whatever they say.
        nest: Put a directory into its target under its own name, unless a slash ends the source.

    Raises:
        SourceError: A source is missing, or a target exists already or cannot be reached.
    """
    rules = replace(rules, owner=(0, 0), exclude=Exclusion())
    for content in contents:
        _Graft(root, content, rules, nest).run()
    accounts = Accounts(root)
    for content in contents:
        if content.user is not None and content.group is not None:
            _chown(root, content, accounts.uid(content.user), accounts.gid(content.group))


class _Graft:
    """One content on its way into a tree."""

    def __init__(self, root: Inode, content: Content, rules: SourceRules, nest: bool) -> None:
        self.root = root
        self.content = content
        self.rules = rules
        self.nest = nest
        self.source = os.fsencode(content.source)
        self.names = split(os.fsencode(content.target))

    def run(self) -> None:
        if b"*" in self.source:
            self._glob()
        elif os.path.isdir(self.source):
            self._directory()
        elif self.content.target.endswith("/"):
            self._refuse_existing()
            self._into([self.source])
        else:
            self._at_target(self._entry(self.source))

    def _glob(self) -> None:
        matches = sorted(glob.glob(self.source))
        if not matches:
            raise SourceError(f"{self.content.origin}: nothing matches the source; correct it", self.source)
        self._into(matches)

    def _directory(self) -> None:
        if not self.nest or self.source.endswith(b"/"):
            self._at_target(self._tree(self.source))
        elif os.path.islink(self.source):
            self._at_target(self._entry(self.source))
        else:
            self._refuse_existing()
            self._into([self.source])

    def _into(self, sources: Sequence[bytes]) -> None:
        """Put each source into the target, a directory, made if need be; one over another, as rsync does."""
        holder = Lookup(self.root).make_directories(self.names, self.content.origin)
        for source in sources:
            if source.endswith(b"/"):
                layer = self._tree(source)
            else:
                layer = made_directory(self.content.origin)
                layer.entries = {os.path.basename(source): self._entry(source)}
            layers.merge_at(self.root, self.names, holder, layer)

    def _at_target(self, inode: Inode) -> None:
        self._refuse_existing()
        if self.names:
            holder = Lookup(self.root).make_directories(self.names[:-1], self.content.origin)
            assert holder.entries is not None
            holder.entries[self.names[-1]] = inode
        elif inode.entries is not None:
            layers.merge(self.root, inode)
        else:
            raise self._duplicate()

    def _refuse_existing(self) -> None:
        """Refuse a target that is there; the root is not as long as nothing is in the image."""
        if self.names:
            holder = Lookup(self.root).make_directories(self.names[:-1], self.content.origin)
            exists = self.names[-1] in (holder.entries or {})
        else:
            exists = bool(self.root.entries) or not self.root.implicit
        if exists:
            raise self._duplicate()

    def _duplicate(self) -> SourceError:
        target, source = self.content.target, self.content.source
        return SourceError(
            f"duplicate entry {target} -> {source}; the target exists already: choose another",
            os.fsencode(target),
        )

    def _tree(self, source: bytes) -> Inode:
        return self._changed(directory.read(source, self.rules, self.content.origin))

    def _entry(self, source: bytes) -> Inode:
        return self._changed(directory.read_entry(source, self.rules, self.content.origin))

    def _changed(self, inode: Inode) -> Inode:
        if self.content.mode is not None:
            chmod = Chmod.parse(self.content.mode)
            for each in _beneath(inode):
                each.mode = chmod.apply(each.mode)
        return inode


def _chown(root: Inode, content: Content, uid: int, gid: int) -> None:
    names = split(os.fsencode(content.target))
    inode = root
    if names:
        holder = Lookup(root).follow(names[:-1])
        inode = (holder.entries or {})[names[-1]]
    for each in _beneath(inode):
        each.uid, each.gid = uid, gid


def _beneath(inode: Inode) -> Iterator[Inode]:
    """Yield an inode and every inode beneath it, each once."""
    seen: set[int] = set()
    stack = [inode]
    while stack:
        each = stack.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        stack.extend((each.entries or {}).values())
