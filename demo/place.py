"""Where the demo lives: one folder, which PostgreSQL's account can enter."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PREFERRED = ROOT / ".respaldo" / "demo"
#: tells a folder of the demo from anything else that lies there
_MARK = "this-folder-is-the-demo-of-respaldo"


def folder() -> Path:
    """Return the demo's folder, the same at every call; it need not exist.

    Started by root, PostgreSQL runs as the account ``postgres``. Where that account may not enter
    the project (a clone in /root), the folder lies in /var/lib.
    """
    if os.geteuid() == 0 and not _enterable(ROOT):
        name = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
        return Path("/var/lib") / f"respaldo-demo-{name}"
    return PREFERRED


def make(place: Path) -> None:
    """Make the folder: others may pass through it, and see nothing of it.

    :raises FileExistsError: something else lies there.
    """
    if place.exists() and not is_demo(place) and any(place.iterdir()):
        raise FileExistsError(f"{place} is there and is no folder of the demo; move it away")
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o711)
    (place / _MARK).touch()


def is_demo(place: Path) -> bool:
    """Return whether `make` made it."""
    return (place / _MARK).is_file()


def remove(place: Path) -> None:
    """Delete the folder, if `make` made it."""
    if not is_demo(place):
        return
    shutil.rmtree(place)
    if place == PREFERRED and not any(PREFERRED.parent.iterdir()):
        PREFERRED.parent.rmdir()


def _enterable(path: Path) -> bool:
    try:
        done = subprocess.run(
            ["test", "-x", str(path)], user="postgres", group="postgres", extra_groups=[],
            check=False,
        )  # fmt: skip
    except (KeyError, LookupError):
        return False  # no such account
    return done.returncode == 0
