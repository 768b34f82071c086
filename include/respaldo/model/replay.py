"""What set-based reduction hands to a database: the last state of each row, a table at a time.

All CSV files: UTF-8, no header, comma, every value that is not null in double quotes, null an
unquoted nothing; so PostgreSQL's ``COPY … (FORMAT csv)`` reads them as they are. Values are
PostgreSQL's text form.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from include.respaldo.model.lsn import Lsn
from include.respaldo.model.schema_change import ReplayCommand
from include.respaldo.model.segment import RelationDefinition


@dataclass(frozen=True)
class KeyedStretch:
    """The net effect of many changes on a table with a key, one row a key.

    A key stands in one of the files, once. Deletes and updates name rows that are in the table
    before the stretch, inserts rows that are not; they are carried out in this order.
    """

    deletes: int
    updates: int
    inserts: int
    #: the key's columns, in the order of the relation's key positions; None: no deletes
    deleted: Path | None
    #: positions (from 0, joined by ``;``) of columns whose value was never sent (unchanged TOAST:
    #: the table's own value stays), then every column of the relation; None: no updates
    updated: Path | None
    #: every column of the relation; None: no inserts
    inserted: Path | None
    #: some update has unsent columns
    has_unsent: bool
    #: rows whose keys are near to each other are so in the files
    in_key_order: bool = False


@dataclass(frozen=True)
class MovesStretch:
    """Changes of a key over unchanged TOAST values, to be carried out one after the other.

    CSV columns: unsent positions, every column of the old row (only its key is filled), every
    column of the new row.
    """

    csv: Path
    moves: int


@dataclass(frozen=True)
class RowsStretch:
    """The net effect on a table without a key, as a multiset of whole rows.

    Rows are equal when the text of all their values is. Removals come first.
    """

    #: copies, not rows of the files
    removed: int
    added: int
    #: how many copies go, then every column of the relation; None: none
    lessened: Path | None
    #: every column of the relation, a row for each copy; None: none, or there are no columns
    inserted: Path | None


@dataclass(frozen=True)
class TableReplay:
    """All that replay does to one table, in order."""

    relation: RelationDefinition
    #: the table was truncated: empty it first (what came before the last truncate is left out)
    truncate: bool
    stretches: tuple[KeyedStretch | MovesStretch | RowsStretch, ...]


@dataclass(frozen=True)
class SchemaReplay:
    """One schema change between the tables' stretches: to run before what follows."""

    command: ReplayCommand
    #: commit position and 32-bit id of its transaction
    lsn: Lsn
    xid: int
    #: time of the commit; None: not known
    at: datetime | None = None
    #: a later command of another transaction had begun by then
    is_overlapped: bool = False
    #: tables with rows under way at it whose values, if it changed their type, cannot be told
    overtaken: tuple[RelationDefinition, ...] = ()


@dataclass(frozen=True)
class Commit:
    """One commit of the log."""

    lsn: Lsn
    at: datetime
    #: 32-bit transaction id
    xid: int


@dataclass(frozen=True)
class Replayed:
    """How far a replay goes: the transactions that it holds, counted before it is applied."""

    transactions: int
    changes: int
    #: None: nothing to replay, the full backup is already the wanted state
    last: Commit | None
    #: the first commit left out (later than the target), where the log reaches that far
    next: Commit | None
