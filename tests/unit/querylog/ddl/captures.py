"""Captured commands, as short as a test can say them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from include.respaldo.model.schema_change import (
    Caller,
    CapturedCommand,
    DroppedObject,
    ObjectAddress,
    TouchedObject,
)

START = datetime(2026, 3, 1, 11, 30, tzinfo=UTC)


def at(second: int) -> datetime:
    return START + timedelta(seconds=second)


def address(type_: str, name: str, args: Sequence[str] = ()) -> ObjectAddress:
    """Return the address of `a.b.c`; a type's name is one text."""
    names = (name,) if type_ == "type" else tuple(filter(None, name.split(".")))
    return ObjectAddress(type_, names, tuple(args))


def touched(
    type_: str,
    name: str,
    tag: str,
    *,
    oid: int = 0,
    in_extension: bool = False,
    args: Sequence[str] = (),
) -> TouchedObject:
    """Return an object; its oid comes from its name unless given."""
    number = oid or int(hashlib.sha256(name.encode()).hexdigest()[:6], 16)
    return TouchedObject(
        address=address(type_, name, args),
        identity=name,
        schema=name.split(".", maxsplit=1)[0],
        tag=tag,
        in_extension=in_extension,
        oid=number,
        catalog="pg_class" if type_ != "type" else "pg_type",
        fingerprint=f"{name} {tag}",
    )


def dropped(
    type_: str,
    name: str,
    *,
    original: bool = True,
    temporary: bool = False,
    args: Sequence[str] = (),
) -> DroppedObject:
    return DroppedObject(
        address(type_, name, args), name, name.split(".", maxsplit=1)[0], original, temporary
    )


def caller(role: str = "app", **settings: str) -> Caller:
    return Caller(role, role, tuple({"search_path": "public", **settings}.items()))


def command(
    tag: str,
    query: str | None,
    *objects: tuple[str, str] | TouchedObject,
    second: int = 0,
    settings: dict[str, str] | None = None,
    **more: Any,
) -> CapturedCommand:
    """Return a command that touched the objects, given as (type, name)."""
    return CapturedCommand(
        tag=tag,
        query=query,
        context=more.pop("context", ""),
        caller=caller(**(settings or {})),
        statement_at=at(second),
        objects=tuple(o if isinstance(o, TouchedObject) else touched(*o, tag) for o in objects),
        **more,
    )


def table(query: str, name: str = "public.a", tag: str = "CREATE TABLE", **more: Any) -> Any:
    """Return a command on one table."""
    return command(tag, query, ("table", name), **more)
