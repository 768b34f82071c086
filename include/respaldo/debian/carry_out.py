"""Carry out a rebuild's actions on the target; what fails is said, and left for the next run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from include.respaldo.debian.asking import (
    BEFORE,
    HOST_KEYS_READY,
    REBUILD_FOLDER,
    Runner,
    records,
    run,
)
from include.respaldo.debian.bundle import put_files
from include.respaldo.debian.carry_accounts import carry_out_accounts
from include.respaldo.debian.description import Description, HostFile, Package, Target
from include.respaldo.debian.kept_back import FIREWALL_UNITS, unit_kept_back
from include.respaldo.debian.plan_files import OwnerMap
from include.respaldo.debian.rebuild import Action, Verb
from include.respaldo.errors import ToolFailed
from include.respaldo.model.file_tree import Kind

_LONG = 3600.0
_APT = (
    *("apt-get", "--yes", "--quiet", "--no-install-recommends", "--fix-broken"),
    "--allow-change-held-packages",
    *("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"),
    *("-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"),
    "install",
)
_FOLDER = 'umask 077 && mkdir -p "$1"'
_REMEMBER = 'umask 077 && mkdir -p "$1" && cat >"$2.partial" && mv -f "$2.partial" "$2"'
_REMOVE = """\
for path do
  if [ -d "$path" ] && [ ! -L "$path" ]; then rmdir -- "$path"; else rm -f -- "$path"; fi
done
"""
_NAME = """\
printf '%s\\n' "$1" >/etc/hostname
getent hosts "$1" >/dev/null || printf '127.0.1.1\\t%s\\n' "$1" >>/etc/hosts
[ ! -d /run/systemd/system ] || hostname "$1"
"""
#: what files and units need to count; where the host runs, not where it is only a folder
_AFTERWARDS = """\
[ ! -d /usr/local/share/ca-certificates ] || ! command -v update-ca-certificates >/dev/null ||
  update-ca-certificates >/dev/null
[ ! -s /etc/locale.gen ] || ! command -v locale-gen >/dev/null || locale-gen >/dev/null
[ ! -e /etc/aliases ] || ! command -v newaliases >/dev/null || newaliases
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
sysctl --quiet --system >/dev/null
"""
_RESTART = "[ -d /run/systemd/system ] || exit 0; xargs -0 -r -n 1 systemctl reload-or-restart --"

Say = Callable[[str], None]


class Builder:
    """One rebuild at work.

    :param tree: where the lost host's files lie here.
    :param scratch: a private folder.
    """

    def __init__(
        self, host: Runner, lost: Description, tree: Path, scratch: Path, say: Say
    ) -> None:
        self.host, self.lost, self.tree, self.scratch, self.say = host, lost, tree, scratch, say
        #: what failed, for people
        self.problems: list[str] = []

    def begin(self, target: Target) -> None:
        """Remember what the target had of its own before anything is done."""
        if target.before is None:
            paths = records(f.path for f in target.now.files)
            self._do(
                "remember what was there",
                ["sh", "-c", _REMEMBER, "sh", REBUILD_FOLDER, BEFORE],
                paths,
                fatal=True,
            )

    def end(self) -> None:
        """Forget what is only needed while a rebuild is under way."""
        self._do("clear away", ["rm", "-rf", REBUILD_FOLDER])

    def carry_out(self, actions: Sequence[Action], now: Description) -> None:
        """Do the actions of one phase.

        :param now: what the target is.
        :raises HostUnreachable: the connection was lost; a rebuild again goes on.
        """
        by_verb: dict[Verb, list[Action]] = {}
        for action in actions:
            by_verb.setdefault(action.verb, []).append(action)
        for action in by_verb.get(Verb.ADD_ARCHITECTURE, ()):
            self._do(action.text, ["dpkg", "--add-architecture", action.subject])
        self.problems += carry_out_accounts(
            self.host, actions, self.lost, now, self.tree / "etc" / "shadow"
        )
        self._put(by_verb.get(Verb.PUT, ()), now)
        self._remove([a.subject for a in by_verb.get(Verb.REMOVE, ())])
        if Verb.UPDATE in by_verb:
            self._do("read the repositories", ["apt-get", "--quiet", "update"])
        if Verb.INSTALL in by_verb:
            self._install(by_verb[Verb.INSTALL])
        for verb in (Verb.MARK, Verb.HOLD):
            for mark in sorted({a.argument for a in by_verb.get(verb, ())}):
                names = [a.subject for a in by_verb[verb] if a.argument == mark]
                self._each(f"mark as {mark}", ["apt-mark", mark], names)
        for action in by_verb.get(Verb.SET_NAME, ()):
            self._do(action.text, ["sh", "-c", _NAME, "sh", action.subject])
        for verb in (Verb.UNMASK, Verb.ENABLE, Verb.DISABLE, Verb.MASK):
            for action in by_verb.get(verb, ()):
                self._do(action.text, ["systemctl", "--quiet", verb.value, "--", action.subject])

    def afterwards(self, now: Description) -> None:
        """Let what was brought count: certificates, locales, units, kernel settings, services."""
        self._do("let what was brought count", ["sh", "-c", _AFTERWARDS])
        services = [
            name
            for name in self.lost.active
            if name in now.unit
            and unit_kept_back(name) is None
            and FIREWALL_UNITS.match(name) is None
            and not name.startswith((
                "systemd-",
                "dbus",
                "getty@",
                "serial-getty@",
                "user@",
                "init",
            ))
        ]
        if services:
            self._do("start its services", ["sh", "-c", _RESTART], records(services))

    def _put(self, actions: Iterable[Action], now: Description) -> None:
        files: list[tuple[HostFile, str]] = [
            (self.lost.file[action.argument or action.subject], action.subject)
            for action in actions
        ]
        if not files:
            return
        self.say(f"bringing {len(files)} files")
        if any(path.startswith(HOST_KEYS_READY) for _, path in files):
            self._do("make a place", ["sh", "-c", _FOLDER, "sh", HOST_KEYS_READY])
        said = put_files(self.host, files, self.tree, OwnerMap(self.lost, now), self.scratch)
        if said:
            self.problems.append(f"bring files: {said}")

    def _remove(self, paths: Sequence[str]) -> None:
        if paths:
            self.say(f"removing {len(paths)} files that the lost host did not have")
            command = ["xargs", "-0", "-r", "sh", "-c", _REMOVE, "sh"]
            self._do("remove files", command, records(paths))

    def _install(self, actions: Sequence[Action]) -> None:
        """Install all at once; where that cannot be done, one by one, at any version at last."""
        self.say(f"installing {len(actions)} packages")
        self._do("finish what was interrupted", ["dpkg", "--configure", "--pending"])
        exact = [f"{a.subject}={a.argument}" for a in actions]
        if self._apt(exact):
            self.say("not all can be had at their versions together: one by one")
            needed = [a for a in actions if self._asked_for(a)] or list(actions)
            for action in needed:
                said = self._apt([f"{action.subject}={action.argument}"])
                said = said and self._apt([action.subject])
                if said:
                    last = said.strip().rpartition("\n")[2]
                    self.problems.append(f"install {action.subject}: {last}")
        brought = [a.subject for a in actions if not self._asked_for(a)]
        self._each("mark as auto", ["apt-mark", "auto"], brought)

    def _asked_for(self, action: Action) -> bool:
        package: Package | None = self.lost.package.get(action.subject)
        return package is not None and package.asked_for

    def _apt(self, packages: Sequence[str]) -> str:
        """Return what apt complained of; "": nothing."""
        command = ["xargs", "-0", "-r", *_APT, "--"]
        done = run(self.host, command, input=records(packages), timeout=_LONG)
        return (done.said or "it failed") if done.returncode else ""

    def _each(self, what: str, command: Sequence[str], names: Sequence[str]) -> None:
        if names:
            self._do(what, ["xargs", "-0", "-r", *command], records(names))

    def _do(
        self,
        what: str,
        arguments: Sequence[str],
        input: bytes | None = None,
        *,
        fatal: bool = False,
    ) -> None:
        done = run(self.host, arguments, input=input, timeout=_LONG)
        if done.returncode:
            said = done.said.strip() or f"it ended with {done.returncode}"
            if fatal:
                raise ToolFailed(f"{self.host.name}: {what}: {said}")
            self.problems.append(f"{what}: {said}")


def files_to_bring(lost: Description, actions: Iterable[Action]) -> list[HostFile]:
    """Return the lost host's files that the actions bring."""
    return [
        file
        for action in actions
        if action.verb is Verb.PUT
        and (file := lost.file.get(action.argument or action.subject)) is not None
        and file.kind is Kind.FILE
    ]
