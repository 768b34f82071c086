"""Find the databases that the configuration's rules mean, on every server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from include.respaldo.config import ServerConfig
from include.respaldo.errors import RespaldoError, SourceError
from include.respaldo.model.backup import Category, Source
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.introspect import (
    DatabaseListing,
    list_databases,
    tenants_by_pattern,
    tenants_by_query,
)

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment


@dataclass(frozen=True)
class DiscoveredDatabase:
    """A database that is to be protected."""

    source: Source
    oid: int
    #: bytes on disk
    size: int


@dataclass(frozen=True)
class Discovery:
    """What was found, and which servers did not answer."""

    databases: tuple[DiscoveredDatabase, ...]
    #: server -> why nothing is known of it
    problems: dict[str, RespaldoError] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(d.source for d in self.databases)


def discover(deployment: Deployment, categories: frozenset[Category]) -> Discovery:
    """Return the databases of these categories on all servers; one broken server stops no other."""
    found: list[DiscoveredDatabase] = []
    problems: dict[str, RespaldoError] = {}
    for server in deployment.config.servers:
        try:
            found += discover_server(deployment, server, categories)
        except RespaldoError as error:
            problems[server.name] = error
    return Discovery(tuple(found), problems)


def discover_server(
    deployment: Deployment, server: ServerConfig, categories: frozenset[Category]
) -> list[DiscoveredDatabase]:
    """Return the databases of one server that the rules mean, ordered by name.

    :raises SourceError: the configured system database is not there.
    """
    system = deployment.config.system_database
    system_name = system.name if system and system.server == server.name else None
    with connect(deployment.connection_of(server.name), server.database) as conn:
        found: dict[str, tuple[Category, DatabaseListing]] = {}
        if Category.TENANT_DATABASES in categories:
            if server.tenants.query is not None:
                tenants = tenants_by_query(conn, server.tenants.query)
                tenants = [t for t in tenants if not excluded(t.name, server.exclude)]
            else:
                tenants = tenants_by_pattern(conn, server.tenants.pattern or "*", server.exclude)
            found |= {
                t.name: (Category.TENANT_DATABASES, t) for t in tenants if t.name != system_name
            }
        if Category.SYSTEM_DATABASE in categories and system_name is not None:
            system_listing = next((d for d in list_databases(conn) if d.name == system_name), None)
            if system_listing is None:
                raise SourceError(
                    f"the system database {system_name!r} is not on server {server.name!r}",
                    hint="correct system_database in the configuration",
                )
            found[system_name] = (Category.SYSTEM_DATABASE, system_listing)
    return [
        DiscoveredDatabase(Source(category, server.name, name), listing.oid, listing.size)
        for name, (category, listing) in sorted(found.items())
    ]


def excluded(name: str, patterns: Sequence[str]) -> bool:
    """Return whether one of the shell-style patterns fits the whole name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def find_source(deployment: Deployment, name: str) -> Source:
    """Return the source that a person means by ``database`` or ``server/database``.

    Looks at the servers first, then (the database may be gone: that is what backups are for) at
    what the vaults hold.

    :raises SourceError: nothing, or more than one thing, is called so.
    """
    from include.respaldo.jobs.read_catalog import archived_sources

    everything = frozenset({Category.TENANT_DATABASES, Category.SYSTEM_DATABASE})
    found = discover(deployment, everything)
    known = list(found.sources)
    matches = [s for s in known if name in {s.name, str(s)}]
    if not matches:
        known = sorted({*known, *archived_sources(deployment.vaults)})
        matches = [s for s in known if name in {s.name, str(s)}]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise SourceError(
            f"more than one server has a database {name!r}",
            hint=f"say which: {', '.join(map(str, matches))}",
        )
    shown = ", ".join(s.name for s in known[:20]) or "none"
    raise SourceError(
        f"no database {name!r} is protected or in the vaults",
        hint=f"known: {shown}{' …' if len(known) > 20 else ''}",
    )
