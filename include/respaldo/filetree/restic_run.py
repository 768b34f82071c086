"""One run of restic: its secrets by its own environment, its end within a bounded time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any, cast

from include.respaldo.errors import ConfigurationError, VaultUnreachable
from include.respaldo.filetree.location import RepositoryLocation
from include.respaldo.filetree.restic_errors import error_of

#: seconds without an answer of the service after which a run is ended; restic itself waits 15 min
PATIENCE = 60.0
_LAST_LINES = 30
#: restic asks for an object that is not there for 15 minutes; so many answers are enough
_MISSING = re.compile(r"returned error, retrying after .*(?:does not exist|NoSuchKey|no such file)")
_ANSWERS = 3
#: exit status of a backup of which something could not be read
INCOMPLETE = 3
#: what restic would read of ours: only what we say counts
_FOREIGN = re.compile(r"RESTIC_|AWS_|MINIO_|GODEBUG|GOGC|GOMEMLIMIT|GOMAXPROCS|TZ$")
#: an eighth less of the processor for the memory of a few more small objects; measured
_MEMORY = {"GOGC": "400", "GOMEMLIMIT": "2GiB"}


@cache
def restic() -> tuple[str, str]:
    """Return where restic is, and its version.

    :raises ConfigurationError: it is not installed.
    """
    path = shutil.which("restic")
    if path is None:
        raise ConfigurationError(
            "restic is not installed", hint="install the package restic where this runs"
        )
    done = subprocess.run([path, "version"], capture_output=True, text=True, check=False)
    match = re.match(r"restic (\d[^\s]*)", done.stdout)
    if match is None:
        raise ConfigurationError(
            f"{path} does not say its version", hint="install the package restic again"
        )
    return path, match[1]


def is_at_least(*version: int) -> bool:
    """Return whether the installed restic is of this version (major, minor) or newer."""
    return tuple(int(number) for number in re.findall(r"\d+", restic()[1])[:2]) >= version


class ResticRun:
    """Run restic to its end; leaving the block ends it, whatever happened.

    :param on_message: called with each line of JSON that it prints.
    :param to: a file that gets what it prints, instead.
    """

    def __init__(
        self,
        location: RepositoryLocation,
        cache_folder: Path,
        arguments: Sequence[str | bytes],
        *,
        on_message: Callable[[dict[str, Any]], None] | None = None,
        to: IO[bytes] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._location = location
        self._argv = [
            restic()[0],
            *("--cache-dir", str(cache_folder), *location.options),
            *arguments,
        ]
        self._on_message = on_message
        self._to = to
        self._patience = patience
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._ended = Event()
        self._unreachable = False
        #: what it said of single entries that it could not read
        self.errors = 0

    def finish(self) -> int:
        """Run it; return `INCOMPLETE` or 0.

        :raises VaultUnreachable: the service does not answer, or no longer.
        :raises RespaldoError: whatever else `error_of` makes of what it said.
        """
        endpoint = self._location.endpoint
        if endpoint and not _answers_within(endpoint, min(self._patience, 15.0)):
            raise self._gone()
        process = subprocess.Popen(
            self._argv,
            stdin=subprocess.DEVNULL,
            stdout=self._to if self._to is not None else subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(self._location),
            start_new_session=True,  # a Ctrl-C is ours: it is told to end in order
        )
        threads = [Thread(target=self._listen, args=(process,), daemon=True)]
        if endpoint:
            threads.append(Thread(target=self._watch, args=(process,), daemon=True))
        for thread in threads:
            thread.start()
        try:
            if process.stdout is not None:
                self._read(process.stdout)
            status = process.wait()
        finally:
            self._ended.set()
            _end(process)
            for thread in threads:
                thread.join()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        if self._unreachable:
            raise self._gone()
        if status not in {0, INCOMPLETE}:
            raise error_of(self._argv_shown(), status, "\n".join(self._last), self._location.uri)
        return status

    def _argv_shown(self) -> str:
        skip = 3 + len(self._location.options)
        return f"restic {os.fsdecode(self._argv[skip])}"

    def _read(self, stdout: IO[bytes]) -> None:
        for line in stdout:
            if self._on_message and line.startswith((b"{", b"[")):
                with contextlib.suppress(ValueError):
                    found = json.loads(line)
                    for message in found if isinstance(found, list) else [found]:
                        self._on_message(message)

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        missing = 0
        for raw in cast("IO[bytes]", process.stderr):
            line = raw.decode(errors="replace").rstrip()
            if line.startswith('{"message_type":"error"'):
                self.errors += '"during":"archival"' in line
                continue
            self._last.append(line)
            missing += _MISSING.search(line) is not None
            if missing == _ANSWERS:
                process.send_signal(signal.SIGINT)  # it removes its lock, and ends

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """End it once the service has not answered for too long."""
        answered = time.monotonic()
        while not self._ended.wait(min(5.0, self._patience / 4)):
            if answers(self._location.endpoint, timeout=min(10.0, self._patience)):
                answered = time.monotonic()
            elif time.monotonic() - answered >= self._patience and not self._ended.is_set():
                self._unreachable = True
                _end(process, first=signal.SIGKILL)  # in order, it would wait for the service
                return

    def _gone(self) -> VaultUnreachable:
        return VaultUnreachable(
            f"{self._location.endpoint} does not answer",
            hint="the run is repeated; see whether the service is up and reachable from here",
        )


def _end(process: subprocess.Popen[bytes], first: signal.Signals = signal.SIGINT) -> None:
    """End it, so that it removes its lock if it still can."""
    for how in (first, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)


def _environment(location: RepositoryLocation) -> Mapping[str, str]:
    own = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
    return own | {
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        **_MEMORY,
        "RESTIC_PROGRESS_FPS": "1",
        "RESTIC_REPOSITORY": location.uri,
        **location.environment,
    }


def _answers_within(endpoint: str, seconds: float) -> bool:
    end = time.monotonic() + seconds
    pause = Event()
    while not answers(endpoint, timeout=min(5.0, seconds)):
        if time.monotonic() >= end:
            return False
        pause.wait(min(1.0, seconds / 4))
    return True


def answers(endpoint: str, *, timeout: float = 5.0) -> bool:
    """Return whether a service answers HTTP; a refusal is an answer, a fault is none."""
    context = ssl.create_default_context()
    # whether it is the right one is checked by restic
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    try:
        request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 (the vault's)
        opener.open(request, timeout=timeout).close()
    except urllib.error.HTTPError as e:
        e.close()
        return e.code < 500 or e.code == 501  # a gateway answers for what is not there
    except (OSError, ValueError):
        return False
    return True
