"""Plan a restore: from the request and the catalog to a plan that can be read, kept and shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from include.respaldo.errors import RestoreRefused, UnreachableError
from include.respaldo.jobs.read_catalog import read_catalog
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source
from include.respaldo.model.catalog import RecoveryWindow, recovery_window
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.moments import iso, parse_iso
from include.respaldo.model.restore_plan import Refusal, Route, plan_routes
from include.respaldo.model.sealed import canonical
from include.respaldo.model.segment import Segment
from include.respaldo.model.target import Target, TargetLsn, TargetTime
from include.respaldo.model.units import size_text
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.standins import missing_roles

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: PostgreSQL's limit on names, in bytes (NAMEDATALEN - 1)
_NAME_LIMIT = 63
#: other ways to the target that a plan keeps, should a full backup turn out to be damaged
_ROUTES_KEPT = 3
TEMPORARY_PREFIX = "respaldo_restoring_"


@dataclass(frozen=True)
class RestoreRequest:
    """What somebody wants back."""

    source: Source
    target: Target
    #: name of the database that will be made
    new_name: str
    to_server: str
    reason: str = ""
    #: refuse where large objects would be as of the full backup, not of the target
    with_large_objects: bool = False
    #: refuse where roles of the original are not on the server
    with_all_roles: bool = False


@dataclass(frozen=True)
class PlannedRoute:
    """One way to the target, as it is written in a plan."""

    backup_id: str
    chain_id: str | None
    segments: tuple[Segment, ...]
    sequences_from: Segment | None
    #: bytes to fetch
    size: int


@dataclass(frozen=True)
class RestorePlan:
    """A restore as it will be done; nothing has been changed yet."""

    request: RestoreRequest
    #: best first
    routes: tuple[PlannedRoute, ...]
    #: IANA name, for people
    time_zone: str
    #: the stretch of the recovery window that holds the target
    window: tuple[datetime, datetime] | None
    large_objects: int
    notes: tuple[str, ...] = ()

    @property
    def temporary_name(self) -> str:
        """The database's name until it is verified; made from the final one: a retry finds it."""
        place = f"{self.request.to_server}/{self.request.new_name}"
        return TEMPORARY_PREFIX + sha256(place.encode()).hexdigest()[:16]

    @property
    def digest(self) -> str:
        """Tells this plan from any other."""
        return sha256(canonical(self.to_json())).hexdigest()[:16]

    @property
    def text(self) -> str:
        """For people, in Markdown."""
        request, route = self.request, self.routes[0]
        lines = [
            f"**Restore {request.source} to {target_text(request.target, self.time_zone)}**",
            "",
            f"- new database: `{request.new_name}` on server {request.to_server} "
            "(the live database is not touched)",
            f"- from the full backup {route.backup_id} and {len(route.segments)} query log "
            f"segments: {size_text(route.size)} to fetch",
        ]
        if self.window is not None:
            start, end = (moment_text(t, self.time_zone) for t in self.window)
            lines.append(f"- recovery window: {start} to {end}")
        if self.large_objects:
            lines.append(
                f"- {self.large_objects} large objects: as of the full backup {route.backup_id}"
            )
        if request.reason:
            lines.append(f"- reason: {request.reason}")
        return "\n".join(lines + [f"- note: {n}" for n in self.notes])

    def to_json(self) -> dict[str, Any]:
        request = self.request
        source = request.source
        return {
            "source": [source.category.value, source.server, source.name],
            "target": (
                {"time": iso(request.target.at)}
                if isinstance(request.target, TargetTime)
                else {"lsn": str(request.target.lsn)}
            ),
            "new_name": request.new_name,
            "to_server": request.to_server,
            "reason": request.reason,
            "with_large_objects": request.with_large_objects,
            "with_all_roles": request.with_all_roles,
            "time_zone": self.time_zone,
            "window": [iso(t) for t in self.window] if self.window else None,
            "large_objects": self.large_objects,
            "notes": list(self.notes),
            "routes": [
                {
                    "backup_id": r.backup_id,
                    "chain_id": r.chain_id,
                    "segments": [_segment_name(source, s) for s in r.segments],
                    "sequences_from": (
                        _segment_name(source, r.sequences_from) if r.sequences_from else None
                    ),
                    "size": r.size,
                }
                for r in self.routes
            ],
        }

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> RestorePlan:
        category, server, name = d["source"]
        target: Target = (
            TargetTime(parse_iso(d["target"]["time"]))
            if "time" in d["target"]
            else TargetLsn(Lsn.parse(d["target"]["lsn"]))
        )
        return cls(
            RestoreRequest(
                Source(Category(category), server, name),
                target,
                d["new_name"],
                d["to_server"],
                d["reason"],
                d["with_large_objects"],
                d["with_all_roles"],
            ),
            tuple(
                PlannedRoute(
                    r["backup_id"],
                    r["chain_id"],
                    tuple(_segment(s) for s in r["segments"]),
                    _segment(r["sequences_from"]) if r["sequences_from"] else None,
                    r["size"],
                )
                for r in d["routes"]
            ),
            d["time_zone"],
            (parse_iso(d["window"][0]), parse_iso(d["window"][1])) if d["window"] else None,
            d["large_objects"],
            tuple(d["notes"]),
        )


def _segment_name(source: Source, segment: Segment) -> list[Any]:
    return [keys.segment_key(source, "", segment).rpartition("/")[2], segment.size]


def _segment(item: list[Any]) -> Segment:
    segment = keys.parse_segment_key(*item)
    assert segment is not None
    return segment


def plan(deployment: Deployment, request: RestoreRequest) -> RestorePlan:
    """Return how the target will be reached; changes nothing.

    :raises RestoreRefused: it cannot be reached exactly, or the new name will not do; the hint
        names the points that can be had.
    :raises VaultUnreachable: neither region answers.
    """
    deployment.server(request.to_server)
    check_new_name(request)
    catalog = read_catalog(deployment, request.source)
    time_zone = deployment.config.time_zone
    found = plan_routes(
        catalog,
        request.target,
        deployment.clock.now(),
        with_large_objects=request.with_large_objects,
    )
    if isinstance(found, Refusal):
        notes = "".join(f"\n{note}" for note in catalog.notes)
        raise RestoreRefused(
            f"{request.source} cannot be restored to "
            f"{target_text(request.target, time_zone)}: {found.reason}{notes}",
            hint=_points(found, time_zone),
        )
    window = _stretch(recovery_window(catalog), request.target)
    first = found[0]
    properties = first.backup.database
    return RestorePlan(
        request,
        tuple(_planned(route) for route in found[:_ROUTES_KEPT]),
        time_zone,
        window,
        properties.large_objects if properties else 0,
        _large_objects_left_out(first)
        + _server_notes(deployment, request, first.backup)
        + tuple(catalog.notes)
        + tuple(deployment.vaults.notes),
    )


def _large_objects_left_out(route: Route) -> tuple[str, ...]:
    changes = route.large_objects_left_out
    if not changes:
        return ()
    return (
        f"large objects changed after that full backup ({changes[0].what}), which the query log "
        "does not hold: they will be as they were in it. Choose to refuse instead if they matter",
    )


def _server_notes(
    deployment: Deployment, request: RestoreRequest, backup: Manifest
) -> tuple[str, ...]:
    """Return what the server that is restored onto lacks.

    :raises RestoreRefused: it cannot take the backup, or the request wants nothing to be missing.
    """
    server = deployment.server(request.to_server)
    connection = deployment.connection_of(server.name)
    properties = backup.database
    try:
        with connect(connection, server.database) as conn:
            version = conn.info.server_version // 10_000
            missing = missing_roles(conn, properties.roles if properties else ())
    except UnreachableError as error:
        return (f"server {server.name} was not looked at (version, roles): {error.message}",)
    written_by = re.match(r"\d+", backup.server_version)
    if written_by and version < int(written_by[0]):
        raise RestoreRefused(
            f"server {server.name} is PostgreSQL {version}, the backup was taken from PostgreSQL "
            f"{written_by[0]}",
            hint=f"restore onto a server of PostgreSQL {written_by[0]} or newer",
        )
    if not missing:
        return ()
    names = ", ".join(sorted(missing))
    if request.with_all_roles:
        raise RestoreRefused(
            f"server {server.name} has not all roles of the original: {names} are missing",
            hint="create them (each full backup keeps its server's roles in globals.sql), or allow "
            "the restore to go on without them",
        )
    return (
        f"roles that server {server.name} does not have: {names}. What they own will belong to "
        f"{connection.login}, what was granted to them is left out",
    )


def _planned(route: Route) -> PlannedRoute:
    return PlannedRoute(
        route.backup.backup_id,
        route.chain.begin.chain_id if route.chain else None,
        route.segments,
        route.sequences_from,
        route.size,
    )


def _stretch(window: RecoveryWindow, target: Target) -> tuple[datetime, datetime] | None:
    if isinstance(target, TargetTime):
        for interval in window.intervals:
            if interval.start <= target.at <= interval.end:
                return interval.start, interval.end
    return None


def _points(refusal: Refusal, time_zone: str) -> str:
    points = [moment_text(p, time_zone) for p in (refusal.before, refusal.after) if p is not None]
    if points:
        return f"the nearest points that can be had: {' or '.join(points)}"
    intervals = refusal.window.intervals
    if not intervals:
        return "take a full backup first (`backup`); `window` shows what can be had"
    return "can be had: " + "; ".join(
        f"{moment_text(i.start, time_zone)} to {moment_text(i.end, time_zone)}" for i in intervals
    )


def check_new_name(request: RestoreRequest) -> None:
    """:raises RestoreRefused: the name cannot be that of a restored database."""
    name = request.new_name
    if not name or len(name.encode()) > _NAME_LIMIT or "\0" in name:
        raise RestoreRefused(
            f"{name!r} cannot be a database's name",
            hint=f"choose a name of 1 to {_NAME_LIMIT} bytes",
        )
    if (request.to_server, name) == (request.source.server, request.source.name):
        raise RestoreRefused(
            "a restore never replaces the live database",
            hint="choose another name; the restored database lands beside the live one",
        )
    if name.startswith(TEMPORARY_PREFIX):
        raise RestoreRefused(
            f"names that begin with {TEMPORARY_PREFIX} are kept for restores under way",
            hint="choose another name",
        )


def default_new_name(database: str, target: Target, time_zone: str) -> str:
    """Return ``acme_restored_20261122_1129``: the local minute, the name shortened if too long."""
    if isinstance(target, TargetTime):
        when = target.at.astimezone(ZoneInfo(time_zone)).strftime("%Y%m%d_%H%M")
    else:
        when = re.sub(r"\W", "_", str(target.lsn))
    ending = f"_restored_{when}"
    kept = database.encode()[: _NAME_LIMIT - len(ending)].decode(errors="ignore")
    return kept + ending


def moment_text(at: datetime, time_zone: str) -> str:
    """Return the time in the time zone, with its offset: ``2026-11-22 11:29:00 +01:00``."""
    local = at.astimezone(ZoneInfo(time_zone))
    text = local.isoformat(sep=" ", timespec="microseconds" if local.microsecond else "seconds")
    return f"{text[:-6]} {text[-6:]}"


def target_text(target: Target, time_zone: str) -> str:
    """Return the target for people."""
    return moment_text(target.at, time_zone) if isinstance(target, TargetTime) else str(target)
