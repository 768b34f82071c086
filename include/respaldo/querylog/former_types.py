"""Values that were written before their type was changed, and committed after that.

PostgreSQL changes a type without a lock on the tables that use it. Its decoder tells a value of a
composite type by its attributes in order, and one of an enum by its label, as it knows the type
when it comes to the row (its caches may be of another moment): so the same text may mean another
value. Nobody can tell which, so nobody replays it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import duckdb

from include.respaldo.errors import LogDiverged
from include.respaldo.model.replay import SchemaReplay
from include.respaldo.model.schema_change import ReplayCommand
from include.respaldo.model.segment import FIRST_OWN_OID, RelationDefinition
from include.respaldo.querylog.log_files import literal
from include.respaldo.querylog.segment import DDL_PREFIX

#: after which the same text may mean another value; a row type loses attributes with columns
_CHANGES_VALUES = re.compile(
    r"\s*alter\s+(type\b.*\b(drop\s+attribute|rename\s+value)|(foreign\s+)?table\b.*\bdrop)\b",
    re.IGNORECASE | re.DOTALL,
)


def with_overtaken(
    db: duckdb.DuckDBPyConnection,
    changes: Sequence[tuple[SchemaReplay, ...]],
    relations: Mapping[str, RelationDefinition],
) -> list[tuple[SchemaReplay, ...]]:
    """Return the same, with the tables whose values they may have changed meanwhile.

    :param db: has the view ``replayed``.
    """
    positions = {int(c.lsn) for here in changes for c in here if _changes_values(c.command)}
    if not positions:
        return list(changes)
    found = _overtaken(db, relations, positions)
    return [
        tuple(
            replace(c, overtaken=tuple(relations[key] for key in found.get(int(c.lsn), ())))
            if _changes_values(c.command)
            else c
            for c in here
        )
        for here in changes
    ]


def refuse_former_types(
    db: duckdb.DuckDBPyConnection,
    commands: Callable[[Sequence[bytes]], Sequence[Sequence[ReplayCommand]]],
    relations: Mapping[str, RelationDefinition],
) -> None:
    """Look for such values whose type the full backup has as it was changed.

    :param db: has the views ``log`` and ``replayed``.
    :raises LogDiverged: there are some.
    """
    seen = db.execute(
        f"""
        SELECT commit_lsn, list(content ORDER BY pos) FROM log
        WHERE prefix = {literal(DDL_PREFIX)} AND commit_lsn < (
            SELECT max(commit_lsn) FROM replayed WHERE lsn IS NOT NULL)
        AND commit_lsn NOT IN (SELECT commit_lsn FROM replayed)
        GROUP BY commit_lsn
        """  # noqa: S608 - a constant
    ).fetchall()
    positions = {lsn for lsn, contents in seen if _may_change_values(commands, contents)}
    for keys in _overtaken(db, relations, positions).values():
        table = relations[keys[0]]
        raise LogDiverged(
            f"{table.schema}.{table.name}: rows were written before a type was changed, which the "
            "full backup shows, and committed after that",
            hint="choose a moment before, or after the next full backup",
        )


def _changes_values(command: ReplayCommand) -> bool:
    return _CHANGES_VALUES.match(command.sql) is not None


def _may_change_values(
    commands: Callable[[Sequence[bytes]], Sequence[Sequence[ReplayCommand]]],
    contents: Sequence[bytes],
) -> bool:
    try:
        found = commands([bytes(content) for content in contents])
    except LogDiverged:
        return False  # the full backup has come after it: that was a barrier
    return any(_changes_values(command) for here in found for command in here)


def _overtaken(
    db: duckdb.DuckDBPyConnection,
    relations: Mapping[str, RelationDefinition],
    positions: set[int],
) -> dict[int, list[str]]:
    """Return the tables of which rows were written before a position, and committed after it."""
    own = [
        key
        for key, definition in relations.items()
        if any(column.type_oid >= FIRST_OWN_OID for column in definition.columns)
    ]
    if not (positions and own):
        return {}
    rows = db.execute(
        """
        SELECT p.lsn, list(DISTINCT r.relation)
        FROM (SELECT relation, commit_lsn, min(lsn) AS lsn FROM replayed
              WHERE lsn IS NOT NULL AND list_contains(?, relation) GROUP BY ALL) r
        JOIN (SELECT unnest(?)::UBIGINT AS lsn) p ON p.lsn > r.lsn AND p.lsn < r.commit_lsn
        GROUP BY p.lsn ORDER BY p.lsn
        """,
        [own, sorted(positions)],
    ).fetchall()
    return {lsn: sorted(keys) for lsn, keys in rows}
