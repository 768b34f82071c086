"""Every mistake of a configuration, in words: where, what was found, what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from include.respaldo.config.lines import Place
from include.respaldo.config.schema import Config
from include.respaldo.config.trees import LOCAL

_KINDS = {
    "string_type": "a text",
    "int_type": "a whole number",
    "path_type": "a path",
    "tuple_type": "a list",
    "model_type": "a section with fields of its own",
    "model_attributes_type": "a section with fields of its own",
}


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong.

    :param place: path of the field, the file's root is ``()``.
    :param text: lower case, found and allowed.
    """

    place: Place
    text: str

    @property
    def field(self) -> str:
        """The path as people write it: ``servers[0].tenants``."""
        path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in self.place)
        return path.lstrip(".")


def from_pydantic(error: ValidationError) -> Iterator[Mistake]:
    """Yield a mistake for each of pydantic's errors."""
    for e in error.errors(include_url=False):
        place: Place = e["loc"]
        kind, context = e["type"], e.get("ctx", {})
        if kind == "extra_forbidden":
            yield Mistake(place, _unknown(place))
        elif kind == "missing":
            yield Mistake(place, "is missing")
        elif kind == "invalid_key":
            yield Mistake(place[:-1], "a field's name must be a text")
        else:
            allowed = _KINDS.get(kind) or _bounds(kind, context) or str(context.get("error", ""))
            value = _unshown(e["input"]) if place[-1:] == ("connection",) else shown(e["input"])
            yield Mistake(place, f"found {value}, allowed: {allowed or e['msg']}")


def contradictions(data: Any) -> Iterator[Mistake]:
    """Yield what is right by itself and wrong together; looks past values of the wrong type."""
    sections = data if isinstance(data, dict) else {}
    servers = list(_named(sections, "servers", "name"))
    names = list(dict.fromkeys(name for _, name in servers))
    yield from _twice("servers", "name", servers)

    system = sections.get("system_database")
    wanted = system.get("server") if isinstance(system, dict) else None
    if isinstance(wanted, str) and names and wanted not in names:
        yield Mistake(
            ("system_database", "server"),
            f"found {shown(wanted)}, allowed: one of the servers ({', '.join(names)})"
            + _did_you_mean(wanted, names),
        )

    vaults = sections.get("vaults")
    primary, replica = (
        (vaults.get("primary"), vaults.get("replica")) if isinstance(vaults, dict) else (None, None)
    )
    bucket = _bucket(replica)
    if bucket is not None and bucket == _bucket(primary):
        yield Mistake(
            ("vaults", "replica", "uri"),
            f"found bucket {shown(bucket[0])} through the connection of the primary vault, whose "
            "bucket it is; allowed: a bucket in another region",
        )
    yield from _of_trees(sections)


def _of_trees(sections: dict[str, Any]) -> Iterator[Mistake]:
    """Yield the contradictions between hosts and what is kept of them."""
    hosts = list(_named(sections, "hosts", "name"))
    known = [name for _, name in hosts]
    yield from _twice("hosts", "name", hosts)
    for i, name in hosts:
        if name == LOCAL:
            yield Mistake(
                ("hosts", i, "name"),
                f"found {shown(name)}, which keys call the machine that tasks run on; "
                "allowed: another name",
            )
    for section in ("files", "applications", "server_configuration"):
        for i, name in _named(sections, section, "host"):
            if name not in known:
                yield Mistake(
                    (section, i, "host"),
                    f"found {shown(name)}, allowed: one of the hosts ({', '.join(known) or 'none'})"
                    + _did_you_mean(name, known),
                )
    yield from _twice(
        "server_configuration", "host", list(_named(sections, "server_configuration", "host"))
    )
    for section in ("files", "applications"):
        first: dict[tuple[str, str], int] = {}
        for i, name in _named(sections, section, "name"):
            tree = sections[section][i]
            place = tree.get("host") or (tree.get("connection") if "bucket" in tree else LOCAL)
            if not isinstance(place, str):
                continue
            if (place, name) in first:
                yield Mistake(
                    (section, i, "name"),
                    f"found {shown(name)}, which {section}[{first[place, name]}] of {place} is "
                    "named already; allowed: a name of its own",
                )
            first.setdefault((place, name), i)
    kept = [s for s in ("files", "applications", "server_configuration") if sections.get(s)]
    if kept and not sections.get("repository"):
        yield Mistake(
            (kept[0],),
            "is kept in an encrypted repository; also needed: repository: {connection: …}, "
            "whose password encrypts it",
        )


def _named(sections: dict[str, Any], section: str, field: str) -> Iterator[tuple[int, str]]:
    """Yield the place in its list and the name of each part of a section that says it."""
    parts = sections.get(section)
    for i, part in enumerate(parts if isinstance(parts, list) else []):
        name = part.get(field) if isinstance(part, dict) else None
        if isinstance(name, str):
            yield i, name


def _twice(section: str, field: str, named: list[tuple[int, str]]) -> Iterator[Mistake]:
    first: dict[str, int] = {}
    for i, name in named:
        if name in first:
            yield Mistake(
                (section, i, field),
                f"found {shown(name)}, which {section}[{first[name]}] is named already; "
                "allowed: a name of its own",
            )
        first.setdefault(name, i)


def _bucket(vault: Any) -> tuple[str, str] | None:
    if not isinstance(vault, dict):
        return None
    uri, connection = vault.get("uri"), vault.get("connection")
    if not isinstance(uri, str) or not isinstance(connection, str):
        return None
    return urlsplit(uri).netloc, connection


def shown(value: Any) -> str:
    """Return a value for a message: short, and without what could be a secret."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, (list, tuple)):
        return "an empty list" if not value else "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    text = re.sub(r"://.*@", "://…@", text)
    return text if len(text) <= 80 else text[:79] + "…"


def _unshown(value: Any) -> str:
    """Return the kind of a value only: a connection written out in full holds a password."""
    return "a text that is no id (not shown)" if isinstance(value, str) else shown(value)


def _bounds(kind: str, context: dict[str, Any]) -> str:
    if kind == "greater_than_equal":
        return f"{context['ge']} or more"
    if kind == "less_than_equal":
        return f"{context['le']} or less"
    return ""


def _unknown(place: Place) -> str:
    """Say that a field does not exist, and which it may have been; its value is not shown."""
    fields = _fields_at(place[:-1])
    guess = _did_you_mean(str(place[-1]), fields)
    return f"there is no such field, allowed: {', '.join(fields)}{guess}"


def _did_you_mean(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _fields_at(place: Place) -> list[str]:
    model: type[BaseModel] = Config
    for step in place:
        if isinstance(step, str):
            inner = _model_in(model.model_fields[step].annotation)
            if inner is None:
                return []
            model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in get_args(annotation) if (m := _model_in(a)) is not None), None)
