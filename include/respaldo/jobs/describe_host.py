"""Write down what a Debian or Ubuntu host is, as a tree of files that can be kept and compared."""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING

from include.respaldo.config.trees import HostSource
from include.respaldo.debian.asking import Runner, ask
from include.respaldo.debian.comparison import brief, changes, report, summary
from include.respaldo.debian.description import CHANGES, DESCRIPTION, FILES, Description, HostFile
from include.respaldo.errors import RespaldoError, SourceError
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.filetree.remote import fetch_tree
from include.respaldo.model.file_tree import Kind, Problem, ReadProblem
from include.respaldo.ssh.host import SshHost

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

_LONG = 600.0


def describe_host(deployment: Deployment, host: HostSource, to: Path) -> tuple[ReadProblem, ...]:
    """Bring what the host is into a folder, kept from day to day so that only changes travel.

    The folder's layout is that of `debian.description`; its report says what changed since the
    last sealed backup.

    :returns: the files that could not be brought as they are; paths within the folder.
    :raises HostUnreachable: no connection; trying again can help.
    :raises ConfigurationError: the host is no Debian or Ubuntu, or does not let us in.
    """
    connection = deployment.connections(deployment.config.host(host.host).connection)
    before, since = _before(deployment, host, to)
    to.mkdir(parents=True, exist_ok=True, mode=0o700)
    with SshHost.of(connection) as ssh:
        deployment.progress.step(f"asking {ssh.name} what it is")
        taken = taken_by(host.exclude)
        include = [str(path) for path in host.include]
        found = ask(ssh, include=include, exclude=host.exclude, taken=taken, digests=False)
        problems = _fetch(deployment, ssh, found, to / FILES)
    files, unread = _read(found.files, to / FILES)
    described = replace(found, files=tuple(files))
    _write(to / DESCRIPTION, described.to_bytes())
    _write(to / CHANGES, report(before, described, since).encode("utf-8", "backslashreplace"))
    if described.missing:
        without = "; ".join(f"{part} ({why})" for part, why in described.missing)
        deployment.progress.step(f"{host.host} is described without {without}")
    said = brief(changes(before, described)) if before else "there is no earlier backup"
    deployment.progress.step(f"{host.host}: {summary(described)}; since {since or 'ever'}: {said}")
    known = {p.path for p in problems}
    return (*problems, *(p for p in unread if p.path not in known))


def taken_by(exclude: Sequence[str]) -> Callable[[str], bool]:
    """Return whether a path of a host belongs to its configuration, as a function."""
    patterns = Patterns(exclude=exclude)
    return lambda path: not patterns.excludes(path.removeprefix("/"))


def _before(deployment: Deployment, host: HostSource, to: Path) -> tuple[Description | None, str]:
    """Return what the host was in its last sealed backup, and which that is."""
    from include.respaldo.jobs.stored_hosts import newest_description

    try:
        return newest_description(deployment, host.host)
    except RespaldoError as error:  # a report is no reason to take no backup
        deployment.progress.step(f"the last backup was not compared with: {error.message}")
    try:
        return Description.from_bytes((to / DESCRIPTION).read_bytes()), "the last run"
    except (OSError, ValueError):
        return None, ""


def _fetch(
    deployment: Deployment, ssh: SshHost, found: Description, to: Path
) -> tuple[ReadProblem, ...]:
    """Bring the files of the description; what it does not have is removed here, too."""
    problems: list[ReadProblem] = []
    kinds = {f.path: f.kind for f in found.files}
    _remove_unknown(to, kinds)
    for root in found.roots:
        below = root.removeprefix("/")
        if kinds.get(root) is Kind.FOLDER:
            patterns = Patterns(exclude=_below(found.exclude, root))
            problems += (
                replace(p, path=posixpath.join(FILES, below, p.path).rstrip("/"))
                for p in fetch_tree(ssh, root, to / below, patterns, progress=deployment.progress)
            )
        elif root in kinds:
            problems += _fetch_one(ssh, root, to / below, f"{FILES}/{below}")
    _remove_unknown(to, kinds)
    return tuple(problems)


def _below(exclude: Iterable[str], root: str) -> list[str]:
    """Return the patterns as they are written from that root on."""
    anchor = root.rstrip("/") + "/"
    return [
        "/" + pattern.removeprefix(anchor) if pattern.startswith(anchor) else pattern
        for pattern in exclude
        if pattern.startswith(anchor) or not pattern.startswith("/")
    ]


def _fetch_one(ssh: Runner, path: str, to: Path, name: str) -> Iterator[ReadProblem]:
    """Bring a single file, such as a key; a link is taken for what it leads to."""
    done = ssh.run(["cat", "--", path], timeout=_LONG)
    if done.returncode:
        yield ReadProblem(name, Problem.UNREADABLE, done.said.strip())
        return
    to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(to, done.stdout)


def _remove_unknown(root: Path, kinds: dict[str, Kind]) -> None:
    """Remove what the host does not have (any more), and what is of another kind there."""
    needed = {folder for path in kinds for folder in _above(path)}
    for folder, folders, files in os.walk(root):
        at = Path(folder)
        for name in (*folders, *files):
            path, host_path = at / name, "/" + str((at / name).relative_to(root))
            is_folder = path.is_dir() and not path.is_symlink()
            known = kinds.get(host_path) is Kind.FOLDER or host_path in needed
            if is_folder and not known:
                shutil.rmtree(path)
            elif not is_folder and kinds.get(host_path) not in {Kind.FILE, Kind.LINK}:
                path.unlink()
        folders[:] = [f for f in folders if (at / f).is_dir() and not (at / f).is_symlink()]


def _above(path: str) -> Iterator[str]:
    while path not in {"/", ""}:
        path = posixpath.dirname(path)
        yield path


def _read(files: Sequence[HostFile], root: Path) -> tuple[list[HostFile], list[ReadProblem]]:
    """Return the files with the digests of what was brought, made private here as on the host."""
    found: list[HostFile] = []
    problems: list[ReadProblem] = []
    for file in files:
        path = root / file.path.removeprefix("/")
        name = f"{FILES}{file.path}"
        if file.kind is not Kind.FILE:
            if os.path.lexists(path) or file.kind is Kind.FOLDER:
                found.append(file)
            continue
        try:
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError
            if not file.mode & 0o004:
                path.chmod(0o600)
            with path.open("rb") as content:
                digest = file_digest(content, "sha256").hexdigest()
        except FileNotFoundError:
            problems.append(ReadProblem(name, Problem.VANISHED, "it was not brought"))
            found.append(file)  # it was there: a rebuild must know, also without its content
            continue
        except OSError as error:
            raise SourceError(f"what was brought cannot be read: {path}: {error}") from error
        found.append(replace(file, sha256=digest, size=status.st_size))
    return found, problems


def _write(path: Path, data: bytes) -> None:
    """Replace a private file in one step."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    partial.replace(path)
