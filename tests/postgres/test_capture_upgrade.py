"""What an earlier version has installed is replaced without an interruption of the log."""

from __future__ import annotations

import threading

import psycopg
import pytest

from embedded.postgres import PostgresServer
from include.respaldo.errors import NotPrepared
from include.respaldo.model.schema_change import CapturedCommand
from include.respaldo.postgres.capture import prepare, read_secret, unprepare
from include.respaldo.postgres.preparation import examine
from include.respaldo.postgres.slot import list_slots
from tests.postgres.captured import commands

#: as version 0.1 left it: other functions behind the same event triggers, no caller, no digest
EARLIER = """
drop event trigger "00_respaldo_caller";
create function respaldo.capture_ddl() returns event_trigger language plpgsql as 'begin end';
create function respaldo.capture_drop() returns event_trigger language plpgsql as 'begin end';
create function respaldo.capture_rewrite() returns event_trigger language plpgsql as 'begin end';
drop event trigger "00_respaldo_ddl"; drop event trigger respaldo_drop;
drop event trigger respaldo_rewrite; drop function respaldo.capture(), respaldo.caller();
create event trigger respaldo_ddl on ddl_command_end execute function respaldo.capture_ddl();
create event trigger respaldo_drop on sql_drop execute function respaldo.capture_drop();
create event trigger respaldo_rewrite on table_rewrite
    execute function respaldo.capture_rewrite();
alter event trigger respaldo_ddl enable always;
alter event trigger respaldo_drop enable always;
alter event trigger respaldo_rewrite enable always;
alter table respaldo.installation drop column functions;
update respaldo.installation set version = '0.1';
"""


def test_an_earlier_version_is_replaced_without_a_new_chain(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    prepare(session)
    secret = read_secret(session)
    session.execute(EARLIER)
    found = examine(session)
    assert found.broken is None
    assert [s.kind for s in found.steps if not s.done] == ["capture"]
    assert prepare(session).consistent_point is None
    assert examine(session).is_complete
    assert read_secret(session) == secret
    commands(session)
    app.execute("create table t (a int)")
    assert [type(c) for c in commands(session)] == [CapturedCommand]
    unprepare(session)
    assert session.execute("select to_regnamespace('respaldo')").fetchone() == (None,)


def test_an_earlier_version_with_a_disabled_trigger_begins_a_new_chain(
    session: psycopg.Connection,
) -> None:
    prepare(session)
    session.execute(EARLIER + "alter event trigger respaldo_drop disable")
    assert "missing or disabled" in (examine(session).broken or "")


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        ('alter event trigger "00_respaldo_caller" disable', "missing or disabled"),
        ("alter event trigger respaldo_rewrite enable replica", "missing or disabled"),
        ("drop event trigger respaldo_drop", "missing or disabled"),
        ("alter function respaldo.capture() security invoker", "altered"),
        ("alter function respaldo.capture() set search_path to public", "altered"),
        ("alter function respaldo.emit(text, json) rename to emit_no_more", "altered"),
        (
            "create or replace function respaldo.sweep() returns text language sql"
            " as 'select null::text'",
            "altered",
        ),
        ("drop publication respaldo", "the publication was missing or altered"),
        ("alter publication respaldo set (publish = 'insert')", "missing or altered"),
    ],
)
def test_whatever_is_altered_begins_a_new_chain(
    session: psycopg.Connection, harm: str, why: str
) -> None:
    prepare(session)
    session.execute(harm)
    assert why in (examine(session).broken or "")
    assert prepare(session).consistent_point is not None
    assert examine(session).is_complete


def test_the_secret_is_for_superusers_only(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    with pytest.raises(NotPrepared):
        read_secret(session)
    prepare(session)
    assert len(read_secret(session)) >= 32
    with pytest.raises(NotPrepared):
        read_secret(app)
    for function in ("emit('respaldo.ddl', '{}')", "remember('a', 'b')", "capture()"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute(f"select respaldo.{function}")


def test_unpreparing_does_not_fail_a_command_that_runs(
    session: psycopg.Connection, app: psycopg.Connection, postgres: PostgresServer, database: str
) -> None:
    prepare(session)
    app.execute(
        "create table t (a int); insert into t values (1);"
        "create function slow(int) returns int language plpgsql immutable as"
        " $$ begin perform pg_advisory_xact_lock(42); return $1; end $$"
    )
    failures: list[psycopg.Error] = []

    def index() -> None:
        try:
            app.execute("create index on t (slow(a))")
        except psycopg.Error as e:
            failures.append(e)

    with postgres.connect(database) as other:
        other.execute("select pg_advisory_lock(42)")
        building = threading.Thread(target=index)
        building.start()
        waiting = "select from pg_locks where locktype = 'advisory' and not granted"
        while not other.execute(waiting).fetchall():
            pass
        removing = threading.Thread(target=unprepare, args=(session,))
        removing.start()
        while other.execute("select from pg_event_trigger").fetchall():
            pass
        other.execute("select pg_advisory_unlock(42)")
        building.join()
        removing.join()
        assert other.execute("select to_regnamespace('respaldo')").fetchone() == (None,)
    assert failures == []
    assert list_slots(session) == {} or not any(
        s.database == database for s in list_slots(session).values()
    )
