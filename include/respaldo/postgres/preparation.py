"""How far a database is prepared for its query log, and what stands in the way. Changes nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from psycopg import errors as pg
from psycopg import sql
from psycopg.rows import dict_row

from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.introspect import ServerSettings, read_identity, server_settings
from include.respaldo.postgres.queries import query
from include.respaldo.postgres.slot import Slot, list_slots, slot_name

#: earlier versions give messages of logical decoding no way through pgoutput
OLDEST_VERSION = 140000
#: event trigger -> the statement that makes it is ``create_trigger_…``. They fire in the order of
#: their names: at the end of a command ours before the application's, so that what those write
#: and change comes after the command in the log, as in the database
TRIGGERS = {
    "00_respaldo_caller": "caller",
    "00_respaldo_ddl": "ddl",
    "respaldo_drop": "drop",
    "respaldo_rewrite": "rewrite",
}
#: what earlier versions called them
FORMER_TRIGGERS = ("respaldo_caller", "respaldo_ddl")
#: each is made by ``create_function_…``
FUNCTIONS = (
    "is_internal",
    "remember",
    "recall",
    "emit",
    "describe",
    "fingerprint",
    "missing_values",
    "created_tables",
    "record_rows",
    "record_drop",
    "record_rewrite",
    "record_command",
    "sweep",
    "caller",
    "capture",
)


@dataclass(frozen=True)
class PreparationStep:
    """One change that preparing makes; `what` is for people."""

    #: capture, replica_identity, publication or slot
    kind: str
    what: str
    done: bool


@dataclass(frozen=True)
class Problem:
    """What stands in the way, and the next step."""

    what: str
    hint: str


@dataclass(frozen=True)
class Preparation:
    """How far a database is prepared: the steps in their order, and what stands in the way."""

    steps: tuple[PreparationStep, ...]
    problems: tuple[Problem, ...]
    #: why the slot that is there cannot be gone on with: a new chain begins; None if it can
    broken: str | None

    @property
    def is_complete(self) -> bool:
        return not self.problems and all(step.done for step in self.steps)


@dataclass(frozen=True)
class Table:
    relation: int
    schema: str
    name: str
    was: str

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class State:
    """What `examine` found, for `prepare` to act on."""

    capture: bool
    lacking: tuple[Table, ...]
    publication: bool
    some_publication: bool
    slot_name: str
    slot: Slot | None
    problems: tuple[Problem, ...]
    broken: str | None


def examine(conn: Session) -> Preparation:
    """Return what `prepare` would do in the session's database; changes nothing."""
    state = read_preparation(conn)
    why = {"d": "it has no primary key", "n": "it has none", "i": "its index is gone"}
    identities = tuple(
        PreparationStep(
            "replica_identity", f"set REPLICA IDENTITY FULL on {table} ({why[table.was]})", False
        )
        for table in state.lacking
    ) or (PreparationStep("replica_identity", "every table has a replica identity", True),)
    anew = f" anew, and begin a new chain: {state.broken}" if state.broken else ""
    return Preparation(
        steps=(
            PreparationStep(
                "capture",
                "install the event triggers that record schema changes (schema respaldo)",
                state.capture,
            ),
            *identities,
            PreparationStep(
                "publication", "create publication respaldo for all tables", state.publication
            ),
            PreparationStep(
                "slot",
                f"create replication slot {state.slot_name}{anew}",
                state.slot is not None and state.broken is None,
            ),
        ),
        problems=state.problems,
        broken=state.broken,
    )


def read_preparation(conn: Session) -> State:
    """Return how far the session's database is prepared."""
    settings = server_settings(conn)
    name = slot_name(read_identity(conn).database_oid)
    slots = list_slots(conn)
    slot = slots.get(name)
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(
            query("preparation_state"), {"functions": list(FUNCTIONS)}
        ).fetchone()
    assert found is not None
    problems = _server_problems(settings, needs_slot=slot is None)
    if found["schema_owner"] is not None and not found["schema_owner_is_superuser"]:
        problems.append(
            Problem(
                f"schema respaldo belongs to {found['schema_owner']!r}, who is no superuser",
                "rename or drop that schema: what records changes must not belong to a tenant",
            )
        )
    if slot is not None and slot.plugin != "pgoutput":
        problems.append(
            Problem(f"slot {name!r} uses plugin {slot.plugin!r}, not pgoutput", "drop that slot")
        )
    installed_version, installed_functions = _installed(conn)
    is_current = installed_version == version()
    is_genuine = (
        found["functions_digest"] == functions_digest()
        and functions_whole(conn) == installed_functions
    )
    broken = None
    if slot is not None:
        if slot.is_lost:
            broken = "the server has dropped log that was not archived yet"
        elif not found["has_publication"]:
            broken = "the publication was missing or altered"
        elif not found["is_recording"] or (is_current and not found["has_triggers"]):
            broken = "schema changes were not recorded: event triggers were missing or disabled"
        elif is_current and not is_genuine:
            broken = "schema changes may not have been recorded: functions of ours were altered"
    return State(
        capture=found["has_tables"] and found["has_triggers"] and is_genuine and is_current,
        lacking=tables_without_identity(conn),
        publication=found["has_publication"],
        some_publication=found["has_some_publication"],
        slot_name=name,
        slot=slot,
        problems=tuple(problems),
        broken=broken,
    )


def _server_problems(settings: ServerSettings, *, needs_slot: bool) -> list[Problem]:
    problems = []

    def problem(what: str, hint: str) -> None:
        problems.append(Problem(what, hint))

    if settings.server_version_num < OLDEST_VERSION:
        problem(f"the server is PostgreSQL {settings.server_version}, older than 14", "upgrade it")
    if settings.is_in_recovery:
        problem("the server is a standby", "point the connection at the primary server")
    if not settings.is_superuser:
        problem(
            "the connection's user is no superuser",
            "event triggers and a publication for all tables take a superuser",
        )
    if settings.wal_level != "logical":
        problem(
            f"wal_level is {settings.wal_level}, not logical",
            "ALTER SYSTEM SET wal_level = 'logical'; then restart the server",
        )
    if settings.max_slot_wal_keep_size_mb == -1:
        problem(
            "max_slot_wal_keep_size is -1: a stopped archiver could fill the server's disk",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf(); choose "
            "less than what is free on the disk of pg_wal",
        )
    if needs_slot and settings.replication_slots_used >= settings.max_replication_slots:
        problem(
            f"all {settings.max_replication_slots} replication slots are in use",
            "raise max_replication_slots (one a database, and some to spare); restart the server",
        )
    allowed = settings.output_plugins
    if allowed is not None and "pgoutput" not in {name.strip(' "') for name in allowed.split(",")}:
        problem(
            "output_plugin_libraries does not hold pgoutput: nobody may read the log with it",
            "add pgoutput to output_plugin_libraries in the server's settings, and reload it",
        )
    if settings.encoding == "SQL_ASCII":
        problem(
            "the database's encoding is SQL_ASCII: its text has no known encoding",
            "dump and load it into a database with encoding UTF8",
        )
    return problems


def tables_without_identity(conn: Session) -> tuple[Table, ...]:
    """Return the tables on which UPDATE would fail once they are published."""
    rows = conn.execute(query("tables_without_identity")).fetchall()
    return tuple(
        Table(oid, schema, name, was.decode() if isinstance(was, bytes) else was)
        for oid, schema, name, was in rows
    )


def version() -> str:
    """Return a digest of what is installed: another one is installed over it."""
    parts = [query(f"create_function_{name}") for name in FUNCTIONS]
    parts += [query(f"create_trigger_{name}") for name in TRIGGERS.values()]
    parts += [query("tables_without_identity"), query("functions_whole")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def functions_digest() -> str:
    """Return the digest that the bodies of the installed functions must have (pg_proc.prosrc)."""
    bodies = (query(f"create_function_{name}").split("$function$")[1] for name in sorted(FUNCTIONS))
    digests = (hashlib.md5(body.encode(), usedforsecurity=False).hexdigest() for body in bodies)
    return hashlib.md5("".join(digests).encode(), usedforsecurity=False).hexdigest()


def functions_whole(conn: Session) -> str | None:
    """Return a digest of the functions as they are, to compare with what it was at installation."""
    row = conn.execute(query("functions_whole"), {"functions": list(FUNCTIONS)}).fetchone()
    assert row is not None
    digest: str | None = row[0]
    return digest


def _installed(conn: Session) -> tuple[str | None, str | None]:
    """Return the version installed, and the digest its functions had then; None: of neither."""
    try:
        row = conn.execute("select to_jsonb(i) from respaldo.installation i").fetchone()
    except (pg.UndefinedTable, pg.InvalidSchemaName, pg.InsufficientPrivilege):
        return None, None
    return (row[0]["version"], row[0].get("functions")) if row else (None, None)
