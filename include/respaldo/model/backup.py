"""Backups: what they are of, and the manifest that seals them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from include.respaldo.model.file_tree import StoredTree
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.moments import iso, moment_key, parse_iso, parse_moment_key
from include.respaldo.model.sealed import seal, unseal
from include.respaldo.model.snapshot import Snapshot

FORMAT = "respaldo-backup/1"


class Category(StrEnum):
    """What is backed up. `SERVER_GLOBALS` (roles) accompanies the databases of a server."""

    TENANT_DATABASES = "tenant_databases"
    SYSTEM_DATABASE = "system_database"
    SERVER_GLOBALS = "server_globals"
    APPLICATIONS = "applications"
    FILES = "files"
    SERVER_CONFIGURATION = "server_configuration"

    @property
    def is_tree(self) -> bool:
        """Whether its sources are trees of files, kept in a restic repository."""
        return self in {Category.APPLICATIONS, Category.FILES, Category.SERVER_CONFIGURATION}


@dataclass(frozen=True, order=True)
class Source:
    """One thing that is backed up.

    A database of a server (`name` is the database's name); an application or a file tree of a host
    (`server` is the host's name in the configuration, or ``local``, or the bucket's connection id);
    a host's configuration (`name` is ``configuration``).
    """

    category: Category
    server: str
    name: str

    def __str__(self) -> str:
        return f"{self.server}/{self.name}"


@dataclass(frozen=True)
class StoredFile:
    """One object of a backup: its name below the backup's prefix, stored size and digest."""

    name: str
    size: int
    sha256: str
    #: bytes before compression
    raw_size: int


@dataclass(frozen=True)
class Anchor:
    """Where a full backup stands in the server's history (design: anchoring)."""

    #: identifies the cluster: pg_control_system().system_identifier
    system_identifier: str
    timeline: int
    #: pg_database.oid: a database dropped and created again under its name is another one
    database_oid: int
    #: write-ahead log position when the snapshot was taken
    lsn: Lsn
    #: what the dump sees
    snapshot: Snapshot
    #: server clock, read after the snapshot: no transaction that the dump sees committed later
    at: datetime

    def to_json(self) -> dict[str, Any]:
        return {
            "system_identifier": self.system_identifier,
            "timeline": self.timeline,
            "database_oid": self.database_oid,
            "lsn": str(self.lsn),
            "snapshot": str(self.snapshot),
            "at": iso(self.at),
        }

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> Anchor:
        return cls(
            system_identifier=d["system_identifier"],
            timeline=d["timeline"],
            database_oid=d["database_oid"],
            lsn=Lsn.parse(d["lsn"]),
            snapshot=Snapshot.parse(d["snapshot"]),
            at=parse_iso(d["at"]),
        )


@dataclass(frozen=True)
class Extension:
    """An installed extension."""

    name: str
    version: str
    schema: str


@dataclass(frozen=True)
class DatabaseProperties:
    """What `CREATE DATABASE` and `ALTER DATABASE` need to make the like of it."""

    owner: str
    encoding: str
    collate: str
    ctype: str
    #: "c" (libc), "i" (ICU) or "b" (built in); as pg_database.datlocprovider
    locale_provider: str = "c"
    icu_locale: str | None = None
    #: what tailors the ICU locale's order (since PostgreSQL 16); "": nothing
    icu_rules: str = ""
    connection_limit: int = -1
    comment: str | None = None
    #: (role or "" for all roles, "name=value"), as in pg_db_role_setting
    settings: tuple[tuple[str, str], ...] = ()
    #: pg_database.datacl as text items, e.g. "=Tc/owner"; None means the default
    acl: tuple[str, ...] | None = None
    extensions: tuple[Extension, ...] = ()
    #: pg_database_size in bytes
    size: int = 0
    tables: int = 0
    #: sum of pg_class.reltuples
    rows_estimate: int = 0
    large_objects: int = 0
    #: (schema, table) whose replica identity Respaldo set to FULL, and what it was ("d", "n", "i")
    identities_set: tuple[tuple[str, str, str], ...] = ()
    #: (schema, index, position from 1, name) of indexes' columns named otherwise than the table's
    index_columns: tuple[tuple[str, str, int, str], ...] = ()
    #: (schema, table, column, attstorage, attcompression) of columns stored otherwise than those
    #: that they are inherited from
    inherited_storage: tuple[tuple[str, str, str, str, str], ...] = ()
    #: every role that owns something in it, or was granted something
    roles: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> DatabaseProperties:
        return cls(**{
            **d,
            "settings": tuple((a, b) for a, b in d["settings"]),
            "acl": None if d["acl"] is None else tuple(d["acl"]),
            "extensions": tuple(Extension(**e) for e in d["extensions"]),
            "identities_set": tuple((a, b, c) for a, b, c in d["identities_set"]),
            "index_columns": tuple((a, b, n, c) for a, b, n, c in d.get("index_columns", ())),
            "inherited_storage": tuple(
                (a, b, c, s, m) for a, b, c, s, m in d.get("inherited_storage", ())
            ),
            "roles": tuple(d.get("roles", ())),
        })


@dataclass(frozen=True)
class Manifest:
    """Describes one sealed backup; its presence in a vault *is* the backup."""

    source: Source
    #: UTC start time of the backup, as `backup_id` writes it: ``20261122T020000.000000Z``
    backup_id: str
    started_at: datetime
    files: tuple[StoredFile, ...]
    server_version: str
    #: tool -> version, e.g. {"pg_dump": "15.18", "respaldo": "0.1.0"}
    tools: dict[str, str]
    #: step -> seconds
    durations: dict[str, float] = field(default_factory=dict)
    #: only of databases
    anchor: Anchor | None = None
    database: DatabaseProperties | None = None
    #: only of applications, files and server configuration
    tree: StoredTree | None = None

    def to_bytes(self) -> bytes:
        """Return the sealed JSON."""
        return seal({
            "format": FORMAT,
            "source": asdict(self.source),
            "backup_id": self.backup_id,
            "started_at": iso(self.started_at),
            "files": [asdict(f) for f in self.files],
            "server_version": self.server_version,
            "tools": self.tools,
            "durations": self.durations,
            "anchor": self.anchor.to_json() if self.anchor else None,
            "database": asdict(self.database) if self.database else None,
            **({"tree": self.tree.to_json()} if self.tree else {}),
        })

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """:raises ValueError: the bytes are damaged, or of a format this version does not know."""
        d = unseal(data)
        if d.get("format") != FORMAT:
            raise ValueError(f"expected format {FORMAT}, found {d.get('format')!r}")
        return cls(
            source=Source(
                Category(d["source"]["category"]), d["source"]["server"], d["source"]["name"]
            ),
            backup_id=d["backup_id"],
            started_at=parse_iso(d["started_at"]),
            files=tuple(StoredFile(**f) for f in d["files"]),
            server_version=d["server_version"],
            tools=d["tools"],
            durations=d["durations"],
            anchor=Anchor.from_json(d["anchor"]) if d["anchor"] else None,
            database=DatabaseProperties.from_json(d["database"]) if d["database"] else None,
            tree=StoredTree.from_json(d["tree"]) if d.get("tree") else None,
        )

    @property
    def stored_size(self) -> int:
        """Bytes in the vault, without the manifest."""
        return sum(f.size for f in self.files)


def backup_id(started_at: datetime) -> str:
    """Return the id of a backup begun then; sorts in time order.

    To the microsecond: two backups of one source that begin in the same second are two.
    """
    return moment_key(started_at)


def parse_backup_id(text: str) -> datetime | None:
    """Return the time that `backup_id` was given; None where it is no backup id."""
    try:
        return parse_moment_key(text)
    except ValueError:
        return None
