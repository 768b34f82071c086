"""What is wanted back of a tree, where to, and what came of it; in words, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

from include.respaldo.model.backup import Category, Source
from include.respaldo.model.file_tree import shown
from include.respaldo.model.moments import iso, parse_iso
from include.respaldo.model.units import duration_text, size_text

#: how many of what is restored a plan and a report name
NAMED = 20


class Place(StrEnum):
    """Where a tree, or some of it, is restored to."""

    #: next to the original: on this machine, on its host, in its bucket
    BESIDE = "beside"
    #: a folder of this machine
    FOLDER = "folder"


@dataclass(frozen=True)
class Destination:
    """Where to, and under which name."""

    place: Place = Place.BESIDE
    #: absolute; only of `Place.FOLDER`
    folder: str = ""
    #: what the restored tree is called, where everything is restored; "": its own name, with the
    #: day (``uploads.restored_20261121``)
    name: str = ""


@dataclass(frozen=True)
class TreeRestoreRequest:
    """Which files are wanted, as of when, and where."""

    source: Source
    #: files, folders and patterns, as people type them; none means everything
    paths: tuple[str, ...] = ()
    #: the last backup begun before this is taken; None: the newest
    before: datetime | None = None
    #: which backup; "": `before` decides
    backup_id: str = ""
    destination: Destination = field(default_factory=Destination)
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "before": iso(self.before) if self.before else None}

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> TreeRestoreRequest:
        source = d["source"]
        return cls(
            source=Source(Category(source["category"]), source["server"], source["name"]),
            paths=tuple(d["paths"]),
            before=parse_iso(d["before"]) if d["before"] else None,
            backup_id=d["backup_id"],
            destination=Destination(**{
                **d["destination"],
                "place": Place(d["destination"]["place"]),
            }),
            reason=d["reason"],
        )


@dataclass(frozen=True)
class RestoredItem:
    """One thing that is restored: a file, or a folder with all that it holds; as `shown`."""

    #: relative to the source's root; "": the root itself
    path: str
    #: its final name: a path of this machine or of the host, or ``s3://…``
    to: str


@dataclass(frozen=True)
class Contents:
    """How much is restored."""

    files: int = 0
    folders: int = 0
    links: int = 0
    others: int = 0
    #: content of all files, in bytes
    size: int = 0
    #: entries that the backup names, but could not read: they cannot be restored
    missing: int = 0

    @property
    def text(self) -> str:
        """For people: ``12 files in 3 folders, 6.3 MB``."""
        found = f"{self.files:,} file{'' if self.files == 1 else 's'}"
        if self.folders:
            found += f" in {self.folders:,} folder{'' if self.folders == 1 else 's'}"
        if self.links:
            found += f", {self.links:,} link{'' if self.links == 1 else 's'}"
        if self.others:
            found += f", {self.others:,} other{'' if self.others == 1 else 's'}"
        return f"{found}, {size_text(self.size)}"


@dataclass(frozen=True)
class TreeRestorePlan:
    """What a restore would do; it changes nothing.

    :ivar request: its backup is chosen.
    """

    request: TreeRestoreRequest
    #: when the backup was begun
    as_of: datetime
    #: of people
    time_zone: str
    #: what an application said that it was; "": nothing
    version: str
    #: "primary" or "replica": where it is read, as far as is known now
    region: str
    contents: Contents
    #: what comes after the names: ``restored_20261121``; "": they keep their own
    suffix: str
    #: where to, for people: ``web1: /srv/uploads``
    place: str
    #: the first `NAMED` of what is restored
    items: tuple[RestoredItem, ...]
    #: how many there are
    count: int
    #: bytes that are free at the destination; None: that is not known, or has no end
    free: int | None = None
    #: what a person must know before using it: partial, suspicious, the replica was used
    marks: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """What tells this request from others; the same for each attempt at it."""
        asked = {**self.request.to_json(), "reason": ""}
        return sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def text(self) -> str:
        """For people, in Markdown."""
        request = self.request
        version = f", version {self.version}" if self.version else ""
        lines = [
            f"**{what(request)}** as of {local(self.as_of, self.time_zone)}{version}",
            f"- {self.contents.text}",
            f"- backup {request.backup_id}, read from the {self.region} region",
            f"- to {shown(self.place)}"
            + (f" ({size_text(self.free)} free)" if self.free is not None else ""),
            *named(self.items, self.count),
        ]
        if self.contents.missing:
            lines.append(f"- not in the backup: {self.contents.missing} that could not be read")
        lines += [f"- **note**: {mark}" for mark in self.marks]
        if request.reason:
            lines.append(f"- reason: {request.reason}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "request": self.request.to_json(), "as_of": iso(self.as_of)}

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> TreeRestorePlan:
        return cls(**{
            **d,
            "request": TreeRestoreRequest.from_json(d["request"]),
            "as_of": parse_iso(d["as_of"]),
            "contents": Contents(**d["contents"]),
            "items": tuple(RestoredItem(**i) for i in d["items"]),
            "marks": tuple(d["marks"]),
        })


@dataclass(frozen=True)
class TreeRestored:
    """What a restore has done."""

    plan: TreeRestorePlan
    #: where it was read: "primary" or "replica"
    region: str
    seconds: float
    #: what people should know: the replica was used and why, owners could not be given
    notes: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """The first `NAMED` final names."""
        return tuple(item.to for item in self.plan.items)

    @property
    def text(self) -> str:
        """For people, in Markdown."""
        plan = self.plan
        version = f", version {plan.version}" if plan.version else ""
        lines = [
            f"**{what(plan.request)} is back** as of {local(plan.as_of, plan.time_zone)}{version}",
            f"- {plan.contents.text}, every file compared with the backup's list",
            f"- at {shown(plan.place)}",
            *named(plan.items, plan.count),
            f"- backup {plan.request.backup_id}, read from the {self.region} region, "
            f"in {duration_text(self.seconds)}",
        ]
        if plan.contents.missing:
            lines.append(f"- not in the backup: {plan.contents.missing} that could not be read")
        lines += [f"- **note**: {note}" for note in (*plan.marks, *self.notes)]
        if plan.request.reason:
            lines.append(f"- reason: {plan.request.reason}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "plan": self.plan.to_json(),
            "region": self.region,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> TreeRestored:
        return cls(
            TreeRestorePlan.from_json(d["plan"]), d["region"], d["seconds"], tuple(d["notes"])
        )


def what(request: TreeRestoreRequest) -> str:
    """Return what is wanted, for people: ``2026/11 of web1/uploads``."""
    if not request.paths:
        return f"all of {request.source}"
    first = ", ".join(shown(p) for p in request.paths[:5])
    more = f" and {len(request.paths) - 5} more" if len(request.paths) > 5 else ""
    return f"{first}{more} of {request.source}"


def local(at: datetime, time_zone: str) -> str:
    """Return a time in a time zone, to the minute: ``2026-11-21 02:00 +01:00``."""
    text = at.astimezone(ZoneInfo(time_zone)).isoformat(sep=" ", timespec="minutes")
    return f"{text[:-6]} {text[-6:]}"


def named(items: tuple[RestoredItem, ...], count: int) -> list[str]:
    """Return what becomes what, a line each."""
    lines = [f"  - {item.path or 'everything'} → `{item.to}`" for item in items]
    return [*lines, f"  - … and {count - len(items):,} more"] if count > len(items) else lines


def chosen(request: TreeRestoreRequest, backup_id: str) -> TreeRestoreRequest:
    """Return the request with its backup; the day has done its work."""
    return replace(request, backup_id=backup_id, before=None)
