"""A client's string is cut where PostgreSQL cuts it, byte for byte."""

from __future__ import annotations

import pytest

from include.respaldo.querylog.ddl.escaped_text import as_usually_written
from include.respaldo.querylog.ddl.statements import read_string
from include.respaldo.querylog.ddl.syntax import Unreadable, split

NASTY = [
    "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$BEGIN; RETURN 1; END;$$",
    "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $a$ SELECT $b$;$b$; $a$",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END",
    "CREATE TABLE a (b text DEFAULT E'\\';')",
    "CREATE TABLE a (b text DEFAULT 'it''s; fine')",
    "CREATE TABLE a (b text DEFAULT 'a'\n  ';b')",
    'CREATE TABLE "a;b""c" ("d;" int)',
    'CREATE TABLE U&"d\\0061t\\+000061" (x int)',
    "CREATE TABLE U&\"d!0061ta\" UESCAPE '!' (x int)",
    "CREATE TABLE a /* one /* two; */ ; */ (x int)",
    "CREATE TABLE a -- it's; one\n (x int)",
    "CREATE TABLE a\r\n(\r\n  x int\r\n)",
    "CREATE TABLE éàü (ñ int DEFAULT 1, \"\U0001f40d\" text DEFAULT '\U0001f600;')",
    "COMMENT ON TABLE a IS $$ -- no comment ; $$",
    "COMMENT ON TABLE a IS '/* no comment ;'",
    "COMMENT ON TABLE a IS $é$ ; $e$ ; $é$",
    "CREATE RULE r AS ON INSERT TO a DO ALSO (INSERT INTO b VALUES (1); DELETE FROM c)",
    "CREATE VIEW v AS SELECT 1 AS \"x;y\", b'101' AS z, x'1F' AS w, N'ñ' AS n",
    "COMMENT ON TABLE a IS U&'\\00f1;' ",
    'CREATE TABLE a (x int CHECK (x > 0 AND x <> -1), y text COLLATE "C")',
    "CREATE OPERATOR === (leftarg = int, rightarg = int, function = f)",
    "DO $do$ BEGIN EXECUTE 'DROP TABLE a;'; END $do$",
]


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize(
    "separator", [";", " ; ", ";;\n;", ";\r\n-- x; y\r\n", "; /* ñ; /* */ */ "]
)
def test_a_statement_among_others_is_found_as_it_was_written(text: str, separator: str) -> None:
    first, last = "SELECT 'ñ;'", "DROP TABLE z"
    assert split(separator.join([first, text, last])) == [first, text.strip(), last]
    assert split(text) == [text.strip()]
    assert split(f"\n {text};\n") == [text.strip()]


def test_a_string_without_statements_has_none() -> None:
    for text in ("", ";", " -- x", "/* x */;;"):
        assert split(text) == []


@pytest.mark.parametrize("text", ["CREATE TABLE", "CREATE TABLE a('", "x\0y", "\ud800", "\\d a"])
def test_what_the_parser_refuses_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        split(text)


def test_a_very_long_string_is_read_without_its_rows() -> None:
    rows = ",".join(f"({i},'text of {i}')" for i in range(100_000))
    found = read_string(f"CREATE TABLE a(); INSERT INTO a VALUES {rows}; DROP TABLE a", {})
    assert [s.tag for s in found.statements] == ["CREATE TABLE", None, "DROP TABLE"]


@pytest.mark.parametrize(
    ("sent", "usual"),
    [
        (r"select 'a\'b', '--\\'", r"select  E'a\'b',  E'--\\'"),
        ("select 'plain'", "select 'plain'"),
        ("select 'a\\n' -- on\n  'b''\\''", "select  E'a\\n' -- on\n  'b''\\''"),
        (
            r"select E'\'', X'1f', $$\'$$, $a$\$a$, ta$$ble",
            r"select E'\'', X'1f', $$\'$$, $a$\$a$, ta$$ble",
        ),
        (r'select "a\", /* /* \' */ \' */ 1 -- \'', r'select "a\", /* /* \' */ \' */ 1 -- \''),
    ],
)
def test_backslashes_without_standard_strings_are_written_as_usually(sent: str, usual: str) -> None:
    assert as_usually_written(sent) == usual


@pytest.mark.parametrize("sent", [r"select N'\'", "select U&'a'", "/* never", "$$ never"])
def test_what_cannot_be_written_so_is_unreadable(sent: str) -> None:
    with pytest.raises(Unreadable):
        as_usually_written(sent)


def test_backslashes_are_read_as_they_were_sent() -> None:
    off = {"standard_conforming_strings": "off"}
    found = read_string("COMMENT ON TABLE a IS 'a\\';b'; DROP TABLE c", off)
    assert [s.tag for s in found.statements] == ["COMMENT", "DROP TABLE"]
    with pytest.raises(Unreadable):
        read_string("COMMENT ON TABLE a IS 'a\\'", off)
    assert read_string("COMMENT ON TABLE a IS 'ab'", off).changes_schema
    assert read_string("COMMENT ON TABLE a IS 'a\\'", {}).changes_schema
    with pytest.raises(Unreadable, match="sets standard_conforming_strings"):
        read_string("SET standard_conforming_strings = on; COMMENT ON TABLE a IS '\\'", {})


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("CREATE TABLE a(); SELECT 1; DROP TABLE b", ["a b"]),
        ("CREATE TABLE a(); COMMIT; DROP TABLE b", ["a", "b"]),
        ("CREATE TABLE a(); END; DROP TABLE b", ["a", "b"]),
        ("BEGIN; CREATE TABLE a(); ROLLBACK; DROP TABLE b", ["b"]),
        ("BEGIN; CREATE TABLE a(); ABORT", [""]),
        ("BEGIN; CREATE TABLE a(); COMMIT AND CHAIN; DROP TABLE b", ["a", "b"]),
        ("CREATE TABLE a(); PREPARE TRANSACTION 'x'; DROP TABLE b", ["a", "b"]),
        ("ROLLBACK; DROP TABLE b", ["b"]),
        ("SAVEPOINT s; CREATE TABLE a(); ROLLBACK TO s; DROP TABLE b", ["b"]),
        ("CREATE TABLE c(); SAVEPOINT s; CREATE TABLE a(); ROLLBACK TO SAVEPOINT s", ["c"]),
        ("CREATE TABLE c(); ROLLBACK TO s; DROP TABLE b", ["b"]),
        ("SAVEPOINT s; CREATE TABLE a(); RELEASE s; DROP TABLE b", ["a b"]),
        ("SAVEPOINT s; CREATE TABLE a(); RELEASE s; ROLLBACK TO s; DROP TABLE b", ["b"]),
        (
            "CREATE TABLE c(); SAVEPOINT s; CREATE TABLE a(); SAVEPOINT s; DROP TABLE b;"
            "ROLLBACK TO s; DROP TABLE d",
            ["c a d"],
        ),
        ("SAVEPOINT s; DROP TABLE a; SAVEPOINT t; ROLLBACK TO s; ROLLBACK TO t", [""]),
        ("SAVEPOINT s; DROP TABLE a; ROLLBACK TO s; DROP TABLE b; ROLLBACK TO s", [""]),
        ("PREPARE p AS SELECT 1; CREATE TABLE a AS EXECUTE p", ["a"]),
    ],
)
def test_what_a_string_rolls_back_itself_left_nothing(text: str, parts: list[str]) -> None:
    found = read_string(text, {}).parts()
    names = [" ".join(s.text.split()[2].strip("()") for s in part) for part in found]
    if names and not names[-1] and len(names) > len(parts):
        names.pop()
    assert names == parts
