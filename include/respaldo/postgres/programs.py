"""PostgreSQL's own programs: where they are, and how they are run."""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import IO, cast

from include.respaldo.connections import Connection
from include.respaldo.errors import ConfigurationError, ToolFailed
from include.respaldo.postgres.connect import libpq_environment

#: where packages put the programs of each major version, besides PATH
_FOLDERS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin")
_LAST_LINES = 20
#: libpq's variables that change what a program reads or writes, not where it connects
_FORMS = frozenset({"PGOPTIONS", "PGCLIENTENCODING", "PGDATESTYLE", "PGTZ"})


@dataclass(frozen=True)
class Program:
    """An installed program and its version."""

    name: str
    path: str
    major: int
    #: e.g. ``15.18``
    version: str


def tool(name: str, at_least: int = 0) -> Program:
    """Return the installed program whose major version is the smallest from `at_least` on.

    The smallest, since a newer pg_dump writes settings that the older server refuses to load.

    :raises ConfigurationError: none is installed, or only older ones.
    """
    found = installed(name)
    for program in found:
        if program.major >= at_least:
            return program
    hint = (
        f"install postgresql-client-{at_least or 'NN'} where this runs (where the distribution "
        "has none, from apt.postgresql.org), or put its folder on PATH"
    )
    if not found:
        raise ConfigurationError(f"{name} is not installed", hint=hint)
    raise ConfigurationError(
        f"{name} {found[-1].version} is older than the server (version {at_least})", hint=hint
    )


def installed(name: str) -> tuple[Program, ...]:
    """Return the program's installed versions, one for each major version, oldest first.

    Of two with the same major version the one on PATH counts.
    """
    return _installed(name, os.environ.get("PATH", os.defpath))


@cache
def _installed(name: str, path: str) -> tuple[Program, ...]:
    # every folder of PATH, since each may hold another version
    candidates = [Path(folder, name) for folder in path.split(os.pathsep) if folder]
    # Debian's pg_wrapper picks a version by rules of its own
    candidates = [c for c in candidates if c.resolve().name != "pg_wrapper"]
    candidates += (p / name for pattern in _FOLDERS for p in Path("/").glob(pattern))
    found: dict[int, Program] = {}
    for candidate in candidates:
        if program := _probe(name, str(candidate)):
            found.setdefault(program.major, program)
    return tuple(found[major] for major in sorted(found))


def _probe(name: str, path: str) -> Program | None:
    if not os.access(path, os.X_OK):
        return None
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"\(PostgreSQL\) ((\d+)[^\s]*)", done.stdout)
    return Program(name, path, int(match[2]), match[1]) if match else None


def environment(
    connection: Connection | None = None, database: str | None = None
) -> dict[str, str]:
    """Return a program's whole environment; with a connection it holds the password.

    Where our own sessions find the server through libpq's variables, programs do too; messages
    are in English.
    """
    own = {name: value for name, value in os.environ.items() if name not in _FORMS}
    own |= {"LC_ALL": "C.UTF-8", "LANGUAGE": "C"}
    return own | (libpq_environment(connection, database) if connection else {})


class Run:
    """One run of a program with pipes; leaving the block ends it, whatever happened.

    :param on_line: called with each line of its standard error, in a thread of its own.
    :param forgives: errors which do not count, where the program itself goes on after errors; it
        is ended at the first other one.
    """

    def __init__(
        self,
        program: Program,
        arguments: Iterable[str],
        env: Mapping[str, str],
        *,
        reads: bool = False,
        writes: bool = True,
        on_line: Callable[[str], None] | None = None,
        forgives: re.Pattern[str] | None = None,
    ) -> None:
        self.program = program
        self._argv = [program.path, *arguments]
        self._env = dict(env)
        self._reads, self._writes = reads, writes
        self._on_line = on_line
        self._forgives = forgives
        self._forgiven = self._failed = False
        self._last: deque[str] = deque(maxlen=_LAST_LINES)

    def __enter__(self) -> Run:
        self._process = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE if self._reads else subprocess.DEVNULL,
            stdout=subprocess.PIPE if self._writes else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self._env,
        )
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()
        return self

    @property
    def stdin(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdin)

    @property
    def stdout(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdout)

    def feed(self, chunks: Iterable[bytes]) -> bool:
        """Write all chunks to its standard input and close that; False when it stopped reading."""
        try:
            for chunk in chunks:
                self.stdin.write(chunk)
            self.stdin.close()
        except BrokenPipeError:
            return False
        return True

    def finish(self) -> None:
        """Wait for its end.

        :raises ToolFailed: it ended with an error; the message holds its last lines.
        """
        code = self._process.wait()
        self._listener.join()
        # 1 is also what pg_restore ends with when it has gone on after errors
        if code and not (code == 1 and self._forgiven and not self._failed):
            raise ToolFailed(
                f"{self.program.name} {self.program.version} ended with {code}:\n"
                + "\n".join(self._last)
            )

    def _listen(self) -> None:
        hidden = False
        for raw in cast("IO[bytes]", self._process.stderr):
            line = raw.decode(errors="replace").rstrip()
            if line.startswith(f"{self.program.name}:"):
                hidden = "Command was:" in line
            # a command may hold a secret (the options of a user mapping): it is left out
            hidden = hidden or line.startswith("Command was:")
            if hidden:
                continue
            if self._forgives and line.startswith(f"{self.program.name}: error:"):
                if self._forgives.search(line):
                    self._forgiven = True
                    continue
                self._failed = True
                self._process.terminate()
            self._last.append(line)
            if self._on_line:
                self._on_line(line)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # what was left to write is of no use to a program that has ended
