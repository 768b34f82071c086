"""The base that embedded hosts are copies of: a small Debian, made once by debootstrap."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RELEASE = "bookworm"
ARCHIVE = "http://deb.debian.org/debian"
PACKAGES = ("ca-certificates", "openssh-server", "rsync", "systemd")
MAKING_LIMIT = 600

#: a chroot shares the machine's ports: what is installed in it must not start by itself
_NO_SERVICES = "#!/bin/sh\nexit 101\n"


class EmbeddedHostUnavailable(Exception):
    """No host can be made here; the message says plainly why, and what would help."""


def find_base() -> Path:
    """Return the folder of the base tree, made first where it is missing (about a minute).

    It lies in ``.respaldo/`` of the project, or below ``XDG_CACHE_HOME`` where that is set, and is
    shared by all that want it: of several processes one makes it and the others wait.

    :raises EmbeddedHostUnavailable: it cannot be made here.
    """
    cache = os.environ.get("XDG_CACHE_HOME")
    folder = Path(cache, "respaldo") if cache else ROOT / ".respaldo" / "cache"
    recipe = " ".join((RELEASE, ARCHIVE, *PACKAGES, _NO_SERVICES, platform.machine(), "1"))
    base = folder / f"{RELEASE}-{sha256(recipe.encode()).hexdigest()[:12]}"
    if not base.exists():
        _need()
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / "making.lock"):
            if not base.exists():
                _make(base)
    return base


def copy_base(to: Path) -> None:
    """Copy the base tree; where the filesystem can, without copying its bytes.

    :raises EmbeddedHostUnavailable: there is no base, and it cannot be made.
    """
    _need_root()
    base = find_base()
    to.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["cp", "-a", "--reflink=auto", "--", base, to], capture_output=True, text=True, check=False
    )
    if done.returncode:
        shutil.rmtree(to, ignore_errors=True)
        raise EmbeddedHostUnavailable(f"the base tree cannot be copied: {done.stderr.strip()}")


def _need_root() -> None:
    if os.geteuid() != 0:
        raise EmbeddedHostUnavailable(
            "a host in a chroot needs root: run this as root to have it (sudo)"
        )


def _need() -> None:
    _need_root()
    for program in ("debootstrap", "ssh-keygen"):
        if shutil.which(program, path=_path()) is None:
            raise EmbeddedHostUnavailable(
                f"{program} is not installed: apt-get install debootstrap openssh-client"
            )


def _path() -> str:
    """Return PATH with the folders of an administrator's programs."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # ends with the process, however it ends
        yield


def _make(base: Path) -> None:
    # whoever made one before and was killed has left it; nobody else is at it now
    making = base.with_name(f"{base.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    log = base.with_name("making.log")
    command = ("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}")
    with log.open("wb") as out:
        try:
            done = subprocess.run(
                [*command, RELEASE, str(making), ARCHIVE],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={"PATH": _path(), "LC_ALL": "C.UTF-8", **_proxies()},
                timeout=MAKING_LIMIT,
                check=False,
            )
            failed = f"it ended with {done.returncode}" if done.returncode else ""
        except subprocess.TimeoutExpired:
            failed = f"it took longer than {MAKING_LIMIT} s"
    if failed:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        inner = making / "debootstrap" / "debootstrap.log"
        if inner.exists():
            last += "\n" + "\n".join(inner.read_text(errors="replace").splitlines()[-5:])
        shutil.rmtree(making, ignore_errors=True)
        raise EmbeddedHostUnavailable(
            f"debootstrap could not make a {RELEASE} from {ARCHIVE}: {failed}\n{last}"
        )
    for pattern in (
        "var/cache/apt/archives/*.deb",
        "var/lib/apt/lists/*",
        "etc/ssh/ssh_host_*",  # each host has keys of its own
        "var/log/*.log",
    ):
        for path in making.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    policy = making / "usr/sbin/policy-rc.d"
    policy.write_text(_NO_SERVICES)
    policy.chmod(0o755)
    making.rename(base)


def _proxies() -> dict[str, str]:
    names = ("http_proxy", "https_proxy", "no_proxy")
    return {name: os.environ[name] for name in names if name in os.environ}
