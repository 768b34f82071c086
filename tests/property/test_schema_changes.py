"""Statements joined into one string in any way are told apart byte for byte."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from include.respaldo.model.schema_change import CapturedCommand, FailedCapture, ReplayCommand
from include.respaldo.querylog.ddl.messages import parse_messages, parse_rows
from include.respaldo.querylog.ddl.replayable import replay_commands
from include.respaldo.querylog.ddl.syntax import split
from tests.unit.querylog.ddl.captures import command, touched

EXAMPLES = int(os.environ.get("RESPALDO_EXAMPLES", "50"))

_NAME_CHARACTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
names = st.text(_NAME_CHARACTERS, min_size=1, max_size=8)
separators = st.lists(
    st.sampled_from([
        ";",
        " ",
        "\n",
        "\r\n",
        "\t",
        "-- it's; ñ\n",
        "/* ; /* \U0001f600 */ ' */",
        ";;",
    ]),
    max_size=5,
).map(lambda parts: ";" + "".join(parts))


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _escaped(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _dollars(text: str) -> str:
    tag = "$ñ$"
    return tag + text.replace("$", "") + tag


@st.composite
def statements(draw: st.DrawFn) -> tuple[str, str, str]:
    """Return a tag, the name of a table, and a statement of that tag on that table."""
    name = draw(names)
    text = draw(st.sampled_from([_literal, _escaped, _dollars]))(draw(names))
    table = _identifier(name)
    gap = draw(st.sampled_from([" ", "\n", "/* ; */", " -- ;\n"]))
    tag, statement = draw(
        st.sampled_from([
            ("CREATE TABLE", f"CREATE{gap}TABLE {table} (x text DEFAULT {text})"),
            ("COMMENT", f"COMMENT ON{gap}TABLE public.{table} IS {text}"),
            ("ALTER TABLE", f"ALTER TABLE {table}{gap}ADD y text DEFAULT {text}"),
            ("CREATE VIEW", f"CREATE VIEW {table} AS{gap}SELECT {text} AS x, 1 AS {table}"),
        ])
    )
    return tag, name, statement


OTHERS = st.sampled_from([
    "SELECT 1",
    "SET search_path = a",
    "INSERT INTO q VALUES (';')",
    "VACUUM q",
])


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(statements(), separators, OTHERS, separators), min_size=1, max_size=8))
def test_every_statement_is_found_byte_for_byte(
    parts: list[tuple[tuple[str, str, str], str, str, str]],
) -> None:
    query = "".join(
        f"{statement}{before}{other}{after}" for (_, _, statement), before, other, after in parts
    )
    assert split(query)[::2] == [statement for (_, _, statement), *_ in parts]
    captured = []
    for (tag, name, _), *_ in parts:
        found = touched("table", "public.x", tag)
        address = type(found.address)("table", ("public", name))
        captured.append(command(tag, query, type(found)(**{**vars(found), "address": address})))
    replayed = replay_commands(captured)
    assert [r.sql for r in replayed if isinstance(r, ReplayCommand)] == [
        statement for (_, _, statement), *_ in parts
    ]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_bytes_are_a_failed_capture(content: bytes, sealed: bool) -> None:
    body = b"0" * 64 + b"\n" + content if sealed else content
    for found in parse_messages([body], None):
        assert isinstance(found, FailedCapture | CapturedCommand)
    assert isinstance(parse_rows(body, "secret"), FailedCapture)
