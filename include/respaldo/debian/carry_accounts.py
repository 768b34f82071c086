"""Make users and groups on the target; no password's hash is ever an argument of a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from include.respaldo.debian.answers import key_of
from include.respaldo.debian.asking import Runner, run
from include.respaldo.debian.description import Description, User
from include.respaldo.debian.plan_accounts import is_personal
from include.respaldo.debian.rebuild import Action, Verb

_KEYS = """\
set -e
umask 077
folder="$1/.ssh" file="$1/.ssh/authorized_keys"
[ -d "$1" ] || { echo "there is no home $1" >&2; exit 1; }
[ -d "$folder" ] || { mkdir "$folder"; chown "$2:$3" "$folder"; }
[ -e "$file" ] || { : >"$file"; chown "$2:$3" "$file"; }
[ -z "$(tail -c 1 "$file")" ] || echo >>"$file"
cat >>"$file"
"""
#: options of chage(1) for the fields of /etc/shadow
_AGEING = ("--mindays", "--maxdays", "--warndays", "--inactive", "--expiredate")


def carry_out_accounts(
    host: Runner,
    actions: Sequence[Action],
    lost: Description,
    now: Description,
    shadow: Path,
) -> list[str]:
    """Do what the actions say of accounts; return what failed, for people.

    :param shadow: the lost host's /etc/shadow, here.
    """
    problems: list[str] = []
    passwords: list[str] = []
    for action in actions:
        if action.verb is Verb.SET_PASSWORD:
            passwords.append(action.subject)
            continue
        for command, given in _commands(action, lost, now):
            done = run(host, command, input=given)
            if done.returncode:
                said = done.said.strip() or f"it ended with {done.returncode}"
                problems.append(f"{action.verb.value} {action.subject}: {said}")
    return problems + _set_passwords(host, passwords, shadow)


def _set_passwords(host: Runner, names: Sequence[str], shadow: Path) -> list[str]:
    """Set all at once; chpasswd sets none where one cannot be set, so then one by one."""
    command = ["chpasswd", "--encrypted"]
    if not names or run(host, command, input=_secrets(shadow, set(names))).returncode == 0:
        return []
    return [
        f"set password of {name}"  # what chpasswd says may repeat the hash
        for name in names
        if run(host, command, input=_secrets(shadow, {name})).returncode
    ]


def _commands(
    action: Action, lost: Description, now: Description
) -> Iterator[tuple[list[str], bytes | None]]:
    name = action.subject
    if action.verb is Verb.ADD_GROUP:
        gid = ["--gid", action.argument] if action.argument else []
        system = [] if is_personal(lost.group[name].gid) else ["--system"]
        yield ["groupadd", *gid, *system, "--", name], None
    elif action.verb is Verb.ADD_USER:
        yield ["useradd", *_new_user(lost.user[name], action.argument, lost), "--", name], None
    elif action.verb is Verb.CHANGE_USER:
        yield from ((c, None) for c in _changes(lost.user[name], now.user[name], lost, now))
    elif action.verb is Verb.ADD_MEMBER:
        yield ["gpasswd", "--add", name, action.argument], None
    elif action.verb is Verb.ADD_KEYS and name in now.user:
        user = now.user[name]
        had = {key_of(line) for line in dict(now.authorized_keys).get(name, ())}
        lines = [ln for ln in dict(lost.authorized_keys)[name] if key_of(ln) not in had]
        text = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
        yield ["sh", "-c", _KEYS, "sh", user.home, str(user.uid), str(user.gid)], text


def _new_user(user: User, uid: str, lost: Description) -> Iterator[str]:
    if uid:
        yield from ("--uid", uid)
    yield from ("--gid", lost.group_names.get(user.gid, str(user.gid)))
    yield from ("--home-dir", user.home, "--shell", user.shell, "--comment", user.comment)
    yield from ("--no-user-group", "--no-log-init")
    yield from ("--create-home",) if is_personal(user.uid) else ("--system", "--no-create-home")


def _changes(user: User, here: User, lost: Description, now: Description) -> Iterator[list[str]]:
    options: list[str] = []
    for option, wanted, found in (
        ("--home", user.home, here.home),
        ("--shell", user.shell, here.shell),
        ("--comment", user.comment, here.comment),
    ):
        if wanted != found:
            options += (option, wanted)
    group = lost.group_names.get(user.gid)
    if group is not None and group != now.group_names.get(here.gid):
        options += ("--gid", group)
    if options:
        yield ["usermod", *options, "--", user.name]
    if user.ageing and user.ageing != here.ageing:
        fields = zip(_AGEING, user.ageing, strict=True)
        yield ["chage", *(w for o, value in fields for w in (o, value or "-1")), "--", user.name]


def _secrets(shadow: Path, names: set[str]) -> bytes:
    """Return what ``chpasswd --encrypted`` reads."""
    lines = []
    for line in shadow.read_bytes().splitlines():
        name, _, rest = line.partition(b":")
        if name.decode("utf-8", "surrogateescape") in names:
            lines.append(name + b":" + rest.partition(b":")[0] + b"\n")
    return b"".join(lines)
