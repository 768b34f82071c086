"""Ask a Debian host what it is: only programs that every such host has, nothing is installed."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from secrets import token_hex
from typing import Protocol

from include.respaldo.debian import answers
from include.respaldo.debian.description import Conffile, Description, HostFile, Offer, Target
from include.respaldo.debian.questions import AUTHORIZED_KEYS, QUESTIONS
from include.respaldo.errors import ConfigurationError, SourceError
from include.respaldo.model.file_tree import Kind

#: what belongs to the configuration of every host
ROOTS = (
    "/etc",
    "/usr/local/lib/systemd",
    "/usr/local/share/ca-certificates",
    "/var/spool/cron",
)
#: where a rebuild keeps what it has to know, on the host that is rebuilt
REBUILD_FOLDER = "/var/lib/respaldo/rebuild"
#: … and where it lays the lost host's own keys ready
HOST_KEYS_READY = "/var/lib/respaldo/host-keys"
BEFORE = f"{REBUILD_FOLDER}/before"

_ENVIRONMENT = (
    "env",
    "LC_ALL=C",
    "DEBIAN_FRONTEND=noninteractive",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
)
_LONG = 600.0


class Finished(Protocol):
    """What a command left; as `ssh.host.Finished`."""

    @property
    def stdout(self) -> bytes: ...
    @property
    def stderr(self) -> bytes: ...
    @property
    def returncode(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def said(self) -> str: ...


class Runner(Protocol):
    """Where commands run; as `ssh.host.SshHost`."""

    @property
    def name(self) -> str: ...
    def run(
        self, arguments: Sequence[str], *, input: bytes | None = None, timeout: float = 60
    ) -> Finished: ...


#: path -> whether it belongs to the configuration
Taken = Callable[[str], bool]


def run(
    host: Runner, arguments: Sequence[str], *, input: bytes | None = None, timeout: float = 60
) -> Finished:
    """Run a program in the environment that an administrator has, in the language C."""
    return host.run([*_ENVIRONMENT, *arguments], input=input, timeout=timeout)


def records(items: Iterable[str]) -> bytes:
    """Return what ``xargs -0`` reads."""
    return b"".join(i.encode("utf-8", "surrogateescape") + b"\0" for i in items)


class _Asking:
    """Questions to one host; what it cannot answer is noted, not fatal."""

    def __init__(self, host: Runner) -> None:
        self.host = host
        self.missing: dict[str, str] = {}

    def ask(
        self,
        part: str,
        *arguments: str,
        input: bytes | None = None,
        accept: tuple[int, ...] = (0,),
    ) -> str:
        """Return what a program printed; "" where it could not be asked."""
        done = run(self.host, arguments, input=input, timeout=_LONG)
        if done.returncode in accept:
            return done.text
        self._note(part, arguments[0], done.returncode, done.said)
        return ""

    def ask_all(self, questions: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Return what each of several programs printed, with one connection for all."""
        mark = f"--{token_hex(16)}\n"
        lines = [
            f"{shlex.join(arguments)} </dev/null; printf '%s\\n%s' $? {shlex.quote(mark)}; "
            f"printf %s {shlex.quote(mark)} >&2"
            for arguments in questions.values()
        ]
        done = run(self.host, ["sh"], input="\n".join(lines).encode(), timeout=_LONG)
        printed = done.text.split(mark)
        said = os.fsdecode(done.stderr).split(mark)
        if len(printed) <= len(questions):
            raise SourceError(
                f"{self.host.name} cannot be described: its shell ended with {done.returncode}",
                hint="the login needs a POSIX shell",
            )
        found = {}
        for (part, arguments), text, error in zip(questions.items(), printed, said, strict=False):
            answer, _, status = text[:-1].rpartition("\n") if "\n" in text[:-1] else ("", "", text)
            number = int(status)
            found[part] = ""
            if number:
                self._note(part, arguments[0], number, error)
            else:
                found[part] = f"{answer}\n" if answer else ""
        return found

    def need(self, part: str, found: Mapping[str, str]) -> str:
        """Return an answer without which the host is not described at all.

        :raises SourceError: there is none.
        """
        if part in self.missing or not found[part]:
            raise SourceError(
                f"{self.host.name} cannot be described: {part}: "
                + self.missing.get(part, "nothing was answered"),
                hint="the host needs its own dpkg and apt, and the login must be able to run them",
            )
        return found[part]

    def _note(self, part: str, program: str, status: int, said: str) -> None:
        if status == 127:
            self.missing[part] = f"{program} is not installed"
        else:
            last = said.strip().rpartition("\n")[2]
            self.missing[part] = f"{program} ended with {status}: {last}"


def ask(
    host: Runner,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    taken: Taken = lambda _path: True,
    digests: bool,
) -> Description:
    """Return what the host is.

    :param include: further paths below which files belong to its configuration.
    :param exclude: the patterns behind `taken`, as they were configured.
    :param digests: have the host compute the SHA-256 of its files; else they are "".
    :raises ConfigurationError: it is no Debian, nor one of its kind.
    :raises SourceError: dpkg cannot be asked.
    """
    asking = _Asking(host)
    said = asking.ask_all(QUESTIONS)
    system = answers.read_os_release(asking.need("release", said))
    if "debian" not in {system.get("ID", ""), *system.get("ID_LIKE", "").split()}:
        raise ConfigurationError(
            f"{host.name} is expected to be Debian or one of its kind, found "
            f"{system.get('PRETTY_NAME') or system.get('ID') or 'an unknown system'}",
            hint="keep its /etc as files instead",
        )
    native = asking.need("architecture", said).strip()
    packages, known_conffiles = answers.read_packages(
        asking.need("packages", said),
        native,
        said["packages asked for"].split(),
        said["packages on hold"].split(),
    )
    repositories, keys = answers.read_repositories(said["repositories"])
    roots = _roots((*ROOTS, *keys, *include))
    files = [f for f in _find(asking, roots) if taken(f.path)]
    if digests:
        files = _with_digests(asking, files)
    users = tuple(answers.read_users(said["users"], said["passwords"]))
    conffiles = tuple(_conffiles(asking, known_conffiles, {f.path for f in files}))
    authorized_keys = _authorized_keys(asking, {u.home: u.name for u in reversed(users)})
    return Description(
        name=asking.need("name", said).strip(),
        machine_id=said["machine-id"].strip(),
        distribution=system.get("ID", ""),
        release=system.get("VERSION_ID", ""),
        codename=system.get("VERSION_CODENAME", ""),
        architecture=native,
        kernel=said["kernel"].strip(),
        foreign_architectures=tuple(sorted(said["other architectures"].split())),
        packages=packages,
        repositories=repositories,
        conffiles=conffiles,
        users=tuple(sorted(users, key=lambda u: u.name)),
        groups=tuple(sorted(answers.read_groups(said["groups"]), key=lambda g: g.name)),
        units=tuple(sorted(answers.read_units(said["units"]), key=lambda u: u.name)),
        active=tuple(sorted(u.name for u in answers.read_units(said["running services"]))),
        mounts=answers.read_mounts(said["mounts"]),
        firewall=tuple(
            (tool, rules)
            for tool in ("nft", "iptables", "ip6tables")
            if (rules := answers.read_rules(said[f"firewall ({tool})"]))
        ),
        network=tuple(
            (what, text.rstrip())
            for what in ("addresses", "routes")
            if (text := said[f"network ({what})"])
        ),
        authorized_keys=authorized_keys,
        files=tuple(files),
        roots=roots,
        exclude=tuple(exclude),
        missing=tuple(sorted(asking.missing.items())),
    )


def survey(host: Runner, like: Description, taken: Taken) -> Target:
    """Return what a host is and can get, looked at through another's description.

    :param like: its roots and exclusions are taken, and its packages are asked for.
    """
    asking = _Asking(host)
    now = ask(
        host,
        include=(*like.roots, HOST_KEYS_READY),
        exclude=like.exclude,
        taken=taken,
        digests=True,
    )
    lists = asking.ask(
        "lists", "find", "/var/lib/apt/lists", "-name", "*_Packages*", "-print", "-quit"
    )
    offers: dict[str, Offer] = {}
    if lists.strip():
        wanted = sorted({p.name for p in like.packages} | {p.name for p in now.packages})
        offers = answers.read_offers(
            asking.ask(
                "offers", *("xargs", "-0", "-r", "apt-cache", "policy", "--"), input=records(wanted)
            )
        )
    before = run(host, ["cat", BEFORE])
    paths = frozenset(filter(None, before.text.split("\0"))) if before.returncode == 0 else None
    return Target(now, offers, bool(lists.strip()), paths)


def _roots(wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the paths that lie in no other one, sorted."""
    found: list[str] = []
    for path in sorted({p.rstrip("/") or "/" for p in wanted}):
        if not any(path == r or path.startswith(r.rstrip("/") + "/") for r in found):
            found.append(path)
    return tuple(found)


def _find(asking: _Asking, roots: Sequence[str]) -> list[HostFile]:
    """Return what lies below the roots that are there, by path; no sockets and such."""
    script = 'for root do [ ! -e "$root" ] || find -H "$root" -xdev -printf "$FORMAT"; done; true'
    text = asking.ask(
        "files", "sh", "-c", f"FORMAT='{answers.FIND_FORMAT}'; {script}", "sh", *roots
    )
    found = {f.path: f for f in answers.read_files(text) if f.kind is not Kind.OTHER}
    return [found[path] for path in sorted(found)]


def _with_digests(asking: _Asking, files: Sequence[HostFile]) -> list[HostFile]:
    found = answers.read_digests(
        asking.ask(
            "digests",
            *("xargs", "-0", "-r", "sha256sum", "--zero", "--"),
            input=records(f.path for f in files if f.kind is Kind.FILE),
            accept=(0, 123),
        )
    )
    return [replace(f, sha256=found.get(f.path, "")) for f in files]


def _conffiles(
    asking: _Asking, known: Mapping[str, tuple[str, str, bool]], there: set[str]
) -> Iterator[Conffile]:
    printed = asking.ask(
        "conffiles",
        *("xargs", "-0", "-r", "md5sum", "--zero", "--"),
        input=records(known),
        accept=(0, 123),
    )
    return answers.read_conffiles(known, answers.read_digests(printed), there)


def _authorized_keys(
    asking: _Asking, homes: dict[str, str]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    text = asking.ask("authorized keys", "sh", "-c", AUTHORIZED_KEYS, "sh", *homes)
    found: dict[str, list[str]] = {}
    for record in text.split(answers.RECORD)[1:]:
        home, _, content = record.partition("\n")
        found.setdefault(homes[home], []).extend(answers.read_keys(content))
    return tuple((user, tuple(lines)) for user, lines in sorted(found.items()) if lines)
