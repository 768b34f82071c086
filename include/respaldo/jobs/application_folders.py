"""The versions of an application that lie side by side, on this machine or on its host.

Both are looked at and changed by the same few lines of shell, with what a minimal Debian has: names
travel as arguments, never as text of a program.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from include.respaldo.config.trees import TreeConfig
from include.respaldo.errors import RestoreFailed, RestoreRefused, SourceError
from include.respaldo.jobs.application_version import announced_version
from include.respaldo.jobs.discover_trees import configured_trees
from include.respaldo.model.application_switch import Step, Switch, Version
from include.respaldo.model.backup import Category, Source
from include.respaldo.model.file_tree import shown
from include.respaldo.ssh.host import Finished, SshHost

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: seconds for counting the bytes of one version; then its size is not known
_COUNTING = 60

_LOOK = r"""
for p in "$1" "$2" "$1".restored_* "$1".replaced_*; do
  if [ -e "$p" ] || [ -L "$p" ]; then stat --printf='%d %i %f %n\0' -- "$p"; fi
done
if [ -w "$2" ] && [ -x "$2" ]; then printf 'writable\0'; fi
"""
#: rename(2) and nothing else: mv copies where that is refused
_MOVE = r"""
move() {
  if [ -e "$2" ] || [ -L "$2" ]; then echo "something is at $2" >&2; return 1; fi
  if command -v perl >/dev/null; then
    perl -e 'rename($ARGV[0], $ARGV[1]) or die "$!\n"' -- "$1" "$2"
  else
    mv -nT -- "$1" "$2"
  fi
}
is() {
  if [ "$(stat -c %i -- "$1" 2>/dev/null)" = "$2" ]; then return 0; fi
  echo "$1 is another by now" >&2; exit 75
}
"""
#: renameat2(RENAME_EXCHANGE), of which coreutils 9.1 knows nothing; perl-base is on every Debian
_EXCHANGE = (
    _MOVE
    + r"""
is "$1" "$4"; is "$2" "$5"
if perl -MConfig -e '
  my %number = (x86_64 => 316, aarch64 => 276, riscv64 => 276);
  my ($machine) = split /-/, $Config{archname};
  my $call = $number{$machine} or exit 1;
  exit(syscall($call, -100, $ARGV[0], -100, $ARGV[1], 2) == 0 ? 0 : 1);
' -- "$1" "$2" 2>/dev/null; then
  echo exchanged
else
  move "$1" "$3" || exit 1
  if ! move "$2" "$1"; then move "$3" "$1"; exit 1; fi
  echo renamed
fi
sync -- "$6" 2>/dev/null || sync
"""
)
_RENAME = _MOVE + r"""is "$1" "$3"; move "$1" "$2" || exit 1; sync -- "$4" 2>/dev/null || sync"""
_WRITE = r"""
umask 077
cat > "$1.new" || { rm -f -- "$1.new"; exit 1; }
sync -- "$1.new" 2>/dev/null || sync
mv -nT -- "$1.new" "$1"
if [ -e "$1.new" ]; then rm -f -- "$1.new"; echo "$1 is there already" >&2; exit 1; fi
sync -- "$2" 2>/dev/null || sync
"""
_READ = 'if [ -e "$1" ]; then exec cat -- "$1"; fi'
_REMOVE = 'rm -f -- "$1" && { sync -- "$2" 2>/dev/null || sync; }'


class Place(Protocol):
    """Where commands are run."""

    def run(
        self, arguments: Sequence[str], *, input: bytes | None = None, timeout: float = 60
    ) -> Finished:
        """Run a program and return what it left, whatever its exit status."""


class Here:
    """This machine."""

    def run(
        self, arguments: Sequence[str], *, input: bytes | None = None, timeout: float = 60
    ) -> Finished:
        environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            arguments,
            input=input or b"",
            capture_output=True,
            env=environ,
            timeout=timeout,
            check=False,
        )
        return Finished(done.stdout, done.stderr, done.returncode)


@dataclass(frozen=True)
class Seen:
    """One thing that is there."""

    device: int
    inode: int
    mode: int


class Folders:
    """The folder of an application, and the versions beside it.

    :ivar root: the running one.
    :ivar above: the folder that all of them are in.
    """

    def __init__(self, config: TreeConfig, root: str, name: str, host: SshHost | None) -> None:
        self.config, self.root, self.name = config, root, name
        self.above, self.base = posixpath.split(root)
        self._host = host
        self._place: Place = host or Here()

    @property
    def note(self) -> str:
        """Where a switch is written down."""
        return posixpath.join(self.above, f".{self.base}.switching")

    def look(self) -> tuple[dict[str, Seen], bool]:
        """Return what is there (path -> what it is), and whether names may be changed."""
        done = self._place.run(["sh", "-c", _LOOK, "sh", self.root, self.above])
        records = [r for r in os.fsdecode(done.stdout).split("\0") if r]
        found = {}
        for device, inode, mode, path in (r.split(" ", 3) for r in records if " " in r):
            found[path] = Seen(int(device), int(inode), int(mode, 16))
        return found, "writable" in records

    def next_step(self, switch: Switch) -> Step | None:
        """Return what a switch has to do next; None: what is there does not fit it."""
        return switch.next_step({path: seen.inode for path, seen in self.look()[0].items()})

    def begun(self) -> Switch | None:
        """Return the switch that was begun and not finished.

        :raises RestoreRefused: what is written there is none.
        """
        done = self._place.run(["sh", "-c", _READ, "sh", self.note])
        if done.returncode:
            raise RestoreRefused(f"{shown(self.note)} cannot be read: {done.said}")
        if not done.stdout:
            return None
        try:
            return Switch.from_bytes(done.stdout)
        except ValueError:
            raise RestoreRefused(
                f"{shown(self.note)} is not what a switch writes down",
                hint="see who has written it, and remove it",
            ) from None

    def mounts(self) -> list[str]:
        """Return what is mounted at the running one or below."""
        done = self._place.run(["cat", "/proc/self/mountinfo"])
        points = (line.split()[4] for line in done.text.splitlines() if len(line.split()) > 4)
        paths = (re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), p) for p in points)
        return sorted({p for p in paths if f"{p}/".startswith(f"{self.root}/")})

    def version(self, path: str, at: str) -> Version:
        """Return what a folder that is to be called `path` says of itself where it is now."""
        try:
            announced = announced_version(self.config, Path(at), self._host)
        except SourceError:
            announced = ""
        arguments = ["timeout", str(_COUNTING), "du", "-sb", "--", at]
        counted = self._place.run(arguments, timeout=_COUNTING + 30).text.partition("\t")[0]
        return Version(path, announced, int(counted) if counted.isdecimal() else None)

    # -- changes ------------------------------------------------------------------------------

    def begin(self, switch: Switch) -> None:
        """Write down a switch.

        :raises RestoreFailed: it could not be, or another one is.
        """
        self._do(_WRITE, self.note, self.above, input=switch.to_bytes())

    def carry_out(self, step: Step, switch: Switch) -> str:
        """Do a step; return ``renamed`` where an exchange took two renames.

        :raises RestoreFailed: it could not be done.
        """
        old, new = str(switch.old), str(switch.new)
        if step is Step.EXCHANGE:
            names = (switch.running, switch.chosen, switch.replaced)
            return self._do(_EXCHANGE, *names, old, new, self.above)
        if step is Step.SET_ASIDE:
            return self._do(_RENAME, switch.chosen, switch.replaced, old, self.above)
        return self._do(_RENAME, switch.chosen, switch.running, new, self.above)

    def end(self) -> None:
        """Forget what was written down."""
        self._do(_REMOVE, self.note, self.above)

    def _do(self, script: str, *arguments: str, input: bytes | None = None) -> str:
        done = self._place.run(["sh", "-c", script, "sh", *arguments], input=input)
        if done.returncode:
            said = done.said or f"the shell ended with {done.returncode}"
            raise RestoreFailed(f"{shown(self.root)} on {self.name}: {said}")
        return done.text.strip()


def is_folder(seen: Seen) -> bool:
    """Return whether it is a folder, and no link to one."""
    return stat.S_ISDIR(seen.mode)


def application_called(name: str, known: Sequence[Source]) -> Source:
    """Return the application that a person means by ``name`` or ``server/name``.

    :raises RestoreRefused: none, or more than one, is called so.
    """
    name = name.removeprefix(f"{Category.APPLICATIONS.value}/")
    matches = [s for s in known if str(s) == name] or [s for s in known if s.name == name]
    if len(matches) == 1:
        return matches[0]
    wrong = "more than one application is" if matches else "no application is"
    there = ", ".join(map(str, sorted(matches or known))) or "none"
    raise RestoreRefused(f"{wrong} called {name!r}", hint=f"there are: {there}")


def configured_application(deployment: Deployment, name: str) -> Source:
    """Return the application of the configuration that a person means; no vault is asked."""
    known = configured_trees(deployment.config, Category.APPLICATIONS)
    return application_called(name, sorted(known))


@contextmanager
def folders_of(deployment: Deployment, application: Source) -> Iterator[Folders]:
    """Yield the folders of an application, where its configuration says that it is.

    :raises RestoreRefused: it is not configured, or has no folder.
    :raises HostUnreachable: and whatever else its host has to say, when it is looked at.
    """
    config = configured_trees(deployment.config, Category.APPLICATIONS).get(application)
    if not isinstance(config, TreeConfig):
        raise RestoreRefused(
            f"{application} is not in the configuration: where it runs is not known",
            hint="add it to the configuration (applications)",
        )
    if config.path is None:
        raise RestoreRefused(
            f"{application} is in a bucket, which cannot rename folders",
            hint="let what reads the bucket read the other prefix",
        )
    if config.host is None:
        yield Folders(config, str(config.path.resolve()), "this machine", None)
        return
    with deployment.host(config.host) as ssh:
        yield Folders(config, posixpath.normpath(str(config.path)), config.host, ssh)
