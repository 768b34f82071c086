"""What the event triggers put in the log: reads the slot beside the stream, tests only."""

from __future__ import annotations

import json
from typing import Any

import psycopg

from include.respaldo.model.schema_change import CapturedCommand, FailedCapture
from include.respaldo.postgres.capture import read_secret
from include.respaldo.querylog.ddl.messages import RowsMessage, parse_messages, parse_rows, seal
from include.respaldo.querylog.pgoutput import Begin, LogicalMessage, decode

DDL, ROWS = "respaldo.ddl", "respaldo.rows"


def decoded(conn: psycopg.Connection) -> list[Any]:
    """Return the messages of the database's slot since the last look, as pgoutput writes them."""
    rows = conn.execute(
        "select data from pg_catalog.pg_database d, pg_catalog.pg_logical_slot_get_binary_changes("
        " ('respaldo_' || d.oid)::name, null, null, 'proto_version', '1', 'publication_names',"
        " 'respaldo', 'messages', 'true') where datname = current_database()",
    ).fetchall()
    return [decode(data) for (data,) in rows]


def messages(conn: psycopg.Connection) -> list[dict[str, Any]]:
    """Return the bodies of the capture's messages, each of which must have its seal."""
    secret = read_secret(conn)
    found = []
    for message in decoded(conn):
        if isinstance(message, LogicalMessage) and message.prefix in {DDL, ROWS}:
            content = bytes(message.content)
            body = content[65:]
            assert content == seal(body, secret)
            found.append(json.loads(body))
    return found


def commands(conn: psycopg.Connection) -> list[CapturedCommand | FailedCapture]:
    """Return what a reader makes of the messages."""
    return [item for item, _ in commands_and_rows(conn)]


def commands_and_rows(
    conn: psycopg.Connection,
) -> list[tuple[CapturedCommand | FailedCapture, list[RowsMessage]]]:
    """Return each command with the messages of rows of its transaction."""
    secret = read_secret(conn)
    transactions: list[tuple[list[bytes], list[RowsMessage]]] = []
    for message in decoded(conn):
        if isinstance(message, Begin):
            transactions.append(([], []))
        elif isinstance(message, LogicalMessage) and message.prefix == DDL:
            transactions[-1][0].append(bytes(message.content))
        elif isinstance(message, LogicalMessage) and message.prefix == ROWS:
            rows = parse_rows(bytes(message.content), secret)
            assert isinstance(rows, RowsMessage)
            transactions[-1][1].append(rows)
    return [
        (item, rows) for contents, rows in transactions for item in parse_messages(contents, secret)
    ]


def only(conn: psycopg.Connection) -> CapturedCommand:
    """Return the one command that there is."""
    [command] = commands(conn)
    assert isinstance(command, CapturedCommand), command
    assert command.problem is None
    return command
