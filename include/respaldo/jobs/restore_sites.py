"""Which place a destination means: this machine, a host, or a bucket."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from include.respaldo.config.trees import HostSource
from include.respaldo.errors import (
    ConfigurationError,
    RespaldoError,
    RestoreFailed,
    RestoreRefused,
)
from include.respaldo.filetree.remote import send_tree
from include.respaldo.filetree.remote_verification import remote_differences
from include.respaldo.jobs.discover_trees import configured_tree, spelled
from include.respaldo.jobs.restore_places import (
    Landed,
    LocalSite,
    Site,
    other_file_system,
    taken_since,
)
from include.respaldo.model.backup import Category, Source
from include.respaldo.model.file_tree import Entry, shown
from include.respaldo.model.tree_restore_plan import Destination, Place
from include.respaldo.vault.bucket_restore import BucketWriter

if TYPE_CHECKING:
    from include.respaldo.connections import Connection
    from include.respaldo.jobs.deployment import Deployment
    from include.respaldo.ssh.host import SshHost

_NAMED = 5


@contextlib.contextmanager
def site_of(deployment: Deployment, source: Source, destination: Destination) -> Iterator[Site]:
    """Yield the place that a destination means.

    :raises RestoreRefused: there is no such place.
    :raises HostUnreachable: and whatever else its host has to say.
    """
    if destination.place is Place.FOLDER:
        folder = Path(destination.folder)
        if not destination.folder or not folder.is_absolute():
            raise RestoreRefused(
                f"{destination.folder!r} is no absolute path of a folder",
                hint="name it from the root on: /var/tmp/downloads",
            )
        yield LocalSite(str(folder / source.name), within=folder)
        return
    if source.category is Category.SERVER_CONFIGURATION:
        raise RestoreRefused(
            "the configuration of a server is not restored beside the original",
            hint="bring it to a folder, or rebuild the server (`rebuild-server`)",
        )
    try:
        config = configured_tree(deployment.config, source)
    except ConfigurationError:
        raise RestoreRefused(
            f"{spelled(source)} is not in the configuration any more: where it was is not known",
            hint="bring it to a folder, or add it to the configuration again",
        ) from None
    assert not isinstance(config, HostSource)
    if config.bucket is not None:
        connection = deployment.connections(str(config.connection))
        yield BucketSite(config.bucket, connection, deployment)
    elif config.host is None:
        assert config.path is not None
        yield LocalSite(str(config.path.resolve()))
    else:
        with deployment.host(config.host) as ssh:
            yield HostSite(posixpath.normpath(str(config.path)), config.host, ssh, deployment)


class HostSite:
    """A path of a host."""

    is_local = False
    goes_on = False

    def __init__(self, root: str, name: str, ssh: SshHost, deployment: Deployment) -> None:
        self.root = root
        self._name = name
        self._ssh = ssh
        self._deployment = deployment
        self.owners = os.geteuid() == 0 and ssh.run(["id", "-u"]).text.strip() == "0"

    @property
    def text(self) -> str:
        return f"{self._name}, {self.root}"

    def taken(self, names: Sequence[str]) -> list[str]:
        script = 'for p; do if [ -e "$p" ] || [ -L "$p" ]; then printf "%s\\0" "$p"; fi; done'
        told = self._each(script, names)
        return [os.fsdecode(name) for name in told.split(b"\0") if name]

    def free(self) -> int | None:
        script = (
            'p=$1; while [ ! -e "$p" ]; do p=$(dirname -- "$p"); done; stat -f -c "%a %S" -- "$p"'
        )
        done = self._ssh.run(["sh", "-c", script, "sh", self.root])
        numbers = done.text.split()
        return int(numbers[0]) * int(numbers[1]) if len(numbers) == 2 else None

    def staging(self, name: str) -> Path:
        return _scratch(self._deployment, name)

    def may_be(self, final: str, entries: Iterator[Entry], /) -> bool:
        return not remote_differences(self._ssh, final, entries, owners=self.owners, limit=1)

    def publish(self, landed: Landed) -> tuple[str, ...]:
        at = self._ssh.check(["sh", "-c", _WORKPLACE, "sh", self.root]).text.removesuffix("\n")
        there = posixpath.join(at, landed.tree.parent.name)
        try:
            send_tree(
                self._ssh, landed.tree, there, delete=True, progress=self._deployment.progress
            )
            self._deployment.progress.step(f"comparing on {self._name}")
            found = remote_differences(self._ssh, there, landed.entries, owners=self.owners)
            if found:
                raise RestoreFailed(
                    f"what arrived on {self._name} differs: {'; '.join(found[:_NAMED])}",
                    hint="nothing has its final name; run the restore again",
                )
            self._lead_to(landed)
            for step in landed.steps:
                staged = posixpath.join(there, str(step.staged.relative_to(landed.tree)))
                names = ["sh", "-c", _RENAME, "sh", posixpath.normpath(staged), step.final]
                done = self._ssh.run(names)
                if done.returncode == _IS_TAKEN:
                    raise taken_since([step.final])
                if done.returncode == _IS_ELSEWHERE:
                    raise other_file_system(step.final)
                if done.returncode:
                    raise RestoreFailed(
                        f"{shown(step.final)} could not be made: {done.said}",
                        hint="nothing is half-made; see the place, and run the restore again",
                    )
        finally:
            with contextlib.suppress(RespaldoError):
                self._ssh.run(["rm", "-rf", "--", there], timeout=600)
        return () if self.owners else ("owners could not be kept: it takes root here and there",)

    def _lead_to(self, landed: Landed) -> None:
        folders: set[str] = set()
        for step in landed.steps:
            folder = posixpath.dirname(step.final)
            while folder not in folders and folder != "/":
                folders.add(folder)
                folder = posixpath.dirname(folder)
        arguments: list[str] = []
        for folder in sorted(folders):
            relative = "" if folder == self.root else folder.removeprefix(f"{self.root}/")
            entry = landed.above.get(relative) if folder.startswith(self.root) else None
            mode, owner = (f"{entry.mode:o}", f"{entry.uid}:{entry.gid}") if entry else ("755", "")
            arguments += [folder, mode, owner]
        self._each(_MAKE_FOLDER, arguments, "-n", "3")

    def _each(self, script: str, arguments: Sequence[str], *options: str) -> bytes:
        given = b"".join(os.fsencode(argument) + b"\0" for argument in arguments)
        command = ["xargs", "-0", "-r", *options, "sh", "-c", script, "sh"]
        return self._ssh.check(command, input=given, timeout=600).stdout


_IS_TAKEN = 73
_IS_ELSEWHERE = 74
#: as this machine's site does it: a file would take the place of another one, so it is linked
_RENAME = f"""\
is_taken() {{ [ -e "$1" ] || [ -L "$1" ]; }}
device() {{ stat -L -c %d -- "$(dirname -- "$1")"; }}
if is_taken "$2"; then exit {_IS_TAKEN}; fi
if [ "$(device "$1")" != "$(device "$2")" ]; then exit {_IS_ELSEWHERE}; fi
if [ ! -d "$1" ] || [ -L "$1" ]; then
  if ln -P -T -- "$1" "$2"; then rm -f -- "$1"; exit; fi
  if is_taken "$2"; then exit {_IS_TAKEN}; fi
fi
mv -T -- "$1" "$2"
"""
#: beside the root where that is of the same file system: backups do not see it there
_WORKPLACE = """\
p=$1; while [ ! -d "$p" ]; do p=$(dirname -- "$p"); done
above=$(dirname -- "$p")
device() { stat -L -c %d -- "$1"; }
if [ -w "$above" ] && [ "$(device "$above")" = "$(device "$p")" ]; then p=$above; fi
printf '%s\\n' "$p"
"""
_MAKE_FOLDER = """\
[ -d "$1" ] && exit 0
mkdir -- "$1" || exit 1
if [ -n "$3" ]; then chown -- "$3" "$1" 2>/dev/null; fi
chmod -- "$2" "$1"
"""


class BucketSite:
    """A prefix of a bucket; an object appears whole, a folder object by object."""

    is_local = False
    goes_on = True

    def __init__(self, uri: str, connection: Connection, deployment: Deployment) -> None:
        self._bucket = BucketWriter(uri, connection)
        self.root = self._bucket.root
        self.owners = os.geteuid() == 0
        self._deployment = deployment

    @property
    def text(self) -> str:
        return f"the bucket, {self.root}"

    def taken(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if self._bucket.holds(name)]

    def free(self) -> int | None:
        return None

    def staging(self, name: str) -> Path:
        return _scratch(self._deployment, name)

    def may_be(self, _final: str, _entries: Iterator[Entry], /) -> bool:
        return True  # it is compared as it is stored, object by object

    def publish(self, landed: Landed) -> tuple[str, ...]:
        files = [
            (path, step.final + str(path).removeprefix(str(step.staged)))
            for step in landed.steps
            for path in _files(step.staged)
        ]
        self._bucket.put_new(files, self._deployment.progress)
        return ("a bucket gives its objects the time at which they were restored",)


def _files(top: Path) -> Iterator[Path]:
    if not top.is_dir() or top.is_symlink():
        yield top
        return
    for folder, _, names in os.walk(top):
        yield from (Path(folder, name) for name in sorted(names))


def _scratch(deployment: Deployment, name: str) -> Path:
    shutil.rmtree(deployment.scratch() / name, ignore_errors=True)
    return deployment.scratch(name)
