"""A replay runs exactly what was run, or says why it does not."""

from __future__ import annotations

from typing import Any

import pytest

from include.respaldo.model.schema_change import (
    CapturedCommand,
    CreatedTable,
    MissingValue,
    NotReplayable,
    ObjectAddress,
    ReplayCommand,
    Rewrite,
    RewrittenRows,
)
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.querylog.ddl.replayable import NOTHING, replay_commands
from tests.unit.querylog.ddl.captures import command, dropped, table, touched


def replayed(captured: CapturedCommand) -> ReplayCommand:
    (found,) = replay_commands([captured])
    assert isinstance(found, ReplayCommand), found
    return found


def refused(captured: CapturedCommand) -> str:
    (found,) = replay_commands([captured])
    assert isinstance(found, NotReplayable), found
    return found.reason


@pytest.mark.parametrize(
    ("tag", "sql", "kind", "name"),
    [
        ("CREATE TABLE", "CREATE TABLE a (LIKE b INCLUDING ALL)", "table", "public.a"),
        ("CREATE TABLE", "CREATE TABLE a PARTITION OF b DEFAULT", "table", "public.a"),
        ("ALTER TABLE", "ALTER TABLE a ATTACH PARTITION b DEFAULT", "table", "public.a"),
        ("ALTER TABLE", "ALTER TABLE a DETACH PARTITION b", "table", "public.a"),
        ("ALTER TABLE", "ALTER TABLE a ENABLE ROW LEVEL SECURITY", "table", "public.a"),
        (
            "CREATE SCHEMA",
            "CREATE SCHEMA s CREATE TABLE t() CREATE VIEW v AS SELECT 1",
            "schema",
            "s",
        ),
        ("ALTER TYPE", "ALTER TYPE m ADD VALUE 'x' AFTER 'y'", "type", "public.m"),
        ("CREATE DOMAIN", "CREATE DOMAIN d AS int CHECK (value > 0)", "type", "public.d"),
        (
            "CREATE TRIGGER",
            "CREATE TRIGGER g AFTER INSERT ON a EXECUTE FUNCTION f()",
            "trigger",
            "public.a.g",
        ),
        ("CREATE RULE", "CREATE RULE r AS ON DELETE TO a DO INSTEAD NOTHING", "rule", "public.a.r"),
        ("COMMENT", "COMMENT ON TABLE a IS 'x'", "table", "public.a"),
        ("SECURITY LABEL", "SECURITY LABEL FOR p ON TABLE a IS 'x'", "table", "public.a"),
        (
            "CREATE STATISTICS",
            "CREATE STATISTICS s ON x, y FROM a",
            "statistics object",
            "public.s",
        ),
        (
            "CREATE AGGREGATE",
            "CREATE AGGREGATE g(int) (sfunc=f, stype=int)",
            "aggregate",
            "public.g",
        ),
        (
            "CREATE PROCEDURE",
            "CREATE PROCEDURE p() LANGUAGE sql AS $$ SELECT 1; $$",
            "procedure",
            "public.p",
        ),
        ("CREATE SERVER", "CREATE SERVER s FOREIGN DATA WRAPPER w", "server", "s"),
        ("CREATE PUBLICATION", "CREATE PUBLICATION p FOR ALL TABLES", "publication", "p"),
        ("CREATE LANGUAGE", "CREATE LANGUAGE l HANDLER h", "language", "l"),
        ("CREATE CAST", "CREATE CAST (a AS b) WITHOUT FUNCTION", "cast", "a"),
        ("CREATE SEQUENCE", "CREATE SEQUENCE q CYCLE", "sequence", "public.q"),
        ("CREATE INDEX", "CREATE INDEX ON a (x)", "index", "public.a_x_idx"),
        ("ALTER EXTENSION", "ALTER EXTENSION e SET SCHEMA s", "extension", "e"),
        (
            "CREATE TEXT SEARCH CONFIGURATION",
            "CREATE TEXT SEARCH CONFIGURATION c (parser = p)",
            "text search configuration",
            "public.c",
        ),
    ],
)
def test_most_commands_run_as_they_were_written(tag: str, sql: str, kind: str, name: str) -> None:
    captured = command(tag, f"SELECT 1; {sql} ; SELECT 2", (kind, name))
    found = replayed(captured)
    assert found.sql == sql
    assert found.caller == captured.caller
    assert found.expected == captured.objects
    assert found.what == f"{tag} {name}"


@pytest.mark.parametrize(
    ("tag", "sql", "why"),
    [
        ("CREATE SUBSCRIPTION", "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p", "connect"),
        ("ALTER SUBSCRIPTION", "ALTER SUBSCRIPTION s DISABLE", "connect"),
        ("DROP OWNED", "DROP OWNED BY x", "roles own"),
        ("REASSIGN OWNED", "REASSIGN OWNED BY x TO y", "roles own"),
        ("IMPORT FOREIGN SCHEMA", "IMPORT FOREIGN SCHEMA a FROM SERVER s INTO b", "another server"),
        ("ALTER TABLE", "ALTER TABLE ALL IN TABLESPACE a SET TABLESPACE b", "outside"),
        ("ALTER EXTENSION", "ALTER EXTENSION e UPDATE TO '2'", "new version"),
        ("ALTER TABLE", "ALTER TABLE a DETACH PARTITION b CONCURRENTLY", "constraint"),
        ("ALTER TABLE", "ALTER TABLE a DETACH PARTITION b FINALIZE", "constraint"),
        ("ALTER LARGE OBJECT", "ALTER LARGE OBJECT 5 OWNER TO x", "large objects"),
        ("CREATE ROLE", "CREATE ROLE x", "no command of the kind"),
        ("ALTER SYSTEM", "ALTER SYSTEM SET x = 1", "no command of the kind"),
        ("LOAD", "LOAD 'x'", "no command of the kind"),
        ("CREATE EVENT TRIGGER", "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION f()", "kind"),
        ("GRANT", "GRANT CONNECT ON DATABASE d TO x", "outside"),
        ("GRANT", "GRANT CREATE ON TABLESPACE t TO x", "outside"),
        ("COMMENT", "COMMENT ON DATABASE d IS 'x'", "outside"),
        ("COMMENT", "COMMENT ON ROLE d IS 'x'", "outside"),
        ("CREATE NOVELTY", "CREATE TABLE a()", "no command of the kind"),
    ],
)
def test_what_reaches_outside_or_is_unknown_is_refused(tag: str, sql: str, why: str) -> None:
    assert why in refused(command(tag, sql, touched("x", "", tag)))


@pytest.mark.parametrize(
    "captured",
    [
        command("REINDEX", "REINDEX TABLE CONCURRENTLY a", ("index", "public.i")),
        command("COMMENT", "COMMENT ON LARGE OBJECT 5 IS 'x'", touched("x", "", "COMMENT")),
        command("GRANT", "GRANT SELECT ON LARGE OBJECT 5 TO x", touched("x", "", "GRANT")),
        command(
            "ALTER PUBLICATION",
            "ALTER PUBLICATION respaldo SET (publish = '')",
            ("publication", "respaldo"),
        ),
        command("DROP SCHEMA", "DROP SCHEMA respaldo", dropped=(dropped("schema", "respaldo"),)),
        command("COMMENT", "COMMENT ON TABLE respaldo.x IS ''", ("table", "respaldo.x")),
    ],
)
def test_what_leaves_no_trace_is_not_run(captured: CapturedCommand) -> None:
    assert replay_commands([captured]) == []


@pytest.mark.parametrize(
    ("tag", "sql", "expected"),
    [
        (
            "CREATE INDEX",
            "CREATE INDEX CONCURRENTLY i ON a (x) -- ñ",
            "CREATE INDEX i ON a (x) -- ñ",
        ),
        (
            "CREATE INDEX",
            "create unique index\n concurrently\n i ON a (x)",
            "create unique index\n i ON a (x)",
        ),
        (
            "CREATE INDEX",
            "CREATE INDEX/* CONCURRENTLY */CONCURRENTLY/**/i ON a (x)",
            "CREATE INDEX/* CONCURRENTLY */ /**/i ON a (x)",
        ),
        (
            "CREATE INDEX",
            'CREATE INDEX "CONCURRENTLY" ON a (x)',
            'CREATE INDEX "CONCURRENTLY" ON a (x)',
        ),
        (
            "CREATE INDEX",
            'CREATE INDEX CONCURRENTLY IF NOT EXISTS "é" ON a (x)',
            'CREATE INDEX IF NOT EXISTS "é" ON a (x)',
        ),
    ],
)
def test_concurrently_is_taken_out_and_nothing_else(tag: str, sql: str, expected: str) -> None:
    found = replayed(command(tag, sql, touched("x", "", tag), snapshot=Snapshot(7, 7)))
    assert found.sql == expected
    assert (found.snapshot is None) == (found.sql != sql), "one that runs concurrently has several"


def test_a_concurrent_drop_loses_the_word() -> None:
    captured = command(
        "DROP INDEX",
        "DROP INDEX CONCURRENTLY IF EXISTS i RESTRICT",
        dropped=(dropped("index", "public.i"),),
    )
    found = replayed(captured)
    assert found.sql == "DROP INDEX IF EXISTS i RESTRICT"
    assert found.gone == (ObjectAddress("index", ("public", "i")),)


@pytest.mark.parametrize(
    ("sql", "expected", "holds_data"),
    [
        (
            "CREATE MATERIALIZED VIEW v AS SELECT 1",
            "CREATE MATERIALIZED VIEW v AS SELECT 1 WITH NO DATA",
            True,
        ),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT 1 WITH DATA",
            "CREATE MATERIALIZED VIEW v AS SELECT 1 WITH NO DATA",
            True,
        ),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT 1 WITH NO DATA",
            "CREATE MATERIALIZED VIEW v AS SELECT 1 WITH NO DATA",
            False,
        ),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT 1 -- é\n",
            "CREATE MATERIALIZED VIEW v AS SELECT 1 WITH NO DATA -- é",
            True,
        ),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT 'é' AS data",
            "CREATE MATERIALIZED VIEW v AS SELECT 'é' AS data WITH NO DATA",
            True,
        ),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT 1 AS with",
            "CREATE MATERIALIZED VIEW v AS SELECT 1 AS with WITH NO DATA",
            True,
        ),
        (
            "CREATE MATERIALIZED VIEW v AS TABLE a WITH /**/ DATA",
            "CREATE MATERIALIZED VIEW v AS TABLE a WITH NO DATA",
            True,
        ),
    ],
)
def test_a_materialized_view_is_made_empty_and_filled_at_the_end(
    sql: str, expected: str, holds_data: bool
) -> None:
    found = replayed(command("CREATE MATERIALIZED VIEW", sql, ("materialized view", "public.v")))
    assert found.sql == expected
    assert found.populates == ((("public", "v"),) if holds_data else ())


def test_a_refresh_is_done_at_the_end() -> None:
    view = ("materialized view", "public.V w")
    found = replayed(
        command("REFRESH MATERIALIZED VIEW", 'REFRESH MATERIALIZED VIEW CONCURRENTLY "V w"', view)
    )
    assert (found.sql, found.populates) == (NOTHING, (("public", "V w"),))
    empty = 'REFRESH MATERIALIZED VIEW "V w" WITH NO DATA'
    found = replayed(command("REFRESH MATERIALIZED VIEW", empty, view))
    assert (found.sql, found.populates, found.empties) == (empty, (), (("public", "V w"),))


CREATED = CreatedTable(
    schema='S"x',
    table="a b",
    oid=77,
    persistence="u",
    access_method="heap",
    tablespace="fast disk",
    options=("fillfactor=70", "user_catalog_table=true"),
    columns=(("id", "integer", None), ("te'xt", "character varying(5)", '"C"')),
)


@pytest.mark.parametrize(
    ("tag", "sql"),
    [
        ("CREATE TABLE AS", "CREATE UNLOGGED TABLE x AS SELECT random()"),
        ("SELECT INTO", "SELECT 1 INTO x"),
        ("CREATE TABLE AS", None),
        ("CREATE TABLE AS", "no SQL"),
        ("CREATE TABLE AS", "CREATE TABLE x AS EXECUTE p(1)"),
    ],
)
def test_a_table_from_a_query_is_made_from_its_columns(tag: str, sql: str | None) -> None:
    captured = command(tag, sql, ("table", "s.x"), created=(CREATED,))
    found = replayed(captured)
    assert found.sql == (
        'CREATE UNLOGGED TABLE "S""x"."a b" ("id" integer, "te\'xt" character varying(5) '
        'COLLATE "C") USING "heap" WITH ("fillfactor"=\'70\', "user_catalog_table"=\'true\') '
        'TABLESPACE "fast disk"'
    )
    assert found.created_oids == frozenset({77})
    assert found.expected == captured.objects


def test_a_table_without_columns_and_one_that_is_not_described() -> None:
    bare = CreatedTable("s", "x", 7, "p", "heap", None, (), ())
    found = replayed(command("SELECT INTO", "SELECT INTO x", ("table", "s.x"), created=(bare,)))
    assert found.sql == 'CREATE TABLE "s"."x" () USING "heap"'
    assert "expected" in refused(command("SELECT INTO", "SELECT INTO x", ("table", "s.x")))


@pytest.mark.parametrize(
    ("tag", "sql", "drops", "expected"),
    [
        (
            "DROP TABLE",
            "DROP TABLE a, b CASCADE",
            [dropped("table", "public.a"), dropped("table", "public.b")],
            "DROP TABLE a, b CASCADE",
        ),
        (
            "DROP TABLE",
            "DROP TABLE a, b CASCADE",
            [dropped("table", "public.a"), dropped("table", "pg_temp.b", temporary=True)],
            'DROP TABLE "public"."a" CASCADE',
        ),
        (
            "DROP TABLE",
            "DROP TABLE IF EXISTS a, b, c",
            [dropped("table", "public.b"), dropped("index", "public.i", original=False)],
            'DROP TABLE "public"."b"',
        ),
        (
            "DROP TYPE",
            'DROP TYPE IF EXISTS a, "B"',
            [dropped("type", 'public."B"')],
            'DROP TYPE "public"."B"',
        ),
        (
            "DROP FUNCTION",
            "DROP FUNCTION IF EXISTS f(int), g(text)",
            [dropped("function", "public.g", args=["text", 'public."T"'])],
            'DROP FUNCTION "public"."g"(text, public."T")',
        ),
        (
            "DROP SCHEMA",
            "DROP SCHEMA s CASCADE",
            [dropped("schema", "s"), dropped("table", "s.t", original=False)],
            "DROP SCHEMA s CASCADE",
        ),
        (
            "DROP INDEX",
            "DROP INDEX CONCURRENTLY IF EXISTS i",
            [dropped("index", "public.i")],
            "DROP INDEX IF EXISTS i",
        ),
        (
            "DROP TRIGGER",
            "DROP TRIGGER g ON a",
            [dropped("trigger", "public.a.g")],
            "DROP TRIGGER g ON a",
        ),
    ],
)
def test_a_drop_names_what_was_dropped(tag: str, sql: str, drops: list[Any], expected: str) -> None:
    found = replayed(command(tag, sql, dropped=tuple(drops)))
    assert found.sql == expected
    assert found.gone == tuple(d.address for d in drops if not d.temporary)


NOT_SENT = RewrittenRows.NOT_SENT
ADD_RANDOM = "ADD x uuid DEFAULT gen_random_uuid()"


def rewritten(change: str, reason: int, rows: RewrittenRows) -> CapturedCommand:
    return table(
        f"ALTER TABLE a {change}",
        tag="ALTER TABLE",
        rewritten=(Rewrite("public", "a", reason, rows),),
    )  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("change", "reason", "rows", "exact"),
    [
        ("SET UNLOGGED", 1, NOT_SENT, True),
        ("SET ACCESS METHOD x", 8, NOT_SENT, True),
        (ADD_RANDOM, 2, RewrittenRows.SENT, True),
        (ADD_RANDOM, 2, RewrittenRows.NONE, True),
        (ADD_RANDOM, 2, NOT_SENT, False),
        (ADD_RANDOM, 3, NOT_SENT, False),
        ("ADD x serial", 2, NOT_SENT, False),
        ("ADD x int GENERATED ALWAYS AS IDENTITY", 2, NOT_SENT, False),
        ("ADD x int GENERATED ALWAYS AS (y + 1) STORED", 2, NOT_SENT, True),
        ("ADD x int GENERATED ALWAYS AS (y) STORED, ADD z date", 2, NOT_SENT, True),
        ("ADD x int GENERATED ALWAYS AS (y) STORED, ADD z serial", 2, NOT_SENT, False),
        ("ADD x a_domain", 2, NOT_SENT, False),
        ("ALTER x TYPE bigint", 4, NOT_SENT, True),
        ("ALTER x TYPE bigint", 4, RewrittenRows.SENT, True),
        ("ALTER x TYPE bigint", 16, NOT_SENT, False),
        (f"ALTER x TYPE bigint, {ADD_RANDOM}", 6, NOT_SENT, False),
        ("ALTER x TYPE int USING x::int", 4, NOT_SENT, True),
        ("ALTER x TYPE int USING x::pg_catalog.int4 + 1", 4, NOT_SENT, True),
        ("ALTER x TYPE int USING CASE WHEN x IS NULL THEN 0 ELSE y END", 4, NOT_SENT, True),
        ("ALTER x TYPE int USING coalesce(nullif(trim(x), ''), '0')::int", 4, NOT_SENT, True),
        ("ALTER x TYPE text USING lower(left(x, 3)) || 'a'", 4, NOT_SENT, True),
        ("ALTER x TYPE timestamptz USING x AT TIME ZONE 'UTC'", 4, NOT_SENT, True),
        ("ALTER x TYPE int[] USING ARRAY[x, greatest(y, 1)]", 4, NOT_SENT, True),
        ("ALTER x TYPE bool USING x IN ('a', 'b') AND y BETWEEN 1 AND 2", 4, NOT_SENT, True),
        ("ALTER x TYPE timestamptz USING x::timestamptz", 4, NOT_SENT, False),
        ("ALTER x TYPE timestamptz USING 'now'", 4, NOT_SENT, False),
        ("ALTER x TYPE timestamptz USING ' Tomorrow 12:00'", 4, NOT_SENT, False),
        ("ALTER x TYPE timestamptz USING now()", 4, NOT_SENT, False),
        ("ALTER x TYPE timestamptz USING current_timestamp", 4, NOT_SENT, False),
        ("ALTER x TYPE int USING nextval('q')", 4, NOT_SENT, False),
        ("ALTER x TYPE int USING random() * x", 4, NOT_SENT, False),
        ("ALTER x TYPE int USING mine(x)", 4, NOT_SENT, False),
        ("ALTER x TYPE int USING public.lower(x)", 4, NOT_SENT, False),
        ("ALTER x TYPE int USING x OPERATOR(public.+) 1", 4, NOT_SENT, False),
        ("ALTER x TYPE int USING x <-> 1", 4, NOT_SENT, False),
        ("ALTER x TYPE int USING x::mine", 4, NOT_SENT, False),
        ("ALTER x TYPE oid USING x::regclass", 4, NOT_SENT, False),
        ("ALTER x TYPE int USING (a).b", 4, NOT_SENT, True),
        ("ALTER x TYPE text USING current_setting('a')", 4, NOT_SENT, False),
        ("ALTER x TYPE text USING current_user", 4, NOT_SENT, False),
    ],
)
def test_rewritten_rows_are_had_from_the_log_or_computed_the_same(
    change: str, reason: int, rows: RewrittenRows, exact: bool
) -> None:
    captured = rewritten(change, reason, rows)
    if exact:
        assert replayed(captured).sql == captured.query
    else:
        assert "public.a" in refused(captured)


def test_values_of_rows_that_were_there_before_a_column_are_carried_along() -> None:
    value = MissingValue("public", "a", "at", "2026-03-01 11:30:00+00")
    captured = table(
        "ALTER TABLE a ADD at timestamptz DEFAULT now()", tag="ALTER TABLE", missing_values=(value,)
    )
    assert replayed(captured).missing_values == (value,)


@pytest.mark.parametrize(
    ("tag", "sql", "roles"),
    [
        ("GRANT", "GRANT SELECT ON a TO bob, PUBLIC, CURRENT_USER", {"bob"}),
        ("REVOKE", 'REVOKE SELECT ON a FROM "Señora" GRANTED BY joe', {"Señora", "joe"}),
        ("ALTER TABLE", "ALTER TABLE a OWNER TO bob", {"bob"}),
        ("ALTER TABLE", "ALTER TABLE a OWNER TO SESSION_USER", set()),
        ("ALTER FUNCTION", "ALTER FUNCTION f() OWNER TO bob", {"bob"}),
        ("CREATE POLICY", "CREATE POLICY p ON a TO bob, joe", {"bob", "joe"}),
        ("CREATE SCHEMA", "CREATE SCHEMA AUTHORIZATION bob", {"bob"}),
        ("CREATE USER MAPPING", "CREATE USER MAPPING FOR bob SERVER s", {"bob"}),
        (
            "ALTER DEFAULT PRIVILEGES",
            "ALTER DEFAULT PRIVILEGES FOR ROLE bob GRANT SELECT ON TABLES TO joe",
            {"bob", "joe"},
        ),
        ("CREATE TABLE", "CREATE TABLE a()", set()),
    ],
)
def test_the_roles_that_a_statement_needs_are_told(tag: str, sql: str, roles: set[str]) -> None:
    assert replayed(command(tag, sql, touched("x", "", tag))).roles == roles | {"app"}


def test_an_object_without_a_fingerprint_is_not_compared() -> None:
    captured = command("GRANT", "GRANT SELECT ON a TO x", touched("x", "", "GRANT"))
    bare = type(captured.objects[0])(**{**vars(captured.objects[0]), "fingerprint": None})
    found = replayed(type(captured)(**{**vars(captured), "objects": (bare,)}))
    assert found.expected == ()
