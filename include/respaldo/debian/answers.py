"""What the programs of a Debian host answer, read into values: pure, one function an answer."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256

from include.respaldo.debian.description import (
    Conffile,
    Group,
    HostFile,
    Offer,
    Package,
    Repository,
    Standing,
    Unit,
    User,
)
from include.respaldo.model.file_tree import Kind

#: between two records, where a record has many lines
RECORD = "\x1e"
_KINDS = {"f": Kind.FILE, "d": Kind.FOLDER, "l": Kind.LINK}
_PASSWORD_IN_URI = re.compile(r"(?<=://)[^/@\s]*@")
_POLICY_VERSION = re.compile(r" (?:\*\*\*|   ) (\S+) -?\d+")
_COUNTERS = re.compile(r"\[\d+:\d+\]")
_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[\w@.-]+ +AAAA\S+")


def read_os_release(text: str) -> dict[str, str]:
    """Return the assignments of os-release(5)."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            try:
                found[name] = "".join(shlex.split(value))
            except ValueError:
                found[name] = value
    return found


def read_packages(
    text: str, native: str, asked_for: Iterable[str], held: Iterable[str]
) -> tuple[tuple[Package, ...], dict[str, tuple[str, str, bool]]]:
    """Return the installed packages, and of each conffile (package, digest it came with, obsolete).

    :param text: records of ``package, architecture, version, status`` and a line a conffile.
    :param native: the architecture that names leave out.
    """
    wanted, kept = ({_plain(n, native) for n in names} for names in (asked_for, held))
    packages: list[Package] = []
    conffiles: dict[str, tuple[str, str, bool]] = {}
    for record in text.split(RECORD)[1:]:
        head, *lines = record.splitlines()
        package, architecture, version, status = head.split("\t")
        name = package if architecture in {native, "all"} else f"{package}:{architecture}"
        for line in lines:
            words = line.strip().split(" ")
            flags = [w for w in words[1:] if w in {"obsolete", "remove-on-upgrade"}]
            words = words[: len(words) - len(flags)]
            if len(words) < 2:
                continue
            path, digest = " ".join(words[:-1]), words[-1]
            if status[1:2] == "i" or path not in conffiles:
                conffiles[path] = (name, digest, "obsolete" in flags)
        if status[1:2] == "i":
            packages.append(Package(name, version, name in wanted, name in kept))
    installed = {p.name for p in packages}
    return (
        tuple(sorted(packages, key=lambda p: p.name)),
        {path: c for path, c in conffiles.items() if c[0] in installed},
    )


def _plain(name: str, native: str) -> str:
    return name.strip().removesuffix(f":{native}")


def read_conffiles(
    known: Mapping[str, tuple[str, str, bool]], digests: Mapping[str, str], there: set[str]
) -> Iterator[Conffile]:
    """Yield how each conffile stands.

    :param known: of `read_packages`.
    :param digests: MD5 of those that could be read.
    :param there: paths that exist, readable or not.
    """
    for path, (package, original, obsolete) in sorted(known.items()):
        found = digests.get(path)
        if found is None:
            if path in there:
                continue  # nobody can say: it could not be read
            if obsolete:
                continue  # the package has it no more, and neither has the host
            standing = Standing.DELETED
        else:
            standing = Standing.INTACT if found == original else Standing.CHANGED
        yield Conffile(path, package, standing, obsolete)


def read_digests(text: str) -> dict[str, str]:
    """Return path -> digest of what ``md5sum --zero`` or ``sha256sum --zero`` printed."""
    found = {}
    for record in text.split("\0"):
        digest, mark, path = record.partition("  ")
        if mark:
            found[path] = digest
    return found


def read_groups(text: str) -> Iterator[Group]:
    """Yield the groups of /etc/group."""
    for fields in _fields(text, 4):
        yield Group(fields[0], int(fields[2]), tuple(sorted(filter(None, fields[3].split(",")))))


def read_users(passwd: str, shadow: str) -> Iterator[User]:
    """Yield the accounts; of passwords only what tells two apart leaves this function."""
    secrets = {fields[0]: fields for fields in _fields(shadow, 8)}
    for name, _, uid, gid, comment, home, shell in (f[:7] for f in _fields(passwd, 7)):
        secret = secrets.get(name)
        password, ageing = "", tuple[str, ...]()
        if secret is not None:
            password, ageing = password_mark(secret[1]), tuple(secret[3:8])
        yield User(name, int(uid), int(gid), comment, home, shell, password, ageing)


def password_mark(field: str) -> str:
    """Return what tells a password field of /etc/shadow from another, and opens nothing."""
    if not field:
        return "empty"
    if field.strip("!*") == "":
        return "locked"
    return sha256(field.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _fields(text: str, count: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) >= count and fields[0] and not line.startswith(("#", "+", "-")):
            yield fields


def read_units(text: str) -> Iterator[Unit]:
    """Yield what ``systemctl list-unit-files`` printed."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2:
            yield Unit(words[0], words[1])


def read_files(text: str) -> Iterator[HostFile]:
    """Yield what ``find -printf`` with `FIND_FORMAT` printed."""
    parts = text.split("\0")
    for path, target in zip(parts[0::2], parts[1::2], strict=False):
        letter, mode, uid, gid, size, mtime, name = path.split(" ", 6)
        kind = _KINDS.get(letter, Kind.OTHER)
        seconds, _, fraction = mtime.partition(".")
        yield HostFile(
            path=name,
            kind=kind,
            mode=int(mode, 8),
            uid=int(uid),
            gid=int(gid),
            size=int(size) if kind is Kind.FILE else 0,
            mtime_ns=int(seconds) * 10**9 + int(f"{fraction:0<9}"[:9]),
            target=target,
        )


#: one record an entry: kind, mode, owner, group, size, time, path; then where a link leads
FIND_FORMAT = "%y %m %U %G %s %T@ %p\\0%l\\0"


def read_repositories(text: str) -> tuple[tuple[Repository, ...], tuple[str, ...]]:
    """Return the sources of packages, and the paths of the keys that they name.

    :param text: records of a path and the file's lines.
    """
    found: list[Repository] = []
    keys: set[str] = set()
    for record in text.split(RECORD)[1:]:
        path, _, content = record.partition("\n")
        entries = _stanzas(content) if path.endswith(".sources") else _one_line_entries(content)
        for line, signed_by in entries:
            found.append(Repository(path, _PASSWORD_IN_URI.sub("", line)))
            keys.update(k for k in signed_by if k.startswith("/"))
    return tuple(sorted(found, key=lambda r: (r.file, r.line))), tuple(sorted(keys))


def _one_line_entries(content: str) -> Iterator[tuple[str, list[str]]]:
    for raw in content.splitlines():
        line = " ".join(raw.partition("#")[0].split())
        if line.startswith(("deb ", "deb-src ")):
            options = re.search(r"\bsigned-by=([^\]\s]+)", line)
            yield line, options[1].split(",") if options else []


def _stanzas(content: str) -> Iterator[tuple[str, list[str]]]:
    for stanza in re.split(r"\n\s*\n", content):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            else:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "uris" in fields and fields.get("enabled", "yes").lower() not in {"no", "false"}:
            names = ("types", "uris", "suites", "components")
            yield (
                " ".join(filter(None, (fields.get(n, "") for n in names))),
                fields.get("signed-by", "").split(),
            )


def read_offers(text: str) -> dict[str, Offer]:
    """Return what ``apt-cache policy`` printed: versions that are only installed do not count."""
    offers: dict[str, Offer] = {}
    name = candidate = version = ""
    versions: set[str] = set()

    def close() -> None:
        if name:
            offers[name] = Offer(candidate if candidate in versions else "", frozenset(versions))

    for line in text.splitlines():
        if line and not line[0].isspace():
            close()
            name, candidate, version, versions = line.rstrip(":"), "", "", set()
        elif line.startswith("  Candidate:"):
            candidate = line.split(":", 1)[1].strip()
        elif match := _POLICY_VERSION.fullmatch(line):
            version = match[1]
        elif line.startswith("        ") and version and "/var/lib/dpkg/status" not in line:
            versions.add(version)
    close()
    return offers


def read_mounts(text: str) -> tuple[str, ...]:
    """Return the lines of fstab(5) that say something, passwords left out."""
    lines = (" ".join(line.partition("#")[0].split()) for line in text.splitlines())
    hidden = re.compile(r"\b(pass(?:word)?=)[^,\s]*")
    return tuple(sorted(hidden.sub(r"\1…", line) for line in lines if line))


def read_rules(text: str) -> str:
    """Return a firewall's rules without comments and counters, which change by themselves."""
    lines = (_COUNTERS.sub("", line).rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def read_keys(text: str) -> tuple[str, ...]:
    """Return the lines of an authorized_keys file that hold a key."""
    return tuple(line.strip() for line in text.splitlines() if is_key(line))


def is_key(line: str) -> bool:
    """Return whether a line of authorized_keys lets somebody in."""
    return not line.lstrip().startswith("#") and _KEY.search(line) is not None


def key_of(line: str) -> str:
    """Return the key itself, without options and comment: what tells two lines apart."""
    found = _KEY.search(line)
    return " ".join(found[0].split()) if found else line
