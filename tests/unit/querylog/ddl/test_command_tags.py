"""Each statement has the tag that PostgreSQL gives it, and names what it is about."""

from __future__ import annotations

import pytest

from include.respaldo.querylog.ddl.carried_out import CARRIED_OUT
from include.respaldo.querylog.ddl.command_tags import command_tag
from include.respaldo.querylog.ddl.syntax import parse
from include.respaldo.querylog.ddl.targets import makes_temporary, split_name, targets

#: statement, tag, what it names (None: cannot be told)
CASES: list[tuple[str, str | None, list[tuple[str, ...]] | None]] = [
    ("CREATE TABLE a.b()", "CREATE TABLE", [("a", "b")]),
    ("CREATE TABLE x PARTITION OF y DEFAULT", "CREATE TABLE", [("x",)]),
    ("CREATE UNLOGGED TABLE b()", "CREATE TABLE", [("b",)]),
    ("CREATE TABLE b (LIKE a INCLUDING ALL)", "CREATE TABLE", [("b",)]),
    ("CREATE TABLE b () INHERITS (a)", "CREATE TABLE", [("b",)]),
    ("CREATE TABLE b AS SELECT 1", "CREATE TABLE AS", [("b",)]),
    ("CREATE TABLE b AS EXECUTE p", "CREATE TABLE AS", [("b",)]),
    ("SELECT 1 INTO b", "SELECT INTO", [("b",)]),
    ("SELECT 1 INTO b UNION ALL SELECT 2", "SELECT INTO", [("b",)]),
    ("WITH q AS (SELECT 1) SELECT * INTO s.b FROM q", "SELECT INTO", [("s", "b")]),
    ("SELECT 1", None, None),
    ("INSERT INTO a VALUES (1)", None, None),
    ("DO ''", None, None),
    ("CALL p()", None, None),
    ("SET search_path = x", None, None),
    ("BEGIN", None, None),
    ("VACUUM a", None, None),
    ("TRUNCATE a", None, None),
    ("CREATE ROLE x", None, None),
    ("CREATE TABLESPACE x LOCATION '/x'", None, None),
    ("CREATE DATABASE x", None, None),
    ("CREATE MATERIALIZED VIEW v AS SELECT 1", "CREATE MATERIALIZED VIEW", [("v",)]),
    ("REFRESH MATERIALIZED VIEW CONCURRENTLY s.v", "REFRESH MATERIALIZED VIEW", [("s", "v")]),
    ("CREATE OR REPLACE VIEW v AS SELECT 1", "CREATE VIEW", [("v",)]),
    ("CREATE SEQUENCE s.q", "CREATE SEQUENCE", [("s", "q")]),
    ("ALTER SEQUENCE q RESTART", "ALTER SEQUENCE", [("q",)]),
    ("CREATE INDEX i ON s.t (x)", "CREATE INDEX", [("s", "i")]),
    ("CREATE INDEX ON t (x)", "CREATE INDEX", None),
    ("CREATE FUNCTION s.f(int) RETURNS int LANGUAGE sql AS ''", "CREATE FUNCTION", [("s", "f")]),
    ("CREATE PROCEDURE p() LANGUAGE sql AS ''", "CREATE PROCEDURE", [("p",)]),
    ("ALTER FUNCTION f(int) STABLE", "ALTER FUNCTION", [("f",)]),
    ("ALTER ROUTINE f(int) STABLE", "ALTER ROUTINE", [("f",)]),
    ("ALTER PROCEDURE p() SET search_path = x", "ALTER PROCEDURE", [("p",)]),
    ("CREATE AGGREGATE s.y(int) (sfunc=a, stype=int)", "CREATE AGGREGATE", [("s", "y")]),
    ("CREATE OPERATOR s.+ (leftarg=int, function=f)", "CREATE OPERATOR", [("s", "+")]),
    ("ALTER OPERATOR + (int, int) OWNER TO x", "ALTER OPERATOR", [("+",)]),
    (
        "CREATE OPERATOR CLASS c DEFAULT FOR TYPE t USING btree AS FUNCTION 1 f(t,t)",
        "CREATE OPERATOR CLASS",
        [("c",)],
    ),
    ("CREATE OPERATOR FAMILY o USING btree", "CREATE OPERATOR FAMILY", [("o",)]),
    ("DROP OPERATOR CLASS o USING btree", "DROP OPERATOR CLASS", [("o",)]),
    ("CREATE TYPE s.m AS ENUM ('a')", "CREATE TYPE", [("s", "m")]),
    ("CREATE TYPE c AS (x int)", "CREATE TYPE", [("c",)]),
    ("CREATE TYPE r AS RANGE (subtype=int4)", "CREATE TYPE", [("r",)]),
    ("CREATE TYPE shell", "CREATE TYPE", [("shell",)]),
    ("ALTER TYPE m ADD VALUE 'x' BEFORE 'y'", "ALTER TYPE", [("m",)]),
    ("ALTER TYPE m RENAME VALUE 'x' TO 'y'", "ALTER TYPE", [("m",)]),
    ("ALTER TYPE s.c RENAME TO d", "ALTER TYPE", [("s", "d")]),
    ("ALTER TYPE c ADD ATTRIBUTE y int", "ALTER TYPE", [("c",)]),
    ("ALTER TYPE c RENAME ATTRIBUTE a TO b", "ALTER TYPE", [("c", "b"), ("c",)]),
    ("CREATE DOMAIN s.d AS int", "CREATE DOMAIN", [("s", "d")]),
    ("ALTER DOMAIN d SET NOT NULL", "ALTER DOMAIN", [("d",)]),
    ("ALTER DOMAIN d RENAME CONSTRAINT a TO b", "ALTER DOMAIN", None),
    (
        "CREATE TRIGGER g AFTER INSERT ON s.t EXECUTE FUNCTION f()",
        "CREATE TRIGGER",
        [("s", "t", "g")],
    ),
    ("ALTER TRIGGER g ON t RENAME TO h", "ALTER TRIGGER", [("t", "h"), ("t",)]),
    ("CREATE RULE r AS ON INSERT TO t DO NOTHING", "CREATE RULE", [("t", "r")]),
    ("CREATE POLICY p ON s.t TO bob USING (true)", "CREATE POLICY", [("s", "t", "p")]),
    ("ALTER POLICY p ON t USING (false)", "ALTER POLICY", [("t", "p")]),
    ("DROP POLICY p ON s.t", "DROP POLICY", [("s", "t", "p")]),
    ("CREATE SCHEMA s", "CREATE SCHEMA", [("s",)]),
    ("CREATE SCHEMA AUTHORIZATION joe CREATE TABLE t()", "CREATE SCHEMA", [("joe",)]),
    ("CREATE EXTENSION IF NOT EXISTS hstore", "CREATE EXTENSION", [("hstore",)]),
    ("ALTER EXTENSION hstore UPDATE", "ALTER EXTENSION", [("hstore",)]),
    ("ALTER EXTENSION e SET SCHEMA x", "ALTER EXTENSION", [("x", "e"), ("e",)]),
    ("ALTER EXTENSION e ADD FUNCTION f(int)", "ALTER EXTENSION", [("e",)]),
    ("CREATE FOREIGN DATA WRAPPER w", "CREATE FOREIGN DATA WRAPPER", [("w",)]),
    ("CREATE SERVER s FOREIGN DATA WRAPPER w", "CREATE SERVER", [("s",)]),
    ("ALTER SERVER s OPTIONS (SET host 'x')", "ALTER SERVER", [("s",)]),
    ("ALTER SERVER s OWNER TO x", "ALTER SERVER", [("s",)]),
    ("CREATE FOREIGN TABLE a.b(x int) SERVER s", "CREATE FOREIGN TABLE", [("a", "b")]),
    ("CREATE USER MAPPING FOR bob SERVER s", "CREATE USER MAPPING", None),
    ("IMPORT FOREIGN SCHEMA x FROM SERVER s INTO y", "IMPORT FOREIGN SCHEMA", None),
    ("CREATE PUBLICATION p FOR ALL TABLES", "CREATE PUBLICATION", [("p",)]),
    ("ALTER PUBLICATION p ADD TABLE t", "ALTER PUBLICATION", None),
    ("CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p", "CREATE SUBSCRIPTION", None),
    ("CREATE STATISTICS s.x ON a, b FROM t", "CREATE STATISTICS", [("s", "x")]),
    ("ALTER STATISTICS x SET STATISTICS 5", "ALTER STATISTICS", [("x",)]),
    ('CREATE COLLATION c FROM "C"', "CREATE COLLATION", [("c",)]),
    ("ALTER COLLATION c REFRESH VERSION", "ALTER COLLATION", [("c",)]),
    ("CREATE CONVERSION c FOR 'UTF8' TO 'LATIN1' FROM f", "CREATE CONVERSION", [("c",)]),
    ("CREATE CAST (a AS b) WITHOUT FUNCTION", "CREATE CAST", None),
    ("DROP CAST (int AS text)", "DROP CAST", None),
    ("CREATE LANGUAGE l HANDLER h", "CREATE LANGUAGE", [("l",)]),
    ("CREATE TEXT SEARCH CONFIGURATION c (parser=p)", "CREATE TEXT SEARCH CONFIGURATION", [("c",)]),
    ("CREATE TEXT SEARCH DICTIONARY d (template=p)", "CREATE TEXT SEARCH DICTIONARY", [("d",)]),
    ("ALTER TEXT SEARCH DICTIONARY d (x=1)", "ALTER TEXT SEARCH DICTIONARY", [("d",)]),
    (
        "ALTER TEXT SEARCH CONFIGURATION c DROP MAPPING FOR word",
        "ALTER TEXT SEARCH CONFIGURATION",
        [("c",)],
    ),
    ("CREATE ACCESS METHOD m TYPE INDEX HANDLER h", "CREATE ACCESS METHOD", [("m",)]),
    ("ALTER TABLE s.t ADD x int", "ALTER TABLE", [("s", "t")]),
    ("ALTER TABLE t OWNER TO bob", "ALTER TABLE", [("t",)]),
    ("ALTER TABLE s.t RENAME TO u", "ALTER TABLE", [("s", "u")]),
    ("ALTER TABLE s.t RENAME a TO b", "ALTER TABLE", [("s", "t", "b"), ("s", "t")]),
    ("ALTER TABLE t RENAME CONSTRAINT a TO b", "ALTER TABLE", [("t", "b"), ("t",)]),
    ("ALTER TABLE s.t SET SCHEMA u", "ALTER TABLE", [("u", "t"), ("t",)]),
    ("ALTER VIEW v RENAME COLUMN a TO b", "ALTER VIEW", [("v", "b"), ("v",)]),
    ("ALTER INDEX i ATTACH PARTITION j", "ALTER INDEX", [("i",)]),
    ("ALTER MATERIALIZED VIEW v SET SCHEMA s", "ALTER MATERIALIZED VIEW", [("s", "v"), ("v",)]),
    ("ALTER FOREIGN TABLE f ADD x int", "ALTER FOREIGN TABLE", [("f",)]),
    ("ALTER TABLE ALL IN TABLESPACE x SET TABLESPACE y", "ALTER TABLE", None),
    ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO x", "ALTER DEFAULT PRIVILEGES", None),
    ("COMMENT ON COLUMN a.b.c IS 'x'", "COMMENT", [("a", "b", "c")]),
    ("COMMENT ON CONSTRAINT c ON a.b IS NULL", "COMMENT", [("a", "b", "c")]),
    ("COMMENT ON CONSTRAINT c ON DOMAIN d IS NULL", "COMMENT", None),
    ("COMMENT ON TYPE s.t IS 'x'", "COMMENT", [("s", "t")]),
    ("SECURITY LABEL ON TABLE t IS 'x'", "SECURITY LABEL", [("t",)]),
    ("GRANT SELECT ON s.t, u TO bob", "GRANT", [("s", "t"), ("u",)]),
    ("GRANT SELECT ON ALL TABLES IN SCHEMA s TO bob", "GRANT", None),
    ("REVOKE EXECUTE ON FUNCTION f(int) FROM PUBLIC", "REVOKE", [("f",)]),
    ("DROP TABLE a.b, c", "DROP TABLE", [("a", "b"), ("c",)]),
    ("DROP FUNCTION f(int), s.g", "DROP FUNCTION", [("f",), ("s", "g")]),
    ("DROP TYPE a.b", "DROP TYPE", [("a", "b")]),
    ("DROP SCHEMA a CASCADE", "DROP SCHEMA", [("a",)]),
    ("DROP TRIGGER g ON s.t", "DROP TRIGGER", [("s", "t", "g")]),
    ("DROP OWNED BY x", "DROP OWNED", None),
    ("REASSIGN OWNED BY x TO y", "REASSIGN OWNED", None),
    ("REINDEX TABLE t", "REINDEX", None),
    ("ALTER TRIGGER g ON t DEPENDS ON EXTENSION e", "ALTER TRIGGER", [("t", "g")]),
    ('CREATE TABLE "Señor"."x.y"()', "CREATE TABLE", [("Señor", "x.y")]),
    ('CREATE TABLE U&"d\\0061ta"()', "CREATE TABLE", [("data",)]),
]


@pytest.mark.parametrize(("text", "tag", "named"), CASES, ids=[c[0][:60] for c in CASES])
def test_a_statement_has_postgresqls_tag_and_names_its_objects(
    text: str, tag: str | None, named: list[tuple[str, ...]] | None
) -> None:
    node = parse(text)
    assert command_tag(node) == tag
    if tag is not None:
        assert targets(node) == named


@pytest.mark.parametrize("tag", sorted({t for _, t, _ in CASES if t} - CARRIED_OUT))
def test_only_these_tags_of_the_cases_are_never_carried_out(tag: str) -> None:
    assert tag in {
        "CREATE SUBSCRIPTION",
        "DROP OWNED",
        "IMPORT FOREIGN SCHEMA",
        "REASSIGN OWNED",
        "REINDEX",
    }


@pytest.mark.parametrize(
    ("text", "temporary"),
    [
        ("CREATE TEMP TABLE a()", True),
        ("CREATE TABLE pg_temp.a()", True),
        ("CREATE TABLE a()", False),
        ("SELECT 1 INTO TEMP a", True),
        ("CREATE TEMP TABLE a AS SELECT 1", True),
        ("CREATE TEMP VIEW a AS SELECT 1", True),
        ("CREATE TEMP SEQUENCE a", True),
        ("ALTER TABLE pg_temp.a ADD x int", True),
        ("DROP TABLE a", False),
    ],
)
def test_what_says_itself_that_it_is_temporary(text: str, temporary: bool) -> None:
    assert makes_temporary(parse(text)) is temporary


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("public.mood", ("public", "mood")),
        ('public."Mood"', ("public", "Mood")),
        ('"a.b"."c""d"', ("a.b", 'c"d')),
        ("mood", ("mood",)),
        ('"ñ"."ü x"', ("ñ", "ü x")),
    ],
)
def test_a_quoted_name_is_split_into_its_parts(text: str, parts: tuple[str, ...]) -> None:
    assert split_name(text) == parts
