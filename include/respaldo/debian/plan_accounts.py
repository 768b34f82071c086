"""Plan a rebuild's accounts: users and groups with their ids, and the keys that open them."""

from __future__ import annotations

from collections.abc import Iterator

from include.respaldo.debian.answers import key_of
from include.respaldo.debian.description import Description, User
from include.respaldo.debian.rebuild import Action, LeftOut, Phase, Verb

#: ids of people, as adduser gives them; others belong to packages and to the system
_FIRST, _LAST = 1000, 59_999


def is_personal(number: int) -> bool:
    """Return whether an id is one of those that people get."""
    return _FIRST <= number <= _LAST


def refuse_accounts(lost: Description, now: Description) -> Iterator[str]:
    """Yield the accounts of people whose id the target cannot give them, by name."""
    for group in lost.groups:
        here, taken = now.group.get(group.name), now.group_names.get(group.gid)
        if not is_personal(group.gid):
            continue
        if here is not None and here.gid != group.gid:
            yield f"group {group.name!r} has id {group.gid}; the target has it with id {here.gid}"
        elif here is None and taken is not None:
            yield f"group {group.name!r} has id {group.gid}, which is {taken!r} on the target"
    for user in lost.users:
        known, owner = now.user.get(user.name), now.user_names.get(user.uid)
        if not is_personal(user.uid):
            continue
        if known is not None and known.uid != user.uid:
            yield f"user {user.name!r} has id {user.uid}; the target has it with id {known.uid}"
        elif known is None and owner is not None:
            yield f"user {user.name!r} has id {user.uid}, which is {owner!r} on the target"


def plan_accounts(lost: Description, now: Description) -> Iterator[Action | LeftOut]:
    """Yield what makes the target's accounts those of the lost host; none of its own goes."""
    phase = Phase.ACCOUNTS
    for group in lost.groups:
        here = now.group.get(group.name)
        if here is None:
            free = group.gid not in now.group_names
            why = "the lost host has it" if free else f"id {group.gid} is taken on the target"
            yield Action(phase, Verb.ADD_GROUP, group.name, why, str(group.gid) if free else "")
        elif here.gid != group.gid:
            yield LeftOut(f"group {group.name} ({here.gid}, lost: {group.gid})", _OTHER_ID)
    for user in lost.users:
        known = now.user.get(user.name)
        if known is None:
            free = user.uid not in now.user_names
            why = "the lost host has it" if free else f"id {user.uid} is taken on the target"
            yield Action(phase, Verb.ADD_USER, user.name, why, str(user.uid) if free else "")
        else:
            if known.uid != user.uid:
                yield LeftOut(f"user {user.name} ({known.uid}, lost: {user.uid})", _OTHER_ID)
            what = _what_differs(user, known, lost, now)
            if what:
                yield Action(phase, Verb.CHANGE_USER, user.name, f"differs in {', '.join(what)}")
        yield from _password(user, known)
    for group in lost.groups:
        here = now.group.get(group.name)
        for member in group.members:
            if member in lost.user and (here is None or member not in here.members):
                yield Action(
                    phase, Verb.ADD_MEMBER, member, "so it was on the lost host", group.name
                )


_OTHER_ID = "an account of the system that has another id here: files go by its name"


def _what_differs(user: User, here: User, lost: Description, now: Description) -> list[str]:
    group = lost.group_names.get(user.gid)
    here_group = now.group_names.get(here.gid)
    return [
        what
        for what, differs in (
            ("home", user.home != here.home),
            ("shell", user.shell != here.shell),
            ("comment", user.comment != here.comment),
            ("primary group", group is not None and group != here_group),
            ("ageing", bool(user.ageing and here.ageing) and user.ageing != here.ageing),
        )
        if differs
    ]


def _password(user: User, here: User | None) -> Iterator[Action | LeftOut]:
    if not user.password or (here is not None and here.password in {"", user.password}):
        return
    if user.password == "empty":  # noqa: S105 - a mark, no secret
        yield LeftOut(f"password of {user.name}", "it was empty: nobody is let in without one")
    elif here is not None or user.password != "locked":  # noqa: S105 - a new one is locked
        yield Action(Phase.ACCOUNTS, Verb.SET_PASSWORD, user.name, "not that of the lost host")


def plan_keys(lost: Description, now: Description) -> Iterator[Action]:
    """Yield the accounts that lack keys of the lost host; the target's own keys stay."""
    here = {user: {key_of(line) for line in lines} for user, lines in now.authorized_keys}
    for user, lines in lost.authorized_keys:
        lacking = [line for line in lines if key_of(line) not in here.get(user, set())]
        if lacking:
            yield Action(
                Phase.FILES,
                Verb.ADD_KEYS,
                user,
                f"{len(lacking)} keys opened it on the lost host, beside those that the target has",
            )
