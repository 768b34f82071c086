"""How a host differs from what it was: a report that people read, made of two descriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from include.respaldo.debian.description import Description, Group, HostFile, Package, User
from include.respaldo.debian.versions import compare_versions
from include.respaldo.model.file_tree import Kind, shown

T = TypeVar("T")

#: lines of one part that a report shows; the rest is counted
LINES_SHOWN = 200


@dataclass(frozen=True)
class Part:
    """One part of what a host is, and what changed in it."""

    title: str
    lines: tuple[str, ...]


def changes(before: Description, after: Description) -> tuple[Part, ...]:
    """Return the parts in which two descriptions of a host differ; empty: in none.

    What could not be asked on one of the two days is left out, and said.
    """
    unasked = {part for part, _ in (*before.missing, *after.missing)}
    found = [Part("system", tuple(_system(before, after)))]
    for title, needs, lines in (
        ("repositories", "repositories", _repositories(before, after)),
        ("packages", "packages", _packages(before, after)),
        ("conffiles", "conffiles", _conffiles(before, after)),
        ("users", "users", _users(before, after)),
        ("groups", "groups", _groups(before, after)),
        ("keys that open accounts", "authorized keys", _keys(before, after)),
        ("units and timers", "units", _map(before.unit, after.unit, lambda s: s)),
        ("mounts", "mounts", _lines(before.mounts, after.mounts)),
        ("firewall", "firewall", _firewall(before, after)),
        ("files", "files", _files(before, after)),
    ):
        if needs not in unasked:
            found.append(Part(title, tuple(lines)))
    found.append(Part("could not be asked", tuple(_missing(before, after))))
    return tuple(part for part in found if part.lines)


def report(before: Description | None, after: Description, since: str = "") -> str:
    """Return the report for people, in Markdown.

    :param since: which backup `before` is of.
    """
    if before is None:
        return f"# {after.name}\n\n{summary(after)}\n\nNo earlier backup to compare with.\n"
    parts = changes(before, after)
    what = f"# {after.name}: what changed" + (f" since {since}" if since else "")
    if not parts:
        return f"{what}\n\nNothing.\n"
    text = [what]
    for part in parts:
        lines = [f"- {line}" for line in part.lines[:LINES_SHOWN]]
        if len(part.lines) > LINES_SHOWN:
            lines.append(f"- … and {len(part.lines) - LINES_SHOWN} more")
        text.append("\n".join([f"## {part.title.capitalize()}", "", *lines]))
    return "\n\n".join(text) + "\n"


def summary(host: Description) -> str:
    """Return one line for people: what the host is, in numbers."""
    changed = sum(c.standing != "intact" for c in host.conffiles)
    enabled = sum(u.state == "enabled" for u in host.units)
    return (
        f"{host.title}: {len(host.packages)} packages "
        f"({sum(p.asked_for for p in host.packages)} asked for), {changed} conffiles changed, "
        f"{len(host.users)} users, {enabled} units enabled, "
        f"{sum(f.kind is Kind.FILE for f in host.files)} files"
    )


def brief(parts: Iterable[Part]) -> str:
    """Return one line for people: ``packages 3, users 1``."""
    return ", ".join(f"{p.title} {len(p.lines)}" for p in parts) or "nothing changed"


def _map(
    before: Mapping[str, T], after: Mapping[str, T], text: Callable[[T], str]
) -> Iterator[str]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old is None and new is not None:
            yield f"{shown(name)}: added ({text(new)})"
        elif new is None and old is not None:
            yield f"{shown(name)}: removed (was {text(old)})"
        elif old is not None and new is not None and text(old) != text(new):
            yield f"{shown(name)}: {text(old)} → {text(new)}"


def _lines(before: Iterable[str], after: Iterable[str]) -> Iterator[str]:
    old, new = set(before), set(after)
    yield from (f"removed: {shown(line)}" for line in sorted(old - new))
    yield from (f"added: {shown(line)}" for line in sorted(new - old))


def _system(before: Description, after: Description) -> Iterator[str]:
    for what, old, new in (
        ("name", before.name, after.name),
        ("release", before.title, after.title),
        ("kernel", before.kernel, after.kernel),
        ("machine-id", before.machine_id, after.machine_id),
    ):
        if old != new:
            yield f"{what}: {shown(old)} → {shown(new)}"


def _repositories(before: Description, after: Description) -> Iterator[str]:
    return _lines(
        (f"{r.line} ({r.file})" for r in before.repositories),
        (f"{r.line} ({r.file})" for r in after.repositories),
    )


def _packages(before: Description, after: Description) -> Iterator[str]:
    for name in sorted({*before.package, *after.package}):
        old, new = before.package.get(name), after.package.get(name)
        if new is None and old is not None:
            yield f"{name}: removed (was {old.version})"
        elif old is None and new is not None:
            why = "asked for" if new.asked_for else "for another package"
            yield f"{name}: installed, {new.version} ({why})"
        elif old is not None and new is not None and old != new:
            yield f"{name}: {', '.join(_package(old, new))}"


def _package(old: Package, new: Package) -> Iterator[str]:
    if old.version != new.version:
        newer = compare_versions(old.version, new.version) < 0
        yield f"{'upgraded' if newer else 'downgraded'}, {old.version} → {new.version}"
    if old.asked_for != new.asked_for:
        yield "asked for now" if new.asked_for else "not asked for any more"
    if old.held != new.held:
        yield "put on hold" if new.held else "taken off hold"


def _conffiles(before: Description, after: Description) -> Iterator[str]:
    def standings(host: Description) -> dict[str, str]:
        return {c.path: f"{c.standing.value}, of {c.package}" for c in host.conffiles}

    old, new = standings(before), standings(after)
    for path in sorted(old.keys() & new.keys()):
        if old[path] != new[path]:
            yield f"{shown(path)}: {old[path]} → {new[path]}"
    for path in sorted(new.keys() - old.keys()):  # a new package's are in its line
        if not new[path].startswith("intact"):
            yield f"{shown(path)}: {new[path]}"


def _users(before: Description, after: Description) -> Iterator[str]:
    def line(user: User) -> str:
        return f"id {user.uid}, group {user.gid}, {user.home}, {user.shell}"

    yield from (shown(text) for text in _map(before.user, after.user, line))
    for name in sorted(before.user.keys() & after.user.keys()):
        old, new = before.user[name], after.user[name]
        if old.password != new.password and old.password and new.password:
            yield f"{name}: {_password(old.password, new.password)}"
        if old.ageing != new.ageing and old.ageing and new.ageing:
            yield f"{name}: how long its password lasts"
        if old.comment != new.comment:
            yield f"{name}: {shown(old.comment)!r} → {shown(new.comment)!r}"


def _password(old: str, new: str) -> str:
    if new in {"locked", "empty"}:
        return f"password {'locked' if new == 'locked' else 'removed: it is empty now'}"
    return "password set" if old in {"locked", "empty"} else "password changed"


def _groups(before: Description, after: Description) -> Iterator[str]:
    def line(group: Group) -> str:
        members = ", ".join(group.members)
        return f"id {group.gid}" + (f", members {members}" if members else "")

    return _map(before.group, after.group, line)


def _keys(before: Description, after: Description) -> Iterator[str]:
    # only the end of a line: its comment says whose it is
    def lines(host: Description) -> set[str]:
        return {f"{user}: …{line[-40:]}" for user, lines in host.authorized_keys for line in lines}

    return _lines(lines(before), lines(after))


def _firewall(before: Description, after: Description) -> Iterator[str]:
    old, new = dict(before.firewall), dict(after.firewall)
    for tool in sorted({*old, *new}):
        for line in _lines(old.get(tool, "").splitlines(), new.get(tool, "").splitlines()):
            yield f"{tool}: {line}"


def _files(before: Description, after: Description) -> Iterator[str]:
    for path in sorted({*before.file, *after.file}):
        old, new = before.file.get(path), after.file.get(path)
        if old is None and new is not None:
            yield f"{shown(path)}: added"
        elif new is None and old is not None:
            yield f"{shown(path)}: removed"
        elif old is not None and new is not None:
            what = list(_file(old, new, before, after))
            if what:
                yield f"{shown(path)}: {', '.join(what)}"


def _file(old: HostFile, new: HostFile, before: Description, after: Description) -> Iterator[str]:
    if old.kind is not new.kind:
        yield f"{old.kind.value} → {new.kind.value}"
        return
    if old.sha256 != new.sha256:
        yield "content"
    if old.target != new.target:
        yield f"{shown(old.target)} → {shown(new.target)}"
    if old.mode != new.mode and old.kind is not Kind.LINK:
        yield f"mode {old.mode:04o} → {new.mode:04o}"
    owners = [
        f"{host.user_names.get(f.uid, str(f.uid))}:{host.group_names.get(f.gid, str(f.gid))}"
        for host, f in ((before, old), (after, new))
    ]
    if owners[0] != owners[1]:
        yield f"owner {owners[0]} → {owners[1]}"


def _missing(before: Description, after: Description) -> Iterator[str]:
    # said every day it is so for what a host is expected to have, else when it changes
    old = dict(before.missing)
    for part, why in after.missing:
        if old.get(part) != why:
            yield f"{part}: {why}"
