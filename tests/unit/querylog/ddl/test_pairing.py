"""Each captured command finds its own statement in what the client sent, or none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from include.respaldo.model.schema_change import (
    CapturedCommand,
    CreatedTable,
    FailedCapture,
    NotReplayable,
    ReplayCommand,
)
from include.respaldo.querylog.ddl.replayable import replay_commands, replay_commands_at
from tests.unit.querylog.ddl.captures import command, dropped, table, touched


def outcome(*captured: CapturedCommand | FailedCapture) -> list[str]:
    """Return what is run for each; a question mark for what is not."""
    return [
        item.sql if isinstance(item, ReplayCommand) else "?" for item in replay_commands(captured)
    ]


def reason(*captured: CapturedCommand | FailedCapture) -> str:
    (found,) = [i for i in replay_commands(captured) if isinstance(i, NotReplayable)]
    return found.reason


def made(query: str, *names: str, **more: Any) -> list[CapturedCommand]:
    return [table(query, name, **more) for name in names]


@pytest.mark.parametrize(
    ("query", "touched_tables", "expected"),
    [
        ("CREATE TABLE a()", ["public.a"], ["CREATE TABLE a()"]),
        ("CREATE TABLE a() ;  ", ["public.a"], ["CREATE TABLE a()"]),
        (
            "CREATE TABLE a(); INSERT INTO a DEFAULT VALUES; CREATE TABLE b();",
            ["public.a", "public.b"],
            ["CREATE TABLE a()", "CREATE TABLE b()"],
        ),
        # a temporary table sent no message
        (
            "CREATE TEMP TABLE a(x int); CREATE TABLE a(y int)",
            ["public.a"],
            ["CREATE TABLE a(y int)"],
        ),
        # one that was there already sent none
        (
            "CREATE TABLE IF NOT EXISTS a(x int); CREATE TABLE IF NOT EXISTS b(x int)",
            ["public.b"],
            ["CREATE TABLE IF NOT EXISTS b(x int)"],
        ),
        # in different schemas
        (
            "CREATE TABLE s.a(x int); CREATE TABLE t.a(y int)",
            ["t.a"],
            ["CREATE TABLE t.a(y int)"],
        ),
        # search_path changes within the string: the captured one tells
        (
            "SET search_path = s; CREATE TABLE a(x int);SET search_path = t;CREATE TABLE a(y int)",
            ["s.a", "t.a"],
            ["CREATE TABLE a(x int)", "CREATE TABLE a(y int)"],
        ),
        (
            "BEGIN; CREATE TABLE a(x int); ROLLBACK; CREATE TABLE a(y int)",
            ["public.a"],
            ["CREATE TABLE a(y int)"],
        ),
        (
            "SAVEPOINT s; CREATE TABLE a(x int); ROLLBACK TO s; CREATE TABLE a(y int)",
            ["public.a"],
            ["CREATE TABLE a(y int)"],
        ),
        # dropped and made again
        (
            "CREATE TABLE a(x int); CREATE TABLE a(y int)",
            ["public.a", "public.a"],
            ["CREATE TABLE a(x int)", "CREATE TABLE a(y int)"],
        ),
        # either may have been it
        ("CREATE TABLE a(x int); CREATE TABLE a(y int)", ["public.a"], ["?"]),
        ("CREATE TABLE a(x int); COMMIT; CREATE TABLE a(y int)", ["public.a"], ["?"]),
        # the same text twice is no matter
        ("CREATE TABLE a(); COMMIT; CREATE TABLE a()", ["public.a"], ["CREATE TABLE a()"]),
        # more than the string has
        ("CREATE TABLE a()", ["public.a", "public.a"], ["?", "?"]),
        ("SELECT 1", ["public.a"], ["?"]),
        ("CREATE TABLE b()", ["public.a"], ["?"]),
        ("CREATE TABLE", ["public.a"], ["?"]),
        ('CREATE TABLE "A b"()', ["public.A b"], ['CREATE TABLE "A b"()']),
        ("/* ñ */ CREATE TABLE ñ(); --", ["public.ñ"], ["CREATE TABLE ñ()"]),
    ],
)
def test_commands_of_one_string_are_told_apart(
    query: str, touched_tables: list[str], expected: list[str]
) -> None:
    assert outcome(*made(query, *touched_tables)) == expected


def test_identical_strings_sent_twice_are_two_runs() -> None:
    query = "CREATE TABLE IF NOT EXISTS a(); ALTER TABLE a ADD x int; ALTER TABLE a ADD y int"
    first = [
        table(query, second=1),
        table(query, tag="ALTER TABLE", second=1),
        table(query, tag="ALTER TABLE", second=1),
    ]
    second = [
        table(query, tag="ALTER TABLE", second=2),
        table(query, tag="ALTER TABLE", second=2),
    ]
    assert outcome(*first, *second) == [
        "CREATE TABLE IF NOT EXISTS a()",
        "ALTER TABLE a ADD x int",
        "ALTER TABLE a ADD y int",
        "ALTER TABLE a ADD x int",
        "ALTER TABLE a ADD y int",
    ]


def test_a_command_on_what_may_have_been_a_temporary_table_is_not_guessed() -> None:
    query = "ALTER TABLE a ADD x int; ALTER TABLE public.a ADD y int"
    assert outcome(table(query, tag="ALTER TABLE")) == ["?"]
    assert "more than one" in reason(table(query, tag="ALTER TABLE"))


def test_only_part_of_a_string_that_commits_belongs_to_a_transaction() -> None:
    query = "CREATE TABLE a(); COMMIT; CREATE TABLE b(); COMMIT; CREATE TABLE c()"
    assert outcome(*made(query, "public.b")) == ["CREATE TABLE b()"]
    assert outcome(*made(query, "public.b", "public.c")) == ["?", "?"]


def test_renamed_and_moved_objects_are_known_by_their_new_names() -> None:
    query = "ALTER TABLE a RENAME TO b; ALTER TABLE b SET SCHEMA s; ALTER TABLE s.b RENAME x TO y"
    captured = [
        table(query, "public.b", tag="ALTER TABLE"),
        table(query, "s.b", tag="ALTER TABLE"),
        command("ALTER TABLE", query, ("table column", "s.b.y")),
    ]
    assert outcome(*captured) == query.split("; ")


def test_grants_name_no_object_and_are_found_by_their_order() -> None:
    query = "GRANT SELECT ON a TO x; GRANT SELECT ON b TO y"
    grant = command("GRANT", query, touched("TABLE", "", "GRANT"))
    assert outcome(grant, grant) == query.split("; ")
    assert outcome(grant) == ["?"]


def test_drops_are_found_by_what_they_dropped() -> None:
    query = "DROP TABLE IF EXISTS a; DROP TABLE IF EXISTS b"
    captured = command("DROP TABLE", query, dropped=(dropped("table", "public.b"),))
    assert outcome(captured) == ["DROP TABLE IF EXISTS b"]


def test_types_are_found_by_the_name_that_stands_in_one_text() -> None:
    query = "CREATE TYPE a AS ENUM (); CREATE TYPE \"B.c\" AS ENUM ('x')"
    captured = command("CREATE TYPE", query, ("type", 'public."B.c"'))
    assert outcome(captured) == ["CREATE TYPE \"B.c\" AS ENUM ('x')"]


def test_a_text_that_is_not_in_the_log_is_not_guessed() -> None:
    assert "too long" in reason(table(None))  # type: ignore[arg-type]


def test_a_capture_that_failed_is_not_replayable() -> None:
    assert replay_commands([FailedCapture("GRANT", "no")]) == [
        NotReplayable("GRANT (no)", "the capture failed")
    ]


def test_backslashes_under_old_strings_escape() -> None:
    old = {"standard_conforming_strings": "off"}
    captured = table("CREATE TABLE a(x text DEFAULT '\\')")
    assert outcome(captured) == [captured.query]
    # so it cannot have been sent
    assert outcome(table(captured.query, settings=old)) == ["?"]
    escaped = table("CREATE TABLE a(x text DEFAULT '\\';')", settings=old)
    assert outcome(escaped) == ["CREATE TABLE a(x text DEFAULT  E'\\';')"]


# called from functions ------------------------------------------------------------------------

CALLED = "PL/pgSQL function f(text) line 3 at EXECUTE"


def context(text: str, *lines: str) -> str:
    return "\n".join([f'SQL statement "{text}"', *(lines or (CALLED,))])


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("CREATE TABLE a()", [CALLED]),
        ("CREATE TABLE a()", ["PL/pgSQL function inline_code_block line 1 at SQL statement"]),
        ("CREATE TABLE a()", [CALLED, 'SQL statement "SELECT f(\'"\')"', CALLED]),
        ("CREATE TABLE a()", [CALLED, 'SQL expression "f(1)"', CALLED]),
        (
            "CREATE TABLE a()",
            [
                "PL/pgSQL function p(integer) line 2 at SQL statement",
                'SQL statement "CALL p(1)"',
                CALLED,
            ],
        ),
        ("CREATE TABLE a()", ['PL/Python function "f"']),
        ("CREATE TABLE a()", ["PL/Python anonymous code block"]),
        ("CREATE TABLE a()", ['PL/Perl function "f"']),
        ('CREATE TABLE "a" ("b" int)', [CALLED]),
        ("CREATE TABLE a (b text DEFAULT '\"')", [CALLED]),
        ("CREATE TABLE a (b text DEFAULT '\"\nPL/pgSQL function x')", [CALLED]),
        ('CREATE TABLE a (b text DEFAULT $$"\nSQL statement "$$)', [CALLED]),
        ('CREATE TABLE a\r\n-- "\r\n()', [CALLED]),
        ("CREATE TABLE a (ñ text DEFAULT E'\\'\"')", [CALLED]),
        (" CREATE TABLE a() ", [CALLED]),
        ("CREATE TABLE a();", [CALLED]),
        ("SELECT 1; CREATE TABLE a()", [CALLED]),
    ],
)
def test_the_text_is_taken_from_the_innermost_call(text: str, lines: list[str]) -> None:
    captured = table("SELECT g()", context=context(text, *lines))
    (found,) = outcome(captured)
    assert found == text.strip().removesuffix(";").removeprefix("SELECT 1; ")


@pytest.mark.parametrize("outer", ["", "\n" + CALLED, '\nSQL statement "SELECT f()"\n' + CALLED])
def test_the_text_is_taken_from_a_function_in_sql(outer: str) -> None:
    source = "SELECT 1; CREATE TABLE b(); /* ; */ CREATE TABLE a(); ;; DROP TABLE b"
    shown = f'SQL function "f ""x" statement 3{outer}'
    captured = table("SELECT g()", context=shown)
    assert outcome(replace(captured, source=source)) == ["CREATE TABLE a()"]
    for number in ("0", "2", "5"):
        other = replace(captured, context=shown.replace("3", number), source=source)
        assert outcome(other) == ["?"], "another statement, or none"
    assert outcome(replace(captured, source="CREATE TABLE 'a'; SELECT 1; SELECT 2")) == ["?"]


@pytest.mark.parametrize(
    "shown",
    [
        'SQL function "f" statement 1',
        CALLED,
        'SQL statement "CREATE TABLE a(',
        'SQL statement "CREATE TABLE b()"\n' + CALLED,
        'SQL statement "DROP TABLE a"\n' + CALLED,
        'SQL statement "no SQL"\n' + CALLED,
        'SQL expression "f()"\n' + CALLED,
        "x",
        # a comment that holds what looks like the end, and what follows it matters
        'SQL statement "CREATE TABLE a() --"\nPL/x"\n()"\n' + CALLED,
        'SQL statement "CREATE TABLE a() /* "\nPL/x */ INHERITS (b) -- "\n'
        + CALLED
        + '\nSQL statement "x"\nPL/" */',
    ],
)
def test_a_context_that_does_not_show_the_text_for_certain_is_refused(shown: str) -> None:
    captured = table("SELECT g()", context=shown)
    found = outcome(captured)
    assert found == ["?"] or found[0] in shown


def test_a_context_with_two_readings_is_refused() -> None:
    two = 'CREATE TABLE a(); --"\nCOPY a FROM STDIN'
    assert outcome(table("SELECT g()", context=context(two))) == ["?"]
    comment_alone = 'CREATE TABLE a() --"\nPL/pgSQL\n'.replace("\nPL", "\n--PL")
    assert outcome(table("SELECT g()", context=context(comment_alone))) == [comment_alone.strip()]


def test_the_stack_of_a_deep_recursion_is_read() -> None:
    calls = ['PL/pgSQL function "f g"() line 1 at EXECUTE', 'SQL statement "select "f g"()"'] * 300
    captured = table("SELECT g()", context=context("CREATE TABLE a()", *calls, CALLED))
    assert outcome(captured) == ["CREATE TABLE a()"]
    # the same where another reading goes wrong only at its end, and one of the longer ones does not
    hidden = context("CREATE TABLE a() --", CALLED, 'SQL statement "x"', *calls, "COPY (b int)")
    assert outcome(table("SELECT g()", context=hidden)) != ["CREATE TABLE a()"]


def test_a_function_that_runs_a_statement_many_times() -> None:
    captured = [table("SELECT g()", context=context("CREATE TABLE IF NOT EXISTS a()"))] * 3
    assert outcome(*captured) == ["CREATE TABLE IF NOT EXISTS a()"] * 3


def test_a_function_that_executes_several_statements_at_once() -> None:
    text = "ALTER TABLE a ADD x int; ALTER TABLE a ADD y int; CREATE TABLE b()"
    shown = context(text)
    alter = table("SELECT g()", tag="ALTER TABLE", context=shown)
    create = table("SELECT g()", "public.b", context=shown)
    assert outcome(alter, alter, create) == text.split("; ")
    # how often it ran is not known: these may be of two runs
    assert outcome(alter, create) == ["?", "CREATE TABLE b()"]


def test_the_text_of_a_call_is_known_though_the_clients_is_not() -> None:
    assert outcome(table(None, context=context("CREATE TABLE a()"))) == [  # type: ignore[arg-type]
        "CREATE TABLE a()"
    ]


# within other commands ------------------------------------------------------------------------

TRIGGERED = "PL/pgSQL function public.on_ddl() line 3 at SQL statement"


def nested(tag: str, text: str, name: str, query: str, called: str = TRIGGERED) -> CapturedCommand:
    return table(query, name, tag=tag, context=context(text, called))


def test_what_an_event_trigger_changed_after_a_command_keeps_its_place() -> None:
    query = "CREATE TABLE a()"
    inner = nested("ALTER TABLE", "ALTER TABLE a OWNER TO x", "public.a", query)
    assert outcome(table(query), inner) == [query, "ALTER TABLE a OWNER TO x"]


def test_what_an_event_trigger_changed_on_a_new_table_runs_after_it() -> None:
    query = "CREATE TABLE a()"
    inner = nested("ALTER TABLE", "ALTER TABLE a OWNER TO x", "public.a", query)
    captured = [inner, table(query)]
    found = replay_commands_at(captured)
    assert [i for i, _ in found] == [1, 0]
    first, second = (item for _, item in found)
    assert isinstance(first, ReplayCommand)
    assert isinstance(second, ReplayCommand)
    assert (first.sql, second.sql) == (query, "ALTER TABLE a OWNER TO x")
    # the outer command's fingerprint was taken last
    assert first.expected == ()
    assert [o.fingerprint for o in second.expected] == ["public.a CREATE TABLE"]


def test_two_changes_of_an_event_trigger_keep_their_order_after_the_table() -> None:
    query = "CREATE TABLE a()"
    inners = [nested("ALTER TABLE", f"ALTER TABLE a ADD {c} int", "public.a", query) for c in "xy"]
    assert outcome(*inners, table(query)) == [
        query,
        "ALTER TABLE a ADD x int",
        "ALTER TABLE a ADD y int",
    ]


def test_what_ran_within_a_change_of_an_old_table_has_no_known_place() -> None:
    query = "ALTER TABLE a ADD z int"
    text = "CREATE VIEW seen AS SELECT * FROM a"
    inner = nested("CREATE VIEW", text, "public.seen", query)
    found = outcome(inner, table(query, tag="ALTER TABLE"))
    assert found == ["?", query]


def test_what_has_nothing_to_do_with_the_command_around_it_may_run_before_or_after() -> None:
    query = "ALTER TABLE bills ADD z int"
    inner = nested("CREATE TABLE", "CREATE TABLE log()", "public.log", query)
    outer = table(query, "public.bills", tag="ALTER TABLE")
    assert outcome(inner, outer) == ["CREATE TABLE log()", query]


def test_what_an_event_trigger_did_after_one_command_is_not_taken_for_the_next() -> None:
    query = "CREATE TABLE one(); CREATE TABLE two()"
    captured = [
        table(query, "public.one"),
        nested("ALTER TABLE", "ALTER TABLE one ADD x int", "public.one", query),
        table(query, "public.two"),
        nested("ALTER TABLE", "ALTER TABLE two ADD x int", "public.two", query),
    ]
    assert outcome(*captured) == [
        "CREATE TABLE one()",
        "ALTER TABLE one ADD x int",
        "CREATE TABLE two()",
        "ALTER TABLE two ADD x int",
    ]


def test_a_statement_within_a_called_command_is_seen_to_be_so() -> None:
    outer_call = "PL/pgSQL function g(text) line 5 at EXECUTE"
    outer = table("SELECT g('')", context=context("CREATE TABLE a()", outer_call))
    inner = table(
        "SELECT g('')",
        tag="ALTER TABLE",
        context=context("ALTER TABLE a ADD x int", TRIGGERED) + "\n" + outer.context,
    )
    assert outcome(inner, outer) == ["CREATE TABLE a()", "ALTER TABLE a ADD x int"]


@pytest.mark.parametrize(
    ("query", "called"),
    [
        (
            "DO $$ BEGIN CREATE TABLE b(); END $$; CREATE TABLE a()",
            "PL/pgSQL function inline_code_block line 1 at SQL statement",
        ),
        ("SELECT on_ddl(); CREATE TABLE a()", TRIGGERED),
        ("SELECT f('x'); CREATE TABLE a()", CALLED),
        # a trigger's function perhaps, and the two have nothing to do with each other
        ("INSERT INTO q VALUES (1); CREATE TABLE a()", TRIGGERED),
    ],
)
def test_what_ran_before_a_command_of_the_same_string_keeps_its_place(
    query: str, called: str
) -> None:
    inner = nested("CREATE TABLE", "CREATE TABLE b()", "public.b", query, called)
    assert outcome(inner, table(query)) == ["CREATE TABLE b()", "CREATE TABLE a()"]


def test_what_a_tables_query_ran_keeps_its_place() -> None:
    query = "CREATE TABLE a AS SELECT on_ddl()"
    created = CreatedTable("public", "a", 7, "p", "heap", None, (), (("x", "int", None),))
    outer = table(query, tag="CREATE TABLE AS", created=(created,))
    inner = nested("CREATE TABLE", "CREATE TABLE b()", "public.b", query)
    assert outcome(inner, outer)[0] == "CREATE TABLE b()"


def test_a_function_that_a_schema_change_computes_with_and_that_changes_the_schema() -> None:
    query = "ALTER TABLE a ADD CHECK (f('x'))"
    inner = nested("CREATE TABLE", "CREATE TABLE a_log()", "public.a_log", query, CALLED)
    assert outcome(inner, table(query, tag="ALTER TABLE")) == ["?", query]


# extensions -----------------------------------------------------------------------------------


def script(tag: str, type_: str, name: str, query: str, **more: Any) -> CapturedCommand:
    return command(tag, query, touched(type_, name, tag, in_extension=True, **more))


def test_an_extensions_script_is_left_to_the_command_that_runs_it() -> None:
    query = "CREATE TABLE a(); CREATE EXTENSION x; DROP TABLE b"
    captured = [
        table(query),
        script("CREATE FUNCTION", "function", "public.f", query),
        script("CREATE TABLE", "table", "public.kept", query, oid=7),
        script("CREATE TABLE", "table", "public.gone", query, oid=8),
        command("DROP TABLE", query, dropped=(dropped("table", "public.gone"),)),
        command("CREATE EXTENSION", query, ("extension", "x")),
        command("DROP TABLE", query, dropped=(dropped("table", "public.b"),)),
    ]
    found = replay_commands(captured)
    assert [r.sql for r in found if isinstance(r, ReplayCommand)] == query.split("; ")
    extension = found[1]
    assert isinstance(extension, ReplayCommand)
    assert extension.refilled == (("public", "kept"),)
    assert extension.created_oids == frozenset({7})


def test_a_newer_servers_script_says_so_itself() -> None:
    query = "CREATE EXTENSION x"
    shown = 'SQL statement "DROP FUNCTION f()"\nextension script file "x--1.sql", near line 10'
    captured = [
        command("DROP FUNCTION", query, context=shown, dropped=(dropped("function", "public.f"),)),
        command("CREATE EXTENSION", query, ("extension", "x")),
    ]
    assert outcome(*captured) == [query]


def test_an_extensions_update_is_refused_once() -> None:
    query = "ALTER EXTENSION x UPDATE"
    captured = [
        script("CREATE FUNCTION", "function", "public.f", query),
        command("ALTER EXTENSION", query, ("extension", "x")),
    ]
    assert outcome(*captured) == ["?"]


def test_a_script_whose_command_never_ended_is_refused() -> None:
    captured = script("CREATE FUNCTION", "function", "public.f", "CREATE EXTENSION x")
    assert outcome(captured) == ["?"]
