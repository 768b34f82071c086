"""The sections on applications, files and the configuration of servers."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from include.respaldo.config.fields import (
    AbsolutePath,
    ConnectionId,
    Count,
    Name,
    Pattern,
    Text,
    VaultUri,
)
from include.respaldo.config.sections import Section

#: what keys call the machine that a task runs on
LOCAL = "local"


class HostConfig(Section):
    """A host that is reached over SSH."""

    name: Name
    #: host, port, login; extras: private_key or key_file, host_key
    connection: ConnectionId


class TreeConfig(Section):
    """Files below one place: a path of this machine, a path of a host, or a bucket's prefix."""

    name: Name
    path: AbsolutePath | None = None
    #: where the path is; None: on this machine (a mounted volume is)
    host: Name | None = None
    bucket: VaultUri | None = None
    #: opens the bucket
    connection: ConnectionId | None = None
    #: none means everything
    include: tuple[Pattern, ...] = ()
    exclude: tuple[Pattern, ...] = ()
    one_file_system: bool = True

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.bucket is None):
            raise ValueError("exactly one of 'path' and 'bucket'")
        if (self.bucket is None) != (self.connection is None):
            raise ValueError("'bucket' and 'connection' together, or neither")
        if self.bucket is not None and self.host is not None:
            raise ValueError("a 'host' only with a 'path'")
        return self

    @property
    def server(self) -> str:
        """What keys call the machine: the host's name, `LOCAL`, or the bucket's connection."""
        return self.host or (str(self.connection) if self.bucket else LOCAL)


class VersionConfig(Section):
    """How an application announces its version: exactly one of the three."""

    #: below the application's path; its first line
    file: Text | None = None
    #: a program and its arguments, run where the application is; the first line it prints
    command: tuple[Text, ...] | None = None
    #: ``git describe --always --dirty`` of the application's path
    git: bool = False

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if [self.file is not None, self.command is not None, self.git].count(True) != 1:
            raise ValueError("exactly one of 'file', 'command' and 'git'")
        return self


class ApplicationConfig(TreeConfig):
    """A program that is kept whole: an ERP, a point of sale, a web site, a service."""

    version: VersionConfig | None = None


class HostSource(Section):
    """A host whose configuration is kept."""

    host: Name
    #: below /etc and such; further paths of the host that belong to its configuration
    include: tuple[AbsolutePath, ...] = ()
    exclude: tuple[Pattern, ...] = ()


class Repository(Section):
    """How the restic repositories are opened."""

    #: its password encrypts them; without it nothing can be restored
    connection: ConnectionId


class UnusualConfig(Section):
    """From which percentage of a source's files on a change is suspicious."""

    removed: Annotated[Count, Field(ge=1, le=100)] = 30
    modified: Annotated[Count, Field(ge=1, le=100)] = 50
    incompressible: Annotated[Count, Field(ge=1, le=100)] = 30
    #: a source with fewer files is never suspicious
    files: Annotated[Count, Field(ge=1)] = 20
