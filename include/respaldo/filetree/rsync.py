"""One run of rsync: how it is started and watched, and what its last words mean."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread, Timer
from typing import IO

from include.respaldo.errors import (
    ConfigurationError,
    HostUnreachable,
    RespaldoError,
    SourceError,
    ToolFailed,
)
from include.respaldo.filetree.silence import Watchdog
from include.respaldo.model.file_tree import Problem, ReadProblem
from include.respaldo.model.units import size_text
from include.respaldo.ports import Progress
from include.respaldo.ssh.host import SshHost

#: seconds without a byte after which a transfer has failed
SILENCE = 300
#: exit statuses; rsync(1), EXIT VALUES
_FILE_IO = 11
PARTIAL, VANISHED = 23, 24
_CONNECTION = frozenset({5, 10, 12, 30, 255})
_TIMEOUT = 30
_LAST_LINES = 20
#: seconds that it may take to end once it has closed its output, or was told to
_ENDING = 60

#: everything that a file is; names are data for the shell of the other side, too
EXACT = (
    *("--archive", "--hard-links", "--acls", "--xattrs", "--sparse", "--numeric-ids"),
    *("--protect-args", "--8-bit-output", "--info=progress2", f"--timeout={SILENCE}"),
    "--modify-window=-1",  # a change within the same second is one
)

_DONE = re.compile(rb"^\s*([\d,]+)\s+\d+%")
_GONE = re.compile(r'^(?:rsync: \[\w+\] )?(?:file|directory) has vanished: "(.*)"$')
_VERIFICATION = re.compile(r"^ERROR: (.*) failed verification -- update ")
_ATTRIBUTE = re.compile(r'^rsync: \[(\w+)\] [^"]*\("(.*?)","[^"]*".*\) failed: (.*) \(\d+\)$')
_FAILED = re.compile(r'^rsync: \[(\w+)\] [^"]*"(.*)"\)?(?: \(in .*\))?(?: failed)?: (.*) \(\d+\)$')
_ROOT = re.compile(r'^rsync: \[sender\] change_dir "(.*)" failed: (.*) \(\d+\)$')
_ESCAPED = re.compile(rb"\\#([0-7]{3})")


@dataclass
class Ended:
    """What one run left."""

    status: int
    #: the two sides had found each other
    begun: bool = False
    #: what was brought, in bytes
    done: int = 0
    #: relative paths; those of rsync's lines that are understood, and "" for those that are not
    problems: list[ReadProblem] = field(default_factory=list)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))
    #: nothing had come for so long that it was given up
    silent: bool = False
    #: why nothing at all could be read
    root: str = ""
    disk_full: bool = False


def run_rsync(
    host: SshHost,
    arguments: Sequence[str],
    *,
    roots: Sequence[str],
    progress: Progress,
) -> Ended:
    """Run rsync until it ends; the host's name in its arguments is `ssh.host.ALIAS`.

    :param roots: the trees of both sides, as its messages begin paths with.
    :raises HostUnreachable: no connection, or it was lost: run it again, it goes on.
    :raises ConfigurationError: rsync is not installed, or the host does not let us in.
    :raises ToolFailed: it ended with an error that is not about single files or the disk.
    """
    program = shutil.which("rsync")
    if program is None:
        raise ConfigurationError("rsync is not installed", hint="apt-get install rsync")
    log = host.new_log()
    own = [] if os.geteuid() == 0 else ["--fake-super"]  # owners are kept beside the files
    process = subprocess.Popen(
        [program, *EXACT, *own, f"--rsh={host.rsync_shell(log)}", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=host.environment(),
        process_group=0,  # with the ssh that it starts
    )
    assert process.stdout is not None
    assert process.stderr is not None
    ended = Ended(status=-1)
    listener = Thread(target=_listen, args=(process.stderr, roots, ended), daemon=True)
    listener.start()
    try:
        with Watchdog(process.pid, SILENCE) as watchdog:
            for done in _progress(process.stdout):
                ended.begun, ended.done = True, done
                progress.advance(done, None, "bytes")
        ended.silent = watchdog.fired
    except BaseException:
        process.terminate()  # it keeps what it has of the file it was at
        raise
    finally:
        ended.status = _wait_for_all(process)
        listener.join()
        process.stdout.close()
        process.stderr.close()
    error = _fatal(host, log, ended)
    if error is not None:
        raise error
    return ended


def _wait_for_all(process: subprocess.Popen[bytes]) -> int:
    """Return the exit status, once its ssh has ended, too: that waits for a host fallen silent."""
    limit = Timer(_ENDING, process.kill)
    limit.start()
    try:
        # not reaped yet: the number of its group cannot have become another's
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    finally:
        limit.cancel()
    os.killpg(process.pid, signal.SIGTERM)
    return process.wait()


def disk_is_full(folder: Path, ended: Ended) -> SourceError:
    """Return the error of a disk of this machine that has no room for what is brought."""
    disk = shutil.disk_usage(folder)
    return SourceError(
        f"the disk of {folder} is full: {size_text(disk.free)} of {size_text(disk.total)} free, "
        f"{size_text(ended.done)} had been brought this time",
        hint="make room there (the whole tree must fit), or move the landing zone to a larger "
        "disk; the next run goes on with what is there",
    )


def _fatal(host: SshHost, log: Path, ended: Ended) -> RespaldoError | None:
    """Return why the run is worth nothing; None where it went on to its end, or the disk ended."""
    if ended.status in {0, PARTIAL, VANISHED} or ended.disk_full:
        return None
    if ended.silent or ended.status == _TIMEOUT:
        return HostUnreachable(
            f"{host.name} has sent nothing for {SILENCE} s",
            hint="see what the host and the network between are busy with; the next run goes "
            "on with what is there",
        )
    said = "\n".join(ended.last)
    if ended.status in _CONNECTION:
        error = host.failure(log)
        if isinstance(error, HostUnreachable) and ended.begun:
            return _lost(host, error.message)
        if error is not None:
            return error
        if "closed by remote host" in said or "connection unexpectedly closed" in said:
            return _lost(host, said)
    if ended.status == _FILE_IO or ended.status > 0:
        return ToolFailed(f"rsync with {host.name} ended with {ended.status}:\n{said}")
    return ToolFailed(f"rsync with {host.name} was ended by signal {-ended.status}")


def _lost(host: SshHost, said: str) -> HostUnreachable:
    return HostUnreachable(
        f"the connection to {host.name} was lost during the transfer:\n{said}",
        hint="see that the host is up; the next run goes on with what is there",
    )


def _progress(pipe: IO[bytes]) -> Iterator[int]:
    """Yield the bytes that rsync says are done, as ``--info=progress2`` writes them."""
    rest = b""
    while chunk := os.read(pipe.fileno(), 65536):
        *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        found = [match for line in lines if (match := _DONE.match(line))]
        if found:
            yield int(found[-1][1].replace(b",", b""))


def _listen(pipe: IO[bytes], roots: Sequence[str], ended: Ended) -> None:
    for raw in pipe:
        # split first: a newline within a name is written \#012
        line = os.fsdecode(raw.rstrip(b"\n"))
        if not line.strip():
            continue
        if root := _ROOT.match(line):
            ended.root = root[2]
        if "No space left on device" in line or "Disk quota exceeded" in line:
            ended.disk_full = True
        problem = _problem(line, roots)
        if problem is not None:
            ended.problems.append(problem)
        ended.last.append(line.encode(errors="replace").decode())


def _problem(line: str, roots: Sequence[str]) -> ReadProblem | None:
    """Return what a line says of one entry; None where it is not about entries."""
    if gone := _GONE.match(line):
        return ReadProblem(_relative(gone[1], roots), Problem.VANISHED, "it was gone when read")
    if changed := _VERIFICATION.match(line):
        return ReadProblem(
            _relative(changed[1], roots), Problem.CHANGED, "it changed each time it was read"
        )
    if failed := _ATTRIBUTE.match(line) or _FAILED.match(line):
        path, reason = _relative(failed[2], roots), failed[3]
        gone_since = failed[1] == "sender" and "No such file" in reason
        return ReadProblem(path, Problem.VANISHED if gone_since else Problem.UNREADABLE, reason)
    if line.startswith("rsync: ["):
        return ReadProblem("", Problem.UNREADABLE, line)
    return None


def _relative(shown: str, roots: Sequence[str]) -> str:
    """Return the path below one of the roots that rsync has written; "" where it is below none."""
    raw = _ESCAPED.sub(lambda m: bytes((int(m[1], 8),)), os.fsencode(shown))
    path = os.fsdecode(raw)
    if not path.startswith("/"):
        return path
    for root in roots:
        below = root.rstrip("/") + "/"
        if path.startswith(below):
            return path.removeprefix(below)
    return ""
