"""What an application says that it is: a file, a program, or a git revision."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from include.respaldo.config.trees import ApplicationConfig, TreeConfig, VersionConfig
from include.respaldo.errors import SourceError
from include.respaldo.model.file_tree import shown

if TYPE_CHECKING:
    from include.respaldo.ssh.host import SshHost

#: seconds that an application may take to say it
_PATIENCE = 30.0
_LONGEST = 200
_THERE = 'cd -- "$1" && shift && exec "$@"'
_FIRST_BYTES = ("head", "-c", "4096", "--")


def announced_version(tree: TreeConfig, root: Path, host: SshHost | None) -> str:
    """Return the version, a line for people; "": the application is not asked for any.

    :param root: where the application is: on the host, or here.
    :raises SourceError: it does not say it, with what it says instead.
    :raises HostUnreachable: the host did not answer within half a minute.
    """
    asked = tree.version if isinstance(tree, ApplicationConfig) else None
    if asked is None:
        return ""
    arguments = _arguments(asked, root)
    output = _ask_host(host, arguments, root) if host else _ask_here(arguments, root)
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines()]
    first = next(filter(None, lines), "")
    if not first:
        raise SourceError(
            f"{shown(arguments[0])} names no version",
            hint="correct `version` of this application in the configuration",
        )
    return shown(first)[:_LONGEST]


def _arguments(asked: VersionConfig, root: Path) -> tuple[str, ...]:
    if asked.file is not None:
        return (*_FIRST_BYTES, str(root / asked.file))
    if asked.command is not None:
        return asked.command
    return ("git", "-C", str(root), "describe", "--always", "--dirty")


def _ask_host(host: SshHost, arguments: tuple[str, ...], root: Path) -> bytes:
    done = host.run(["sh", "-c", _THERE, "sh", str(root), *arguments], timeout=_PATIENCE)
    if done.returncode:
        raise _refused(arguments, done.returncode, done.stderr)
    return done.stdout


def _ask_here(arguments: tuple[str, ...], root: Path) -> bytes:
    """Run it in a process group of its own, so that all of it ends when its time is over."""
    environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    program = arguments[0]
    if "/" in program:
        program = str(root / program)
    try:
        process = subprocess.Popen(
            [program, *arguments[1:]],
            cwd=root,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise _refused(arguments, 127, str(error).encode()) from None
    with process:
        try:
            output, complaint = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            raise SourceError(
                f"{shown(arguments[0])} did not end within {_PATIENCE:.0f} s",
                hint="let it only print the version, or use `file`",
            ) from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise _refused(arguments, process.returncode, complaint)
    return output


def _refused(arguments: tuple[str, ...], status: int, complaint: bytes) -> SourceError:
    lines = complaint.decode("utf-8", "replace").strip().splitlines()
    said = f": {shown(lines[-1])}" if lines else ""
    hint = "correct `version` of this application in the configuration"
    if "safe.directory" in complaint.decode("utf-8", "replace"):
        hint = "as the login that asks: git config --global --add safe.directory <its path>"
    return SourceError(f"{shown(arguments[0])} ended with {status}{said}", hint=hint)
