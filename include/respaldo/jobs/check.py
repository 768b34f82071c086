"""Check everything at once: configuration, connections, rights, vaults, slots, hosts, trees."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import uuid4

from include.respaldo.errors import RespaldoError
from include.respaldo.jobs.acknowledge import suspicious_backups
from include.respaldo.jobs.check_trees import check_trees
from include.respaldo.jobs.discover import discover_server
from include.respaldo.jobs.finding import Finding
from include.respaldo.jobs.plan_restore import TEMPORARY_PREFIX
from include.respaldo.jobs.read_catalog import DATABASES
from include.respaldo.model.units import size_text
from include.respaldo.ports import Vault
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.introspect import list_databases
from include.respaldo.postgres.preparation import examine
from include.respaldo.postgres.programs import tool
from include.respaldo.postgres.slot import SLOT_PREFIX, list_slots, slot_name

if TYPE_CHECKING:
    from include.respaldo.config import ServerConfig
    from include.respaldo.jobs.deployment import Deployment

#: below this much free space in the landing zone people are told
_LITTLE_SPACE = 5 * 1024**3


def check(deployment: Deployment) -> tuple[Finding, ...]:
    """Return all that was looked at, problems included; changes nothing but one probe object.

    The probe is stored in each vault and removed again: the only proof of the right to write.
    """
    return tuple(_findings(deployment))


def _findings(deployment: Deployment) -> Iterator[Finding]:
    config = deployment.config
    yield Finding("configuration", f"servers: {len(config.servers)}; vaults: 2")
    yield from _landing_zone(deployment)
    try:
        vaults = (deployment.vaults.primary, deployment.vaults.replica)
    except RespaldoError as error:
        yield Finding("vaults", error.message, False, error.hint)
    else:
        for vault in vaults:
            yield _vault(vault)
        yield from _suspicious(deployment)
    for server in config.servers:
        yield from _server(deployment, server)
    yield from check_trees(deployment)


def _landing_zone(deployment: Deployment) -> Iterator[Finding]:
    try:
        free = deployment.landing_zone.free_bytes()
    except (RespaldoError, OSError) as error:
        yield Finding(
            "landing zone", str(error), False, "make the folder, writable for the user of Airflow"
        )
        return
    enough = free >= _LITTLE_SPACE
    yield Finding(
        "landing zone",
        f"{size_text(free)} free",
        enough,
        "" if enough else "make room: a dump lands here before it is uploaded",
    )


def _vault(vault: Vault) -> Finding:
    subject = f"{vault.region} vault {vault.uri}"
    data = uuid4().bytes
    key = f"probe/{data.hex()}"
    try:
        vault.put(key, data, sha256=sha256(data).hexdigest())
        same = vault.read(key) == data
        vault.delete(key)
    except RespaldoError as error:
        return Finding(subject, error.message, False, error.hint)
    if not same:
        return Finding(subject, "it returns other bytes than were stored", False, "do not use it")
    return Finding(subject, "can be written, read and listed")


def _suspicious(deployment: Deployment) -> Iterator[Finding]:
    """Yield the suspicious backups at which nobody has looked; they hold retention back."""
    try:
        found = suspicious_backups(deployment)
    except RespaldoError:
        return  # no vault answers: that is said already
    for backup in found:
        assert backup.tree is not None
        yield Finding(
            f"{backup.source.category.value} {backup.source}, backup {backup.backup_id}",
            f"suspicious: {'; '.join(backup.tree.suspicions)}",
            False,
            "look at what changed; nothing older is removed until then: `acknowledge "
            f"{backup.source.category.value}/{backup.source} {backup.backup_id} --by NAME`",
        )


def _server(deployment: Deployment, server: ServerConfig) -> Iterator[Finding]:
    subject = f"server {server.name}"
    try:
        with connect(deployment.connection_of(server.name), server.database) as conn:
            version = conn.info.server_version
        programs = [tool(name, version // 10000) for name in ("pg_dump", "pg_restore")]
        databases = discover_server(deployment, server, frozenset(DATABASES))
    except RespaldoError as error:
        yield Finding(subject, error.message, False, error.hint)
        return
    yield Finding(
        subject,
        f"PostgreSQL {version // 10000}.{version % 10000}, {len(databases)} databases",
        bool(databases),
        "" if databases else "no database fits the pattern or query of `tenants`",
    )
    if any(_differs(program.version, version) for program in programs):
        yield Finding(
            subject,
            f"its backups are taken with pg_dump {programs[0].version}: it may write what this "
            "server, or another one, does not take",
            True,
            f"install the newest postgresql-client-{version // 10000} where this runs",
        )
    yield from _left_over(deployment, server, {slot_name(d.oid) for d in databases})
    told: set[str] = set()
    for database in databases:
        try:
            with connect(deployment.connection_of(server.name), database.source.name) as conn:
                found = examine(conn)
        except RespaldoError as error:
            yield Finding(str(database.source), error.message, False, error.hint)
            continue
        for problem in found.problems:
            if problem.what in told:
                continue  # settings of the server: once is enough
            told.add(problem.what)
            yield Finding(str(database.source), problem.what, False, problem.hint)
        undone = [step.what for step in found.steps if not step.done]
        if undone:
            yield Finding(
                str(database.source),
                f"not prepared yet: {undone[0]}" + (f" (+{len(undone) - 1})" * (len(undone) > 1)),
                True,
                "`archive` prepares it, or do it now: `prepare`",
            )
        else:
            yield Finding(str(database.source), "prepared, its changes are captured")


def _differs(program: str, server: int) -> bool:
    """Return whether a program is of another major version, or of an older release of it."""
    major, _, minor = program.partition(".")
    return int(major) != server // 10000 or (minor.isdigit() and int(minor) < server % 10000)


def _left_over(deployment: Deployment, server: ServerConfig, wanted: set[str]) -> Iterator[Finding]:
    """Yield what keeps log or disk on the server though nothing needs it, and slots in danger."""
    with connect(deployment.connection_of(server.name), server.database) as conn:
        slots = list_slots(conn)
        databases = list_databases(conn)
    for name, slot in slots.items():
        subject = f"server {server.name}, slot {name}"
        held = size_text(slot.retained_bytes or 0)
        if not name.startswith(SLOT_PREFIX):
            continue
        if name not in wanted:
            yield Finding(
                subject,
                f"database {slot.database!r} is not protected (any more); its slot holds {held} "
                "of the server's log",
                False,
                f"`unprepare {server.name}/{slot.database}` removes it",
            )
        elif slot.is_lost:
            yield Finding(
                subject,
                "the server has dropped log that was not archived",
                False,
                "`archive` begins a new chain and takes a full backup by itself",
            )
        elif slot.wal_status == "unreserved":
            yield Finding(
                subject,
                f"it is about to be lost: it holds {held}",
                False,
                "see that `archive` runs; raise max_slot_wal_keep_size if the disk allows",
            )
    for database in databases:
        if database.name.startswith(TEMPORARY_PREFIX):
            yield Finding(
                f"server {server.name}, database {database.name}",
                f"a restore is under way, or was interrupted: {size_text(database.size)}",
                True,
                "if no restore runs, drop it, or run the same restore again",
            )
