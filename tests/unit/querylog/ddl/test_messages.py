"""The capture's messages are read whole, and nothing else is taken for one."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from include.respaldo.model.schema_change import (
    CapturedCommand,
    FailedCapture,
    Rewrite,
    RewrittenRows,
)
from include.respaldo.querylog.ddl.messages import (
    RowsMessage,
    parse_messages,
    parse_messages_at,
    parse_rows,
    seal,
)

SECRET = "a secret ñ"


def message(body: Any, secret: str = SECRET) -> bytes:
    return seal(json.dumps(body).encode(), secret)


def command(tag: str = "CREATE TABLE", **more: Any) -> dict[str, Any]:
    return {
        "kind": "command",
        "tag": tag,
        "query_id": "q1",
        "query": "CREATE TABLE a()",
        "caller": {"role": "app", "session": "web", "settings": {"search_path": "x", "none": None}},
        "statement_at": "2026-03-01T11:30:00.123456Z",
        **more,
    }


def drop(tag: str, name: str, **more: Any) -> dict[str, Any]:
    item = {
        "type": "table",
        "names": ["public", name],
        "args": [],
        "identity": f"public.{name}",
        "schema": "public",
        "original": True,
        "temporary": False,
        **more,
    }
    return {"kind": "drop", "tag": tag, "objects": [item]}


def read(*bodies: Any) -> list[CapturedCommand | FailedCapture]:
    return parse_messages([message(b) for b in bodies], SECRET)


def one(*bodies: Any) -> CapturedCommand:
    (found,) = read(*bodies)
    assert isinstance(found, CapturedCommand)
    return found


def test_the_seal_is_the_one_that_the_contract_says() -> None:
    key = SECRET.encode()
    expected = hashlib.sha256(key + hashlib.sha256(key + b"body").digest()).hexdigest()
    assert seal(b"body", SECRET) == expected.encode() + b"\nbody"


def test_all_that_a_command_says_is_kept() -> None:
    found = one(
        command(
            objects=[
                {
                    "type": "table",
                    "names": ["public", "a"],
                    "args": [],
                    "identity": "public.a",
                    "schema": "public",
                    "tag": "CREATE TABLE",
                    "in_extension": False,
                    "oid": "16384",
                    "catalog": "pg_class",
                    "fingerprint": "f",
                }
            ],
            missing=[{"schema": "public", "table": "a", "column": "x", "value": None}],
            created=[
                {
                    "schema": "public",
                    "table": "a",
                    "oid": 16384,
                    "persistence": "p",
                    "access_method": "heap",
                    "tablespace": None,
                    "options": ["fillfactor=70"],
                    "columns": [["x", "text", '"C"'], ["y", "integer", None]],
                }
            ],
            context="c",
            problem="p",
        )
    )
    assert found.objects[0].oid == 16384
    assert found.caller.settings == (("search_path", "x"),)
    assert found.statement_at.microsecond == 123456
    assert found.missing_values[0].value is None
    assert found.created[0].columns == (("x", "text", '"C"'), ("y", "integer", None))
    assert (found.context, found.problem, found.what) == ("c", "p", "CREATE TABLE public.a")


def test_a_query_is_sent_once_and_known_for_the_rest_of_the_transaction() -> None:
    later = command("ALTER TABLE")
    del later["query"]
    first, second = read(command(), later)
    assert isinstance(first, CapturedCommand)
    assert isinstance(second, CapturedCommand)
    assert first.query == second.query == "CREATE TABLE a()"


def test_a_query_that_was_too_long_or_not_sent_is_none() -> None:
    unknown = command(query_id="q2")
    del unknown["query"]
    assert one(command(query=None)).query is None
    assert one(unknown).query is None


def test_drops_and_rewrites_belong_to_the_next_command() -> None:
    rewrite = {
        "kind": "rewrite",
        "tables": [{"schema": "s", "table": "t", "reason": 2, "rows": "not sent"}],
    }
    first, second = read(
        drop("ALTER TABLE", "x"), rewrite, command("ALTER TABLE"), command("ALTER TABLE")
    )
    assert isinstance(first, CapturedCommand)
    assert isinstance(second, CapturedCommand)
    assert [d.identity for d in first.dropped] == ["public.x"]
    assert first.rewritten == (Rewrite("s", "t", 2, RewrittenRows.NOT_SENT),)
    assert (second.dropped, second.rewritten) == ((), ())


def test_a_drop_waits_for_its_own_command_past_one_that_ran_within() -> None:
    inner, outer = read(drop("DROP TABLE", "x"), command("CREATE TABLE"), command("DROP TABLE"))
    assert isinstance(inner, CapturedCommand)
    assert isinstance(outer, CapturedCommand)
    assert not inner.dropped
    assert outer.dropped[0].identity == "public.x"


def test_a_drop_within_a_drop_belongs_to_the_inner_one() -> None:
    inner, outer = read(
        drop("DROP TABLE", "outer"),
        drop("DROP TABLE", "inner"),
        command("DROP TABLE"),
        command("DROP TABLE"),
    )
    assert isinstance(inner, CapturedCommand)
    assert isinstance(outer, CapturedCommand)
    assert inner.dropped[0].identity == "public.inner"
    assert outer.dropped[0].identity == "public.outer"


def test_a_drop_or_rewrite_whose_command_never_came_is_a_failed_capture() -> None:
    tables = [{"schema": "s", "table": "t", "reason": 2, "rows": "none"}]
    found = read(drop("DROP TABLE", "x"), {"kind": "rewrite", "tables": tables})
    assert [type(f) for f in found] == [FailedCapture, FailedCapture]


def test_each_command_is_known_by_the_message_that_ended_it() -> None:
    contents = [message(b) for b in (drop("DROP TABLE", "x"), command("DROP TABLE"), command())]
    assert [i for i, _ in parse_messages_at(contents, SECRET)] == [1, 2]


def test_a_failure_that_the_capture_reports() -> None:
    assert read({"kind": "failed", "tag": "GRANT", "error": "no"}) == [FailedCapture("GRANT", "no")]


GOOD = message(command())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\n",
        GOOD[:-1],
        GOOD + b" ",
        b"0" + GOOD[1:],
        GOOD[:64] + b" " + GOOD[65:],
        GOOD[:40],
        GOOD.replace(b"CREATE TABLE a", b"CREATE TABLE b"),
        message(command(), "another"),
        message(command(), ""),
        seal(b"", SECRET),
        seal(b"no json", SECRET),
        seal(b"\xff\xfe", SECRET),
        seal(b"[" * 100_000, SECRET),
        message([]),
        message(None),
        message("x"),
        message({}),
        message({"kind": "new"}),
        message({"kind": None}),
        message({"kind": []}),
        message({"kind": "command"}),
        message(command(tag=1)),
        message(command(query=5)),
        message(command(query="\ud800")),
        message(command(query_id=None)),
        message(command(caller=None)),
        message(command(caller={"role": "x"})),
        message(command(caller={"role": "x", "session": "y", "settings": [1]})),
        message(command(caller={"role": "x", "session": "y", "settings": {"a": 1}})),
        message(command(statement_at="yesterday")),
        message(command(statement_at="2026-03-01T11:30:00")),
        message(command(objects=[{}])),
        message(command(objects=["x"])),
        message(command(objects=5)),
        message(command(missing=[{"schema": "x"}])),
        message(command(created=[{"schema": "x"}])),
        message(command(context=["x"])),
        message(drop("DROP TABLE", "x", names="public")),
        message(drop("DROP TABLE", "x", original="true")),
        message({"kind": "drop", "tag": "DROP TABLE"}),
        message({"kind": "rewrite", "tables": [{"schema": "s"}]}),
        message({
            "kind": "rewrite",
            "tables": [{"schema": "s", "table": "t", "reason": 2, "rows": "x"}],
        }),
        message({
            "kind": "rewrite",
            "tables": [{"schema": "s", "table": "t", "reason": True, "rows": "none"}],
        }),
        message({"kind": "failed"}),
    ],
)
def test_what_the_capture_cannot_have_written_is_a_failed_capture(content: bytes) -> None:
    (found,) = parse_messages([content], SECRET)
    assert isinstance(found, FailedCapture)
    assert "secret" not in found.error


def test_a_bad_message_does_not_hide_those_around_it() -> None:
    found = parse_messages([GOOD, b"x", GOOD], SECRET)
    assert [type(f) for f in found] == [CapturedCommand, FailedCapture, CapturedCommand]


def test_without_the_secret_the_seal_is_not_checked_again() -> None:
    (found,) = parse_messages([message(command(), "another")], None)
    assert isinstance(found, CapturedCommand)


ROWS = {
    "relation": {
        "oid": "16384",
        "schema": "public",
        "name": "a",
        "replica_identity": "d",
        "columns": [["id", 23, -1, True], ["text", "25", -1, False]],
    },
    "first": True,
    "rows": [["1", None], ["2", "ñ\n"]],
}


def test_rows_are_read_as_the_stream_would_send_them() -> None:
    found = parse_rows(message(ROWS), SECRET)
    assert isinstance(found, RowsMessage)
    assert found.first
    assert found.rows == ((b"1", None), (b"2", "ñ\n".encode()))
    assert (found.relation.oid, found.relation.key_positions) == (16384, (0,))


@pytest.mark.parametrize(
    "changed",
    [
        {"rows": [["1"]]},
        {"rows": [["1", 2]]},
        {"rows": None},
        {"rows": ["12"], "first": None},
        {"first": 1},
        {"relation": {}},
        {"relation": None},
    ],
)
def test_rows_of_another_form_are_a_failed_capture(changed: dict[str, Any]) -> None:
    assert isinstance(parse_rows(message({**ROWS, **changed}), SECRET), FailedCapture)
    assert isinstance(parse_rows(message(ROWS, "another"), SECRET), FailedCapture)
