"""The messages that the capture writes: bytes in, captured commands out.

Their form is in docs/FORMAT.md, "Schema changes". Anybody may write a logical message, so each
carries a seal made with a secret of the database; what has no right seal is never carried out, and
neither can it be ignored: it may stand for a message that was tampered with.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from include.respaldo.model.moments import parse_iso
from include.respaldo.model.schema_change import (
    Caller,
    CapturedCommand,
    CreatedTable,
    DroppedObject,
    FailedCapture,
    MissingValue,
    ObjectAddress,
    Rewrite,
    RewrittenRows,
    TouchedObject,
)
from include.respaldo.model.segment import ColumnDefinition, RelationDefinition
from include.respaldo.model.snapshot import Snapshot

_SEAL_LENGTH: Final = 64
_UNKNOWN: Final = "schema change"
#: what reading a message that is not of the agreed form may raise
_MALFORMED: Final = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


class _Refused(ValueError):
    """The message was not written by the capture."""


@dataclass(frozen=True)
class RowsMessage:
    """Rows of a table that a command wrote anew, as they are after it."""

    relation: RelationDefinition
    #: the table's rows before it are gone
    first: bool
    #: text of each column in PostgreSQL's own form; None is null
    rows: tuple[tuple[bytes | None, ...], ...]


def seal(body: bytes, secret: str) -> bytes:
    """Return the message: 64 hexadecimal digits, a newline, the body."""
    return _digest(body, secret).encode() + b"\n" + body


def parse_messages(
    contents: Iterable[bytes], secret: str | None
) -> list[CapturedCommand | FailedCapture]:
    """Return what the messages of one transaction say, in their order.

    :param contents: of all its ``respaldo.ddl`` messages, in the order of the log.
    :param secret: None: the seals were checked before.
    """
    return [item for _, item in parse_messages_at(contents, secret)]


def parse_messages_at(
    contents: Iterable[bytes], secret: str | None
) -> list[tuple[int, CapturedCommand | FailedCapture]]:
    """Return the same as `parse_messages`, each with the index of the message that completed it."""
    reader = _Transaction()
    found: list[tuple[int, CapturedCommand | FailedCapture]] = []
    index = -1
    for index, content in enumerate(contents):
        try:
            item = reader.read(_opened(content, secret))
        except _MALFORMED as e:
            item = FailedCapture(_UNKNOWN, _reason(e))
        if item is not None:
            found.append((index, item))
    found += [(index, item) for item in reader.left_over()]
    return found


def parse_rows(content: bytes, secret: str | None) -> RowsMessage | FailedCapture:
    """Return what a ``respaldo.rows`` message says.

    :param secret: None: the seal was checked before.
    """
    try:
        body = _opened(content, secret)
        relation = _relation(body["relation"])
        width = len(relation.columns)
        rows = tuple(
            tuple(None if value is None else _text(value).encode() for value in row)
            for row in body["rows"]
        )
        if any(len(row) != width for row in rows):
            raise _Refused(f"a row of {relation.schema}.{relation.name} has not {width} values")
        return RowsMessage(relation, _flag(body["first"]), rows)
    except _MALFORMED as e:
        return FailedCapture("rewritten rows", _reason(e))


def _digest(body: bytes, secret: str) -> str:
    key = secret.encode()
    return hashlib.sha256(key + hashlib.sha256(key + body).digest()).hexdigest()


def _opened(content: bytes, secret: str | None) -> dict[str, Any]:
    found, body = content[:_SEAL_LENGTH], content[_SEAL_LENGTH + 1 :]
    if content[_SEAL_LENGTH : _SEAL_LENGTH + 1] != b"\n":
        raise _Refused("a message without a seal")
    if secret is not None and not hmac.compare_digest(found, _digest(body, secret).encode()):
        raise _Refused("a message whose seal is not the capture's")
    value = json.loads(body)
    if not isinstance(value, dict):
        raise _Refused("a message that is no object")
    return value


def _reason(error: BaseException) -> str:
    if isinstance(error, _Refused):
        return str(error)
    # never the content itself: it may hold a customer's data
    return f"a message that is not of the agreed form ({type(error).__name__})"


class _Transaction:
    """What is known of a transaction so far: query texts, and parts that wait for their command."""

    def __init__(self) -> None:
        self._queries: dict[str, str | None] = {}
        self._drops: list[tuple[str, tuple[DroppedObject, ...]]] = []
        self._rewrites: list[Rewrite] = []

    def read(self, body: dict[str, Any]) -> CapturedCommand | FailedCapture | None:
        """Take one message in; return what it completes.

        :raises ValueError, KeyError, TypeError, AttributeError: it is not of the agreed form.
        """
        kind = body["kind"]
        if kind == "command":
            return self._command(body)
        if kind == "drop":
            self._drops.append((_text(body["tag"]), _dropped(body)))
            return None
        if kind == "rewrite":
            self._rewrites += [
                Rewrite(
                    _text(t["schema"]),
                    _text(t["table"]),
                    _number(t["reason"]),
                    RewrittenRows(t["rows"]),
                )
                for t in body["tables"]
            ]
            return None
        if kind == "failed":
            return FailedCapture(_text(body["tag"]), _text(body["error"]))
        raise _Refused("a message of an unknown kind")

    def left_over(self) -> Iterable[FailedCapture]:
        """Return the parts whose command did not come."""
        for tag, _ in self._drops:
            yield FailedCapture(tag, "it dropped something, and did not say that it ended")
        for rewrite in self._rewrites:
            yield FailedCapture(
                "rewrite of " + rewrite.table, "its command did not say that it ended"
            )

    def _command(self, body: dict[str, Any]) -> CapturedCommand:
        query_id = _text(body["query_id"])
        if "query" in body:
            self._queries[query_id] = _text_or_none(body["query"])
        tag = _text(body["tag"])
        rewritten, self._rewrites = tuple(self._rewrites), []
        return CapturedCommand(
            tag=tag,
            query=self._queries.get(query_id),
            context=_text(body.get("context") or ""),
            caller=_caller(body["caller"]),
            statement_at=parse_iso(_text(body["statement_at"])),
            objects=tuple(_touched(o) for o in body.get("objects") or ()),
            snapshot=_snapshot(body["caller"].get("snapshot")),
            dropped=self._drops_of(tag),
            rewritten=rewritten,
            missing_values=tuple(
                MissingValue(
                    _text(m["schema"]),
                    _text(m["table"]),
                    _text(m["column"]),
                    _text_or_none(m["value"]),
                )
                for m in body.get("missing") or ()
            ),
            created=tuple(_created(t) for t in body.get("created") or ()),
            source=_text_or_none(body.get("source")),
            problem=_text_or_none(body.get("problem")),
        )

    def _drops_of(self, tag: str) -> tuple[DroppedObject, ...]:
        """Take what the command dropped: the last that waits with its tag.

        A command that an event trigger runs while another drops ends before it, so what the outer
        one dropped may have to wait.
        """
        for i in reversed(range(len(self._drops))):
            if self._drops[i][0] == tag:
                return self._drops.pop(i)[1]
        return ()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # half of a surrogate pair is no text
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _number(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)  # PostgreSQL writes an oid as a text
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _texts(values: Iterable[object] | None) -> tuple[str, ...]:
    if isinstance(values, str):
        raise TypeError
    return tuple(_text(v) for v in values or ())


def _address(item: dict[str, Any]) -> ObjectAddress:
    return ObjectAddress(_text(item["type"]), _texts(item.get("names")), _texts(item.get("args")))


def _touched(item: dict[str, Any]) -> TouchedObject:
    # grants and default privileges name no object: PostgreSQL tells only their kind
    return TouchedObject(
        address=_address(item),
        identity=_text(item.get("identity") or ""),
        schema=_text_or_none(item.get("schema")),
        tag=_text(item["tag"]),
        in_extension=_flag(item["in_extension"]),
        oid=_number(item.get("oid") or 0),
        catalog=_text(item.get("catalog") or ""),
        fingerprint=_text_or_none(item.get("fingerprint")),
    )


def _dropped(body: dict[str, Any]) -> tuple[DroppedObject, ...]:
    return tuple(
        DroppedObject(
            address=_address(item),
            identity=_text(item.get("identity") or ""),
            schema=_text_or_none(item.get("schema")),
            original=_flag(item["original"]),
            temporary=_flag(item["temporary"]),
        )
        for item in body["objects"]
    )


def _created(item: dict[str, Any]) -> CreatedTable:
    return CreatedTable(
        schema=_text(item["schema"]),
        table=_text(item["table"]),
        oid=_number(item["oid"]),
        persistence=_text(item["persistence"]),
        access_method=_text(item["access_method"]),
        tablespace=_text_or_none(item.get("tablespace")),
        options=_texts(item.get("options")),
        columns=tuple(
            (_text(name), _text(type_), _text_or_none(collation))
            for name, type_, collation in item["columns"]
        ),
    )


def _relation(item: dict[str, Any]) -> RelationDefinition:
    return RelationDefinition(
        oid=_number(item["oid"]),
        schema=_text(item["schema"]),
        name=_text(item["name"]),
        replica_identity=_text(item["replica_identity"]),
        columns=tuple(
            ColumnDefinition(_text(name), _number(type_oid), _number(modifier), _flag(is_key))
            for name, type_oid, modifier, is_key in item["columns"]
        ),
    )


def _snapshot(item: object) -> Snapshot | None:
    return None if item is None else Snapshot.parse(_text(item))


def _caller(item: dict[str, Any]) -> Caller:
    settings = item.get("settings") or {}
    return Caller(
        role=_text(item["role"]),
        session=_text(item["session"]),
        # a setting that the server does not have is null
        settings=tuple((_text(k), _text(v)) for k, v in settings.items() if v is not None),
    )
