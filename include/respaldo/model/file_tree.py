"""What a backup of files holds: its entries, what changed since the one before, what is unusual.

Paths are relative to the source's root, as `os.fsdecode` gives them: a byte that is no UTF-8 is a
surrogate. For people and for JSON they go through `shown`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

#: how many problems a manifest names; the list of files holds the rest
PROBLEMS_SHOWN = 100


class Kind(StrEnum):
    """What an entry of a tree is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    #: fifo, socket, device: kept as what it is, without content
    OTHER = "other"


class Problem(StrEnum):
    """What went wrong with one entry."""

    #: it could not be read: the backup is partial
    UNREADABLE = "unreadable"
    #: it changed while it was read: what was stored is what is listed
    CHANGED = "changed while it was read"
    #: it was there when the tree was listed, and gone when it was read
    VANISHED = "vanished"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tree, as it was read."""

    path: str
    kind: Kind
    #: bytes; of files only
    size: int
    #: permission bits with setuid, setgid and sticky: ``st_mode & 0o7777``
    mode: int
    uid: int
    gid: int
    #: nanoseconds since 1970
    mtime_ns: int
    #: hexadecimal SHA-256 of the content; "" where it has none or could not be read
    sha256: str = ""
    #: what a link says
    target: str = ""
    #: entries of one tree with the same number other than 0 are one file
    hard_link: int = 0
    #: SHA-256 of its extended attributes and ACLs (docs/FORMAT.md); "": it has none
    xattrs: str = ""
    #: its first bytes do not shrink: compressed, or encrypted
    incompressible: bool = False
    problem: Problem | None = None


@dataclass(frozen=True)
class ReadProblem:
    """One entry that could not be brought here as it is; what was brought says nothing of it."""

    #: relative to the source's root; "" where it is not known which
    path: str
    problem: Problem
    #: for people: ``Permission denied``
    reason: str


@dataclass(frozen=True)
class Changes:
    """How a tree differs from that of the backup before it: numbers of files, and bytes."""

    #: id of the backup before it; "": there is none
    since: str = ""
    added: int = 0
    modified: int = 0
    removed: int = 0
    unchanged: int = 0
    #: of the modified ones: those that could be compressed before, and cannot now
    became_incompressible: int = 0
    #: content of what was added and modified, in bytes
    size: int = 0

    @property
    def before(self) -> int:
        """How many files there were."""
        return self.modified + self.removed + self.unchanged

    @property
    def text(self) -> str:
        """For people: ``3 added, 1 modified, 0 removed``."""
        return f"{self.added} added, {self.modified} modified, {self.removed} removed"


@dataclass(frozen=True)
class Unusual:
    """From which share of a tree's files on a change is suspicious."""

    #: of the files there were
    removed: float = 0.3
    modified: float = 0.5
    #: of the files that were modified
    incompressible: float = 0.3
    #: fewer files than that are never suspicious
    files: int = 20


def suspicions(changes: Changes, usual: Unusual) -> tuple[str, ...]:
    """Return what is unusual about a change, in words for people; empty: nothing."""
    if not changes.since or changes.before < usual.files:
        return ()
    found = []
    for count, of, share, what in (
        (changes.removed, changes.before, usual.removed, "files vanished"),
        (changes.modified, changes.before, usual.modified, "files were modified"),
        (
            changes.became_incompressible,
            changes.modified,
            usual.incompressible,
            "modified files became incompressible, as encrypted ones are",
        ),
    ):
        if count >= usual.files and count > share * of:
            found.append(f"{count} of {of} {what}")
    return tuple(found)


@dataclass(frozen=True)
class StoredTree:
    """What a manifest says of a tree; its files are in the restic repository of its category."""

    #: the snapshot's id in the repository, the same in both regions
    snapshot: str
    #: the path within the snapshot that is the source's root
    root: str
    files: int
    folders: int
    links: int
    others: int
    #: content of all files, in bytes
    size: int
    #: bytes that the repository grew by
    stored: int
    changes: Changes = field(default_factory=Changes)
    #: (path for people, what is wrong); at most `PROBLEMS_SHOWN`
    problems: tuple[tuple[str, str], ...] = ()
    #: `Problem` -> how many entries
    problem_counts: dict[str, int] = field(default_factory=dict)
    #: what is unusual, in words for people
    suspicions: tuple[str, ...] = ()
    #: what an application says that it is; "" where it says nothing
    version: str = ""

    @property
    def is_partial(self) -> bool:
        """Whether something of it could not be read."""
        return bool(self.problem_counts.get(Problem.UNREADABLE))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> StoredTree:
        return cls(**{
            **d,
            "changes": Changes(**d["changes"]),
            "problems": tuple((path, what) for path, what in d["problems"]),
            "suspicions": tuple(d["suspicions"]),
        })


def shown(path: str) -> str:
    r"""Return a path for people, on one line: odd bytes and control characters as ``\xNN``."""
    raw = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in raw)


def totals(entries: Sequence[Entry]) -> dict[str, int]:
    """Return numbers of files, folders, links and others, and the bytes of all files."""
    found = {"files": 0, "folders": 0, "links": 0, "others": 0, "size": 0}
    names = {Kind.FILE: "files", Kind.FOLDER: "folders", Kind.LINK: "links", Kind.OTHER: "others"}
    for entry in entries:
        found[names[entry.kind]] += 1
        found["size"] += entry.size
    return found
