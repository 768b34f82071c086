"""The shape of the configuration; every value is frozen and nothing unknown is let through."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from include.respaldo.config.fields import (
    AbsolutePath,
    ConnectionId,
    Count,
    Cron,
    DatabaseName,
    Duration,
    FolderUri,
    Name,
    Size,
    Text,
    TimeZone,
    VaultUri,
    duration_between,
    folder_of,
    size_between,
)
from include.respaldo.config.sections import Section
from include.respaldo.config.trees import (
    ApplicationConfig,
    HostConfig,
    HostSource,
    Repository,
    TreeConfig,
    UnusualConfig,
)
from include.respaldo.errors import ConfigurationError

_MIB = 2**20
_GIB = 2**30


class VaultLocation(Section):
    """Where a vault is, and the connection that opens it."""

    uri: VaultUri
    connection: ConnectionId

    @property
    def bucket(self) -> str:
        return urlsplit(self.uri).netloc

    @property
    def prefix(self) -> str:
        """The part below the bucket, without slashes at its ends; may be empty."""
        return urlsplit(self.uri).path.strip("/")


class Vaults(Section):
    """The two regions."""

    primary: VaultLocation
    replica: VaultLocation


class Tenants(Section):
    """How the tenant databases of a server are found: exactly one of the two."""

    pattern: Text | None = None
    query: Text | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.pattern is None) == (self.query is None):
            raise ValueError("exactly one of 'pattern' and 'query'")
        return self


class ServerConfig(Section):
    """A PostgreSQL server that holds many tenant databases."""

    name: Name
    connection: ConnectionId
    #: the database that is entered to look after the server itself
    database: DatabaseName = "postgres"
    tenants: Tenants
    exclude: tuple[Text, ...] = ()


class SystemDatabase(Section):
    """The vendor's own database."""

    server: Name
    name: DatabaseName


class Batches(Section):
    """What one task backs up, one source after the other."""

    size: Annotated[Size, size_between("1 MiB", "10 TiB")] = 2 * _GIB
    sources: Annotated[Count, Field(ge=1, le=1000)] = 50


class Retention(Section):
    """How many daily, weekly and monthly backups stay, days of query log; when the rest goes."""

    daily: Annotated[Count, Field(ge=1, le=3650)] = 7
    weekly: Annotated[Count, Field(ge=0, le=520)] = 4
    monthly: Annotated[Count, Field(ge=0, le=120)] = 3
    query_log_days: Annotated[Count, Field(ge=1, le=3650)] = 7
    #: of each application, whatever their age
    applications: Annotated[Count, Field(ge=1, le=1000)] = 5
    schedule: Cron = "0 6 * * *"


class Redundancy(Section):
    """When the two regions are compared, and what is too young to be compared."""

    schedule: Cron = "30 7 * * *"
    #: what was written later may still be under way to the other region
    settle: Annotated[Duration, duration_between("0s", "7d")] = timedelta(hours=1)


class QueryLog(Section):
    """The cadence of archiving."""

    segment_age: Annotated[Duration, duration_between("500ms", "10min")] = timedelta(seconds=5)
    segment_size: Annotated[Size, size_between("64 KiB", "1 GiB")] = 16 * _MIB
    coverage_interval: Annotated[Duration, duration_between("1s", "10min")] = timedelta(seconds=30)
    streams: Annotated[Count, Field(ge=1, le=64)] = 4
    idle_after: Annotated[Duration, duration_between("1s", "1h")] = timedelta(seconds=30)
    longest_run: Annotated[Duration, duration_between("5s", "1d")] = timedelta(minutes=10)
    lock_timeout: Annotated[Duration, duration_between("10ms", "10s")] = timedelta(seconds=0.5)
    slot_timeout: Annotated[Duration, duration_between("1s", "1h")] = timedelta(seconds=30)
    schema_audit: Annotated[Duration, duration_between("1s", "1d")] = timedelta(minutes=10)


class Restore(Section):
    """What a restore may use of the machine it runs on."""

    jobs: Annotated[Count, Field(ge=1, le=64)] = 2
    memory: Annotated[Size, size_between("64 MiB", "1 TiB")] = 512 * _MIB


def _not_empty(servers: tuple[ServerConfig, ...]) -> tuple[ServerConfig, ...]:
    if not servers:
        raise ValueError("at least one server")
    return servers


class Config(Section):
    """All that the file says, with the defaults of what it does not."""

    vaults: Vaults
    landing_zone: FolderUri
    scratch: AbsolutePath = Field(
        default_factory=lambda: Path(tempfile.gettempdir()).resolve() / "respaldo"
    )
    time_zone: TimeZone = "UTC"
    schedule: Cron = "0 2 * * *"
    servers: Annotated[tuple[ServerConfig, ...], AfterValidator(_not_empty)]
    system_database: SystemDatabase | None = None
    batches: Batches = Batches()
    retention: Retention = Retention()
    redundancy: Redundancy = Redundancy()
    query_log: QueryLog = QueryLog()
    restore: Restore = Restore()
    hosts: tuple[HostConfig, ...] = ()
    files: tuple[TreeConfig, ...] = ()
    applications: tuple[ApplicationConfig, ...] = ()
    server_configuration: tuple[HostSource, ...] = ()
    repository: Repository | None = None
    unusual: UnusualConfig = UnusualConfig()

    @property
    def landing_folder(self) -> Path:
        """The landing zone as a folder."""
        return folder_of(self.landing_zone)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of people."""
        return ZoneInfo(self.time_zone)

    def host(self, name: str) -> HostConfig:
        """Return the host of that name.

        :raises ConfigurationError: none has it; names those there are.
        """
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts) or "none"
        raise ConfigurationError(
            f"no host named {name!r} is configured; there are: {known}",
            hint="choose one of these, or add the host to the configuration (hosts)",
        )

    def server(self, name: str) -> ServerConfig:
        """Return the server of that name.

        :raises ConfigurationError: none has it; names those there are.
        """
        for server in self.servers:
            if server.name == name:
                return server
        known = ", ".join(server.name for server in self.servers)
        raise ConfigurationError(
            f"no server named {name!r} is configured; there are: {known}",
            hint="choose one of these, or add the server to the configuration",
        )
