"""Applying replays, set by set."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from embedded.postgres import PostgresServer
from include.respaldo.errors import LogDiverged
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.replay import SchemaReplay, TableReplay
from include.respaldo.model.schema_change import Caller, ReplayCommand
from include.respaldo.postgres.apply import Applied, apply_replay
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.counts import count_rows
from tests.postgres.compare import database_content
from tests.postgres.replays import Replays


@pytest.fixture
def conn(postgres: PostgresServer, database: str) -> Iterator[psycopg.Connection[Any]]:
    """An application's session in the test's database."""
    with postgres.connect(database) as conn:
        yield conn


@pytest.fixture
def replays(conn: psycopg.Connection[Any], tmp_path: Path) -> Replays:
    return Replays(conn, tmp_path)


@pytest.fixture
def apply(postgres: PostgresServer, database: str) -> Any:
    def apply(*tables: TableReplay | SchemaReplay) -> Applied:
        with connect(postgres.connection(), database) as session:
            return apply_replay(session, tables)

    return apply


def rows(conn: psycopg.Connection[Any], table: str) -> list[str]:
    return database_content(conn)["public", table]


def test_deletes_updates_and_inserts_leave_the_last_state_of_each_row(
    conn: psycopg.Connection[Any],
    replays: Replays,
    apply: Any,
    postgres: PostgresServer,
    database: str,
) -> None:
    conn.execute("create table t (id int primary key, name text, n numeric(8,2))")
    conn.execute("insert into t select i, 'old', i from generate_series(1, 5) i")
    stretch = replays.keyed(
        ("d", "", "1", None, None),
        ("u", "", "2", "", None),
        ("u", "", "3", 'say "hi",\n\\.', "3.10"),
        ("i", "", "9", None, "9.00"),
    )
    applied = apply(replays.table("t", stretch))
    assert rows(conn, "t") == [
        '(2,"",)',
        '(3,"say ""hi"",\n\\\\.",3.10)',
        "(4,old,4.00)",
        "(5,old,5.00)",
        "(9,,9.00)",
    ]
    done = applied.tables["public", "t"]
    assert (done.deleted, done.updated, done.inserted) == (1, 2, 1)
    with connect(postgres.connection(), database) as session:
        assert count_rows(session, [("public", "t")]) == {("public", "t"): 5}


def test_a_value_that_was_not_sent_stays_whatever_way_the_row_is_written(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    for name, constraint in (("updated", ""), ("rewritten", ", unique (a)")):
        conn.execute(
            f"create table {name} (id int primary key, big text, a int, other text {constraint})"
        )
        conn.execute(f"insert into {name} select i, 'big' || i, i, 'x' from generate_series(1,3) i")
    stretch = replays.keyed(
        ("u", "1;3", "1", None, "10", None),
        ("u", "1", "2", None, "20", "new"),
        ("u", "", "3", None, "30", None),
    )
    apply(replays.table("updated", stretch), replays.table("rewritten", stretch))
    expected = ["(1,big1,10,x)", "(2,big2,20,new)", "(3,,30,)"]
    assert rows(conn, "updated") == rows(conn, "rewritten") == expected


def test_an_unsent_value_keeps_its_place_out_of_line(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create table t (id int primary key, big text, a int)")
    conn.execute("alter table t alter big set storage external")
    conn.execute("insert into t values (1, repeat('x', 100000), 1)")
    toast = "select pg_relation_size(reltoastrelid) from pg_class where oid = 't'::regclass"
    before = conn.execute(toast).fetchone()
    apply(replays.table("t", replays.keyed(("u", "1", "1", None, "2"))))
    assert conn.execute("select length(big), a from t").fetchone() == (100000, 2)
    assert conn.execute(toast).fetchone() == before


def test_rows_that_swap_unique_values_never_collide(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create table t (id int primary key, code text unique, r int4range)")
    conn.execute("alter table t add exclude using gist (r with &&)")
    conn.execute("insert into t values (1, 'a', '[1,2)'), (2, 'b', '[2,3)'), (3, 'c', '[3,4)')")
    stretch = replays.keyed(
        ("u", "", "1", "b", "[2,3)"),
        ("u", "", "2", "c", "[3,4)"),
        ("u", "", "3", "a", "[1,2)"),
    )
    apply(replays.table("t", stretch))
    assert rows(conn, "t") == ['(1,b,"[2,3)")', '(2,c,"[3,4)")', '(3,a,"[1,2)")']


def test_identity_and_generated_columns_take_what_was_sent(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute(
        "create table t (n int generated always as identity, id text primary key,"
        " twice int generated always as (n * 2) stored)"
    )
    conn.execute("insert into t (id) values ('a'), ('b')")
    apply(
        replays.table(
            "t",
            replays.keyed(("u", "", "71", "a"), ("i", "", "72", "c")),
            replays.moves(("0", None, "b", None, "moved")),
        )
    )
    assert rows(conn, "t") == ["(2,moved,4)", "(71,a,142)", "(72,c,144)"]


def test_keys_move_one_after_the_other_and_unsent_values_with_them(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create table t (a int, b text, big text, n int, primary key (a, b))")
    conn.execute("insert into t values (1, 'x', 'one', 0), (2, 'x', 'two', 0)")
    old = lambda a: (str(a), "x", None, None)  # noqa: E731
    apply(
        replays.table(
            "t",
            replays.moves(
                ("2", *old(1), "9", "x", None, "1"),
                ("2", *old(2), "1", "x", None, "2"),
                ("", *old(9), "2", "x", "sent", "3"),
            ),
            replays.keyed(("u", "2", "1", "x", None, "4")),
        )
    )
    assert rows(conn, "t") == ["(1,x,two,4)", "(2,x,sent,3)"]


def test_a_table_is_emptied_first_where_it_was_truncated_even_if_it_is_referred_to(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create table parent (id int primary key, up int references parent)")
    conn.execute("create table child (id int primary key, p int references parent)")
    conn.execute("create table alone (a int)")
    conn.execute("insert into parent values (1), (2); insert into child values (1, 1), (2, 2)")
    conn.execute("insert into alone values (1), (1)")
    apply(
        replays.table("parent", replays.keyed(("i", "", "3", "3")), truncate=True),
        replays.table("child", truncate=True),
        replays.table("alone", replays.rows((2, "5")), truncate=True),
    )
    content = database_content(conn)
    assert content["public", "parent"] == ["(3,3)"]
    assert content["public", "child"] == []
    assert content["public", "alone"] == ["(5)", "(5)"]


EXOTIC = {
    "b boolean": ("t", "f"),
    "n numeric": ("1.0", "1.00"),
    "f float8": ("0.1", "0.10000000000000002"),
    "g float4": ("NaN", "-0"),
    "c char(5)": ("ab   ", "ab c "),
    "a text[]": ('{a,NULL,"",NULL}', '{a,"NULL","",NULL}'),
    "j json": ('{"a":1}', '{"a": 1}'),
    "jb jsonb": ('{"a": 1}', '{"a": 2}'),
    "x xml": ("<a/>", "<a></a>"),
    "p point": ("(1,2)", "(2,1)"),
    "e bytea": ("\\x00ff", "\\x"),
    "t timestamptz": ("2026-11-22 11:29:00.000001+00", "2026-11-22 11:29:00+00"),
    "i interval": ("1 mon -1 days", "29 days"),
    "m money": ("$1.00", "$2.00"),
    "r int4range": ("[1,2)", "empty"),
    "s text": ("", "NULL"),
    'q "char"': ("a", "b"),
    "k mood": ("ok", "sad"),
    "w pair": ('(1,"a b")', "(,)"),
    "d positive": ("1", "2"),
    "v tsvector": ("'a' 'b'", "'a':1"),
    "z text collate odd": ("a", "A"),
}


@pytest.mark.parametrize("column", EXOTIC)
def test_copies_of_rows_without_a_key_are_told_apart_by_their_text(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any, column: str
) -> None:
    conn.execute("create type mood as enum ('sad', 'ok'); create type pair as (a int, b text)")
    conn.execute("create domain positive as int check (value > 0)")
    if column.endswith("odd"):
        conn.execute(
            "create collation odd"
            " (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
    one, other = EXOTIC[column]
    conn.execute(f"create table t ({column}, plain int); alter table t replica identity full")
    copies = [(other, "1")] * 2 + [(one, "1")] * 3 + [(None, "1")] * 2 + [(one, None)]
    conn.cursor().executemany("insert into t values (%s, %s)", copies)
    apply(
        replays.table(
            "t", replays.rows((-2, one, "1"), (-1, None, "1"), (2, other, "1"), (-1, one, None))
        )
    )
    found = database_content(conn)["public", "t"]
    conn.execute("truncate t")
    wanted = [(one, "1")] + [(other, "1")] * 4 + [(None, "1")]
    conn.cursor().executemany("insert into t values (%s, %s)", wanted)
    assert found == database_content(conn)["public", "t"]


@pytest.mark.parametrize(
    "wrong",
    [("d", "", "9", None), ("u", "", "9", "x"), ("i", "", "1", "x"), ("u", "1", "9", None)],
    ids=["deletes what is not there", "updates it", "inserts what is there", "completes it"],
)
@pytest.mark.parametrize("unique", ["", "unique"])
def test_a_log_that_does_not_fit_applies_nothing_and_names_the_table(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any, wrong: Any, unique: str
) -> None:
    conn.execute("create table good (id int primary key)")
    conn.execute(f"create table t (id int primary key, name text {unique})")
    conn.execute("insert into t values (1, 'secret'), (2, 'two')")
    before = database_content(conn)
    with pytest.raises(LogDiverged, match=r"public\.t: ") as caught:
        apply(
            replays.table("good", replays.keyed(("i", "", "1"))),
            replays.table("t", replays.keyed(("u", "", "2", "changed"), wrong)),
        )
    assert database_content(conn) == before
    assert "secret" not in str(caught.value)


def test_a_value_that_is_none_of_its_type_is_not_shown(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create table t (id int primary key)")
    with pytest.raises(LogDiverged, match=r"public\.t: .*invalid input") as caught:
        apply(replays.table("t", replays.keyed(("i", "", "secret"))))
    assert "secret" not in str(caught.value)


def test_fewer_copies_than_must_go_applies_nothing(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create table t (a int); insert into t values (1), (1)")
    with pytest.raises(LogDiverged, match="removes 3 rows, the database has 2"):
        apply(replays.table("t", replays.rows((-3, "1"))))
    assert rows(conn, "t") == ["(1)", "(1)"]


def test_a_move_of_a_row_that_is_not_there_applies_nothing(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create table t (a int primary key, b text); insert into t values (1, 'x')")
    with pytest.raises(LogDiverged, match="moves"):
        apply(
            replays.table(
                "t", replays.moves(("1", "1", None, "2", None), ("1", "1", None, "3", None))
            )
        )
    assert rows(conn, "t") == ["(1,x)"]


def test_the_callers_transaction_goes_on_after_a_log_that_does_not_fit(
    conn: psycopg.Connection[Any], replays: Replays, postgres: PostgresServer, database: str
) -> None:
    conn.execute("create table t (a int primary key)")
    good = replays.table("t", replays.keyed(("i", "", "1")))
    bad = replays.table("t", replays.keyed(("i", "", "2"), ("d", "", "7")))
    with connect(postgres.connection(), database, autocommit=False) as session:
        apply_replay(session, [good])
        with pytest.raises(LogDiverged):
            apply_replay(session, [bad])
        assert rows(conn, "t") == []
        session.commit()
    assert rows(conn, "t") == ["(1)"]


def test_two_sessions_share_the_tables_between_schema_changes(
    conn: psycopg.Connection[Any], replays: Replays, postgres: PostgresServer, database: str
) -> None:
    tables = [f"t{i}" for i in range(8)]
    for table in tables:
        conn.execute(f"create table {table} (id int primary key)")
    items: list[TableReplay | SchemaReplay] = [
        replays.table(t, replays.keyed(*(("i", "", str(i)) for i in range(200)))) for t in tables
    ]
    command = ReplayCommand("create table seen", "CREATE TABLE", Caller("app", "app", ()))
    items.append(SchemaReplay(command, Lsn(1), 1))
    items += [replays.table(t, replays.keyed(("d", "", "7"))) for t in tables]
    seen: list[int] = []

    def change(replay: SchemaReplay) -> None:
        # a session of its own: what both did before it is committed
        seen.extend(len(rows(conn, t)) for t in tables)

    with (
        connect(postgres.connection(), database) as session,
        connect(postgres.connection(), database) as beside,
    ):
        applied = apply_replay(session, items, change=change, beside=beside)
    assert seen == [200] * 8
    assert [len(rows(conn, t)) for t in tables] == [199] * 8
    assert {(t.inserted, t.deleted) for t in applied.tables.values()} == {(200, 1)}


def test_what_happens_to_a_table_twice_between_schema_changes_happens_in_order(
    conn: psycopg.Connection[Any], replays: Replays, postgres: PostgresServer, database: str
) -> None:
    """As with CREATE TABLE AS: its rows stand before its command, later changes after it."""
    tables = [f"t{i}" for i in range(4)]
    items = []
    for table in tables:
        conn.execute(f"create table {table} (id int primary key)")
        items.append(replays.table(table, replays.keyed(*(("i", "", str(i)) for i in range(5000)))))
    items += [replays.table(t, truncate=True) for t in reversed(tables)]
    items += [replays.table(t, replays.keyed(("i", "", "1"))) for t in tables]
    with (
        connect(postgres.connection(), database) as session,
        connect(postgres.connection(), database) as beside,
    ):
        applied = apply_replay(session, items, beside=beside)
    assert [rows(conn, t) for t in tables] == [["(1)"]] * 4
    assert {(t.inserted, t.truncated) for t in applied.tables.values()} == {(5001, True)}


@pytest.mark.parametrize("bad", [0, 5, 9])
def test_when_a_table_does_not_fit_both_sessions_stop(
    conn: psycopg.Connection[Any],
    replays: Replays,
    postgres: PostgresServer,
    database: str,
    bad: int,
) -> None:
    items = []
    for i in range(10):
        conn.execute(f"create table t{i} (id int primary key)")
        items.append(replays.table(f"t{i}", replays.keyed(("d" if i == bad else "i", "", str(i)))))
    with (
        connect(postgres.connection(), database) as session,
        connect(postgres.connection(), database) as beside,
    ):
        with pytest.raises(LogDiverged, match=f"t{bad}"):
            apply_replay(session, items, beside=beside)
        assert session.execute("select 1").fetchone() == beside.execute("select 1").fetchone()


def test_beside_event_triggers_that_fire_at_replay_one_session_does_it_all(
    conn: psycopg.Connection[Any], replays: Replays, postgres: PostgresServer, database: str
) -> None:
    """Switched off in one session's transaction, they are not in the other's."""
    conn.execute("""
        create function no() returns event_trigger language plpgsql
            as 'begin raise exception ''never''; end';
        create table a (id int primary key); create table b (id int primary key);
        create function nothing() returns trigger language plpgsql as 'begin return null; end';
        create trigger t after insert on a for each row execute function nothing();
        create trigger t after insert on b for each row execute function nothing();
        alter table a enable always trigger t; alter table b enable always trigger t;
        create event trigger no on ddl_command_start execute function no();
        alter event trigger no enable always""")
    items = [replays.table(t, replays.keyed(("i", "", "1"))) for t in ("a", "b")]
    with (
        connect(postgres.connection(), database) as session,
        connect(postgres.connection(), database) as beside,
    ):
        apply_replay(session, items, beside=beside)
    assert rows(conn, "a") == rows(conn, "b") == ["(1)"]


def test_triggers_and_rules_do_not_fire_and_are_as_they_were(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute(
        """
        create table audit (what text);
        create table t (id int primary key);
        create table leaves (id int primary key) partition by range (id);
        create table leaf partition of leaves for values from (0) to (100);
        create function note() returns trigger language plpgsql as
            $$begin insert into public.audit values (tg_name); return coalesce(new, old); end$$;
        create trigger plain before insert on t for each row execute function note();
        create trigger "al%ways" before insert or delete on t for each row execute function note();
        create trigger replica after truncate on t execute function note();
        create trigger off before insert on t for each row execute function note();
        create trigger parts before insert on leaves for each row execute function note();
        create rule noted as on insert to t do also insert into audit values ('rule');
        alter table t enable always trigger "al%ways", enable replica trigger replica,
            disable trigger off, enable always rule noted;
        alter table leaves enable always trigger parts;
        create function loud() returns event_trigger language plpgsql as
            $$begin insert into public.audit values (tg_tag); end$$;
        create event trigger loud on ddl_command_end execute function loud();
        alter event trigger loud enable always;
        truncate audit
        """
    )
    state = (
        "select tgrelid::regclass::text, tgname::text, tgenabled::text from pg_trigger"
        " union all select ev_class::regclass::text, rulename, ev_enabled::text from pg_rewrite"
        " where rulename = 'noted'"
        " union all select '', evtname, evtenabled::text from pg_event_trigger order by 1, 2"
    )
    before = conn.execute(state).fetchall()
    apply(
        replays.table("t", replays.keyed(("i", "", "1")), truncate=True),
        replays.table("leaf", replays.keyed(("i", "", "1"))),
    )
    content = database_content(conn)
    assert content["public", "audit"] == []
    assert content["public", "t"] == content["public", "leaf"] == ["(1)"]
    assert conn.execute(state).fetchall() == before
    assert {row[2] for row in before} == {"O", "A", "R", "D"}


def test_children_of_a_table_and_partitions_are_tables_of_their_own(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create table up (id int primary key, a text); create table down () inherits (up)")
    conn.execute("alter table down add primary key (id)")
    conn.execute("insert into up values (1, 'up'); insert into down values (1, 'down')")
    apply(replays.table("up", replays.keyed(("u", "", "1", "new"))))
    assert (rows(conn, "up"), rows(conn, "down")) == (["(1,new)"], ["(down,1)"])
    apply(replays.table("up", truncate=True))
    assert (rows(conn, "up"), rows(conn, "down")) == ([], ["(down,1)"])


def test_a_key_of_an_extensions_type_is_found_by_that_types_equality(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create schema ext; create extension citext schema ext")
    conn.execute("create extension ltree schema ext")
    conn.execute("create table t (a ext.citext, b ext.ltree, n int, primary key (b, a))")
    conn.execute("insert into t values ('Foo', 'a.b', 1), ('Bar', 'a.c', 2)")
    apply(
        replays.table(
            "t", replays.keyed(("u", "", "Foo", "a.b", "7"), ("d", "", "Bar", "a.c", None))
        )
    )
    assert rows(conn, "t") == ["(Foo,a.b,7)"]


def test_a_domain_that_allows_no_null_is_no_obstacle_to_a_delete(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create domain code as varchar(3) not null; create domain sub as code")
    conn.execute("create table t (id sub primary key, other sub)")
    conn.execute("insert into t values ('a', 'x'), ('b', 'y')")
    apply(replays.table("t", replays.keyed(("d", "", "a", None), ("u", "1", "b", None))))
    assert rows(conn, "t") == ["(b,y)"]


def test_names_of_any_kind_are_data(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute('create schema "s""; %s"')
    conn.execute('create table "s""; %s"."t%(x)s" ("id%" int primary key, "c0" text, unsent text)')
    stretch = replays.keyed(("i", "", "1", "x", "y"))
    move = replays.moves(("1", "1", None, None, "2", None, "z"))
    apply(replays.table("t%(x)s", stretch, move, schema='s"; %s'))
    assert database_content(conn)['s"; %s', "t%(x)s"] == ["(2,x,z)"]


@pytest.mark.parametrize(
    "change",
    [
        "alter table t drop column b",
        "alter table t add column c int",
        "alter table t alter b type varchar(20)",
        "alter table t alter b type varchar(9)",
        "alter table t rename to u",
        "alter table t drop constraint t_pkey",
    ],
)
def test_a_table_that_is_not_as_the_log_describes_it_is_refused(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any, change: str
) -> None:
    conn.execute("create table t (id int primary key, b varchar(10)); insert into t values (1)")
    replay = replays.table("t", replays.keyed(("u", "", "1", "x")))
    conn.execute(change)
    with pytest.raises(LogDiverged, match="the schema changed"):
        apply(replay)


def test_a_replica_identity_index_serves_as_the_key(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create table t (id int primary key, code text not null unique, n int)")
    conn.execute("alter table t replica identity using index t_code_key")
    conn.execute("insert into t values (1, 'a', 0), (2, 'b', 0)")
    relation = replays.relation("t")
    assert relation.key_positions == (1,)
    stretch = replays.keyed(("u", "", "2", "a", "5"), ("u", "", "1", "b", "6"))
    apply(TableReplay(relation, truncate=False, stretches=(stretch,)))
    assert rows(conn, "t") == ["(1,b,6)", "(2,a,5)"]


def test_columns_of_different_collations_compare_together(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute('create table t (a text collate "C", b text collate "POSIX", c text)')
    conn.execute("insert into t values ('a', 'b', 'c'), ('a', 'b', 'C')")
    apply(replays.table("t", replays.rows((-1, "a", "b", "C"))))
    assert rows(conn, "t") == ["(a,b,c)"]


def test_a_table_of_nothing_but_its_key_can_be_updated(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create table t (a int, b int, primary key (a, b)); insert into t values (1, 2)")
    apply(replays.table("t", replays.keyed(("u", "", "1", "2"))))
    with pytest.raises(LogDiverged):
        apply(replays.table("t", replays.keyed(("u", "", "1", "3"))))


@pytest.mark.parametrize("seed", range(6))
def test_any_two_states_of_a_table_are_bridged_by_their_difference(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any, seed: int
) -> None:
    chance = random.Random(seed)
    unique = "unique" if seed % 2 else ""
    conn.execute(f"create table t (id int primary key, code int {unique}, big text)")
    conn.execute("create table bag (a int, b text)")

    def state() -> dict[int, tuple[str, str, str | None]]:
        ids = chance.sample(range(60), chance.randint(0, 50))
        codes = chance.sample(range(60), len(ids))
        values = [chance.choice(["x", "", None]) for _ in ids]
        return {i: (str(i), str(c), v) for i, c, v in zip(ids, codes, values, strict=True)}

    old, new = state(), state()
    conn.cursor().executemany("insert into t values (%s, %s, %s)", list(old.values()))
    conn.cursor().executemany(
        "insert into bag values (%s, %s)", [(int(c) % 4, v) for _, c, v in old.values()]
    )
    changes: list[Any] = [("d", "", str(i), None, None) for i in old.keys() - new.keys()]
    changes += [("i", "", *new[i]) for i in new.keys() - old.keys()]
    for i in new.keys() & old.keys():
        same = new[i][2] == old[i][2]
        changes.append(("u", "2", *new[i][:2], None) if same else ("u", "", *new[i]))
    bags: dict[tuple[str, str | None], int] = {}
    for rows_, sign in ((old, -1), (new, 1)):
        for _, c, v in rows_.values():
            item = (str(int(c) % 4), v)
            bags[item] = bags.get(item, 0) + sign
    chance.shuffle(changes)
    apply(
        replays.table("t", replays.keyed(*changes)),
        replays.table("bag", replays.rows(*((n, *item) for item, n in bags.items() if n))),
    )
    content = conn.execute("select id::text, code::text, big from t").fetchall()
    assert {int(row[0]): row for row in content} == new
    found = conn.execute("select a::text, b from bag").fetchall()
    assert sorted(found, key=repr) == sorted(
        ((str(int(c) % 4), v) for _, c, v in new.values()), key=repr
    )


def test_a_relation_replaced_by_a_view_is_refused(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create table t (a int)")
    replay = replays.table("t", replays.rows((1, "1")))
    conn.execute("drop table t; create view t as select 1 as a")
    with pytest.raises(LogDiverged, match="no such table"):
        apply(replace(replay))


def test_a_table_without_columns_gets_its_rows_back(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create table t (); alter table t replica identity full")
    conn.execute("insert into t default values")
    apply(replays.table("t", replays.rows((3,))))
    assert rows(conn, "t") == ["()"] * 4
    apply(replays.table("t", replays.rows((-2,))))
    assert rows(conn, "t") == ["()"] * 2


def test_a_table_of_computed_columns_only_gets_its_rows_back(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create table t (a int generated always as (1) stored)")
    apply(replays.table("t", replays.rows((2,))))
    assert rows(conn, "t") == ["(1)"] * 2


@pytest.mark.parametrize("autocommit", [True, False])
def test_schema_changes_are_carried_out_between_the_tables_stretches(
    conn: psycopg.Connection[Any],
    replays: Replays,
    postgres: PostgresServer,
    database: str,
    autocommit: bool,
) -> None:
    conn.execute("create table t (id int primary key, a text); insert into t values (1, 'a')")
    before = replays.table("t", replays.keyed(("u", "", "1", "b"), ("i", "", "2", "c")))
    conn.execute("alter table t rename to u; alter table u add b int")
    after = replays.table("u", replays.keyed(("u", "", "1", "x", "7"), ("d", "", "2", None, None)))
    conn.execute("alter table u drop b; alter table u rename to t")

    def change(replay: SchemaReplay) -> None:
        conn.execute(replay.command.sql)  # its own session: what was applied is committed

    changes = [
        SchemaReplay(ReplayCommand(text, text, Caller("app", "app", ())), Lsn(1), 1)
        for text in (
            "alter table t rename to u",
            "alter table u add b int default length('three')",
            "create table seen as select count(*), min(a) as a, max(b) as b from u",
        )
    ]
    with connect(postgres.connection(), database, autocommit=autocommit) as session:
        applied = apply_replay(session, [before, *changes, after], change=change)
        session.commit()
    assert rows(conn, "u") == ["(1,x,7)"]
    assert rows(conn, "seen") == ["(2,b,5)"]
    assert applied.tables["public", "t"].inserted == applied.tables["public", "u"].deleted == 1


def test_a_schema_change_that_nothing_carries_out_is_refused(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    command = ReplayCommand("select", "CREATE TABLE x", Caller("app", "app", ()))
    with pytest.raises(LogDiverged, match="CREATE TABLE x"):
        apply(SchemaReplay(command, Lsn(1), 1))


def test_a_row_of_one_null_and_many_rows_are_added_as_they_are(
    conn: psycopg.Connection[Any], replays: Replays, apply: Any
) -> None:
    conn.execute("create table t (a text); create table k (id int primary key, v text)")
    conn.execute("insert into k select i, 'old' from generate_series(1, 20000) i; analyze k")
    stretch = replays.keyed(
        *(("u", "", str(i), "new") for i in range(1, 2001)),
        *(("d", "", str(i), None) for i in range(3001, 3501)),
    )
    apply(
        replays.table("t", replays.rows((2, None), (1, ""), (1, "\\."))),
        replays.table("k", replace(stretch, in_key_order=True)),
    )
    found = conn.execute("select a from t order by a").fetchall()
    assert found == [("",), ("\\.",), (None,), (None,)]
    counts = "select v, count(*) from k group by v order by v"
    assert conn.execute(counts).fetchall() == [("new", 2000), ("old", 17500)]
