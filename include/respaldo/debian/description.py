"""What a Debian or Ubuntu host is, as values.

The tree that a backup of server configuration keeps::

    host.json       the description below; private: it tells of accounts and rules
    changes.txt     what changed since the backup before it, for people
    files/          the host's own files by their path, `/etc` and what belongs to it

Owners and modes of `files/` are those in host.json: on the worker every file that the host does
not show to everybody is mode 0600, whoever owns it. Nothing secret stands in host.json: of a
password's hash it has a digest, which tells two apart and opens nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from include.respaldo.model.file_tree import Kind

FORMAT = "respaldo-host/1"
#: names within the tree
DESCRIPTION = "host.json"
CHANGES = "changes.txt"
FILES = "files"


class Standing(StrEnum):
    """How a conffile stands to what its package brought."""

    INTACT = "intact"
    CHANGED = "changed"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package; a foreign architecture is part of its name, as in ``libc6:i386``."""

    name: str
    version: str
    #: by a person, not only because another one needs it
    asked_for: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class Repository:
    """One source of packages, without passwords."""

    file: str
    line: str


@dataclass(frozen=True, slots=True)
class Conffile:
    """A file of configuration that a package brought."""

    path: str
    package: str
    standing: Standing
    #: the package's newer versions have it no more
    obsolete: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A group of /etc/group."""

    name: str
    gid: int
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """An account of /etc/passwd, with what /etc/shadow says of it."""

    name: str
    uid: int
    gid: int
    comment: str
    home: str
    shell: str
    #: digest of the password's hash, ``locked``, ``empty``; "": it was not to be read
    password: str = ""
    #: minimum, maximum, warning, inactivity, expiry, as in /etc/shadow
    ageing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit file of systemd and its state: enabled, disabled, masked, static …"""

    name: str
    state: str


@dataclass(frozen=True, slots=True)
class HostFile:
    """A file of the host with an absolute path; as `model.file_tree.Entry` otherwise."""

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int = 0
    mtime_ns: int = 0
    #: "": not a file, or it could not be read
    sha256: str = ""
    target: str = ""


@dataclass(frozen=True)
class Description:
    """All that is known of a host at one moment; every tuple is sorted."""

    name: str
    machine_id: str
    #: ``debian``, ``ubuntu`` …
    distribution: str
    #: ``12``
    release: str
    codename: str
    architecture: str
    kernel: str = ""
    foreign_architectures: tuple[str, ...] = ()
    packages: tuple[Package, ...] = ()
    repositories: tuple[Repository, ...] = ()
    conffiles: tuple[Conffile, ...] = ()
    users: tuple[User, ...] = ()
    groups: tuple[Group, ...] = ()
    units: tuple[Unit, ...] = ()
    #: services that ran
    active: tuple[str, ...] = ()
    #: lines of /etc/fstab
    mounts: tuple[str, ...] = ()
    #: (tool, its rules as text)
    firewall: tuple[tuple[str, str], ...] = ()
    #: (what, text): kept for people, never replayed
    network: tuple[tuple[str, str], ...] = ()
    #: (account, the keys that open it)
    authorized_keys: tuple[tuple[str, tuple[str, ...]], ...] = ()
    files: tuple[HostFile, ...] = ()
    #: paths of the host below which `files` has everything …
    roots: tuple[str, ...] = ()
    #: … but for what fits these patterns
    exclude: tuple[str, ...] = ()
    #: (part, why it is not here)
    missing: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """For people: ``debian 12 (bookworm), amd64``."""
        codename = f" ({self.codename})" if self.codename else ""
        return f"{self.distribution} {self.release}{codename}, {self.architecture}"

    @cached_property
    def package(self) -> Mapping[str, Package]:
        """Packages by name."""
        return {p.name: p for p in self.packages}

    @cached_property
    def conffile(self) -> Mapping[str, Conffile]:
        """Conffiles by path."""
        return {c.path: c for c in self.conffiles}

    @cached_property
    def user(self) -> Mapping[str, User]:
        """Accounts by name."""
        return {u.name: u for u in self.users}

    @cached_property
    def group(self) -> Mapping[str, Group]:
        """Groups by name."""
        return {g.name: g for g in self.groups}

    @cached_property
    def unit(self) -> Mapping[str, str]:
        """States of units by name."""
        return {u.name: u.state for u in self.units}

    @cached_property
    def file(self) -> Mapping[str, HostFile]:
        """Files by path."""
        return {f.path: f for f in self.files}

    @cached_property
    def user_names(self) -> Mapping[int, str]:
        """Names of accounts by id; the first of those that share one."""
        return {u.uid: u.name for u in reversed(self.users)}

    @cached_property
    def group_names(self) -> Mapping[int, str]:
        """Names of groups by id."""
        return {g.gid: g.name for g in reversed(self.groups)}

    def to_bytes(self) -> bytes:
        """Return host.json; the same description is always the same bytes."""
        body = {"format": FORMAT, **asdict(self)}
        return json.dumps(body, indent=1, sort_keys=True).encode()  # ASCII: odd names survive

    @classmethod
    def from_bytes(cls, data: bytes) -> Description:
        """:raises ValueError: damaged, or of a format this version does not know."""
        try:
            d: dict[str, Any] = json.loads(data)
            if (found := d.pop("format", None)) != FORMAT:
                raise ValueError(f"expected format {FORMAT}, found {found!r}")
            return cls(**{
                **{k: _tuples(v) for k, v in d.items()},
                "packages": tuple(Package(**p) for p in d["packages"]),
                "repositories": tuple(Repository(**r) for r in d["repositories"]),
                "conffiles": tuple(
                    Conffile(**{**c, "standing": Standing(c["standing"])}) for c in d["conffiles"]
                ),
                "users": tuple(User(**_all_tuples(u)) for u in d["users"]),
                "groups": tuple(Group(**_all_tuples(g)) for g in d["groups"]),
                "units": tuple(Unit(**u) for u in d["units"]),
                "files": tuple(HostFile(**{**f, "kind": Kind(f["kind"])}) for f in d["files"]),
            })
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no description of a host: {error}") from None


@dataclass(frozen=True)
class Offer:
    """What the repositories of a host have of one package."""

    #: what apt would install; "": nothing
    candidate: str = ""
    versions: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Target:
    """The host that is to become another: what it is now, and what it can get."""

    now: Description
    #: of the packages that were asked about
    offers: Mapping[str, Offer] = field(default_factory=dict)
    #: apt knows what the repositories have
    knows_packages: bool = False
    #: paths that it had before a rebuild began; None: none is under way
    before: frozenset[str] | None = None


def _all_tuples(d: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _tuples(v) for k, v in d.items()}


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
