"""What a job works with: the configuration, the connections, and what is opened from them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from include.respaldo.config import Config, ServerConfig
from include.respaldo.connections import Connection, ConnectionLookup
from include.respaldo.errors import ConfigurationError
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Source
from include.respaldo.ports import Clock, Progress
from include.respaldo.vault.landing import LandingZone
from include.respaldo.vault.mirror import MirroredVault

if TYPE_CHECKING:
    from include.respaldo.filetree.location import RepositoryLocation
    from include.respaldo.filetree.restic import Repository
    from include.respaldo.ssh.host import SshHost


Region = Literal["primary", "replica"]
#: restic's cache, in the scratch folder
RESTIC_CACHE = "restic"


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class Silence:
    """Progress that nobody watches."""

    def step(self, message: str) -> None:
        """Say nothing."""

    def advance(self, done: int, total: int | None, unit: str) -> None:
        """Say nothing."""


class Deployment:
    """One installation: what is protected, where to, and how to reach it.

    Opens things lazily and keeps them; cheap to make. Vault clients may be shared by threads.
    """

    def __init__(
        self,
        config: Config,
        connections: ConnectionLookup,
        *,
        clock: Clock | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.config = config
        self.connections = connections
        self.clock: Clock = clock or SystemClock()
        self.progress: Progress = progress or Silence()

    @cached_property
    def vaults(self) -> MirroredVault:
        """The vaults of both regions."""
        from include.respaldo.vault.s3 import connect_s3_vault

        vaults = self.config.vaults
        return MirroredVault(
            connect_s3_vault(
                vaults.primary.uri, self.connections(vaults.primary.connection), "primary"
            ),
            connect_s3_vault(
                vaults.replica.uri, self.connections(vaults.replica.connection), "replica"
            ),
        )

    @cached_property
    def landing_zone(self) -> LandingZone:
        """Where dumps land before they are verified."""
        return LandingZone(self.config.landing_zone)

    def server(self, name: str) -> ServerConfig:
        """Return a server's configuration; ConfigurationError names those there are."""
        return self.config.server(name)

    def connection_of(self, server: str) -> Connection:
        """Return the connection to a server."""
        return self.connections(self.server(server).connection)

    def host(self, name: str) -> SshHost:
        """Return a host, to be entered with ``with``.

        :raises ConfigurationError: none of that name is configured, or its connection is wrong.
        """
        from include.respaldo.ssh.host import SshHost

        return SshHost.of(self.connections(self.config.host(name).connection))

    def repository_location(
        self, category: Category, region: Region = "primary"
    ) -> RepositoryLocation:
        """Return where the restic repository of a category of trees is.

        :raises ConfigurationError: nothing opens it.
        """
        from include.respaldo.filetree.location import RepositoryLocation

        if self.config.repository is None:
            raise ConfigurationError(
                f"nothing opens the repository of {category.value.replace('_', ' ')}",
                hint="name the connection with its password in the configuration (repository)",
            )
        vault = getattr(self.config.vaults, region)
        return RepositoryLocation.s3(
            vault.uri,
            keys.repository_prefix(category),
            self.connections(vault.connection),
            self.connections(self.config.repository.connection).password,
        )

    def repository(
        self, category: Category, region: Region = "primary", *, read_only: bool = False
    ) -> Repository:
        """Return the restic repository of a category of trees; nothing is asked of it yet.

        :param read_only: writes nothing, not even a lock. Always so in the replica, which follows.
        :raises ConfigurationError: nothing opens it.
        """
        from include.respaldo.filetree.restic import Repository

        return Repository(
            self.repository_location(category, region),
            self.scratch(RESTIC_CACHE),
            read_only=read_only or region == "replica",
        )

    def scratch(self, *parts: str) -> Path:
        """Return a private folder for this process's temporary work, made if missing."""
        folder = self.config.scratch.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def source(self, name: str) -> Source:
        """Return the source that a person means by ``database`` or ``server/database``.

        A bare database name means the first server that has it; a name that itself holds a slash
        is taken whole where no server is called by its first part.
        """
        from include.respaldo.jobs.discover import find_source

        return find_source(self, name)

    def category_of(self, server: str, database: str) -> Category:
        """Return which category a database of a server belongs to."""
        system = self.config.system_database
        if system is not None and (system.server, system.name) == (server, database):
            return Category.SYSTEM_DATABASE
        return Category.TENANT_DATABASES
