"""Files on their way to a host that is rebuilt: one private archive, unpacked there as root."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from hashlib import file_digest
from pathlib import Path

from include.respaldo.debian.asking import REBUILD_FOLDER, Runner, run
from include.respaldo.debian.description import HostFile
from include.respaldo.debian.plan_files import OwnerMap
from include.respaldo.errors import ToolFailed
from include.respaldo.model.file_tree import Kind

_PIECE = 8 * 2**20
_LONG = 600.0
_TYPES = {Kind.FILE: tarfile.REGTYPE, Kind.FOLDER: tarfile.DIRTYPE, Kind.LINK: tarfile.SYMTYPE}
_BEGIN = 'umask 077 && mkdir -p "$1" && : >"$2"'
_UNPACK = (
    *("tar", "--extract", "--directory=/", "--numeric-owner", "--same-permissions"),
    *("--same-owner", "--keep-directory-symlink", "--xattrs", "--xattrs-include=*"),
)


def put_files(
    host: Runner,
    files: Sequence[tuple[HostFile, str]],
    tree: Path,
    owners: OwnerMap,
    scratch: Path,
) -> str:
    """Bring files to a host with all that they are; nobody else sees them on the way.

    :param files: (as the lost host had it, its path on the target).
    :param tree: where the lost host's files lie here.
    :returns: what the host complained of; "": nothing.
    :raises ToolFailed: the archive did not arrive whole.
    """
    bundle = scratch / "files.tar"
    _pack(bundle, files, tree, owners)
    there = f"{REBUILD_FOLDER}/files.tar"
    try:
        _send(host, bundle, there)
        done = run(host, [*_UNPACK, f"--file={there}"], timeout=_LONG)
        return done.said if done.returncode else ""
    finally:
        bundle.unlink()
        run(host, ["rm", "-f", there])


def _pack(
    bundle: Path, files: Sequence[tuple[HostFile, str]], tree: Path, owners: OwnerMap
) -> None:
    descriptor = os.open(bundle, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with (
        os.fdopen(descriptor, "wb") as raw,
        tarfile.open(
            fileobj=raw, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape"
        ) as archive,
    ):
        for file, path in sorted(files, key=lambda pair: pair[1]):
            here = tree / file.path.removeprefix("/")
            member = _member(replace(file, path=path), owners)
            if file.kind is Kind.FILE:
                member.pax_headers = _attributes(here)
                with here.open("rb") as content:
                    member.size = os.fstat(content.fileno()).st_size
                    archive.addfile(member, content)
            else:
                archive.addfile(member)


def _member(file: HostFile, owners: OwnerMap) -> tarfile.TarInfo:
    member = tarfile.TarInfo(file.path.removeprefix("/"))
    member.type = _TYPES[file.kind]
    member.mode = file.mode
    member.uid, member.gid = owners.uid(file.uid), owners.gid(file.gid)
    member.mtime = file.mtime_ns // 10**9
    member.linkname = file.target
    return member


def _attributes(path: Path) -> dict[str, str]:
    """Return extended attributes as pax headers: capabilities, above all."""
    try:
        names = os.listxattr(path)
    except OSError:
        return {}
    return {
        f"SCHILY.xattr.{name}": os.fsdecode(os.getxattr(path, name))
        for name in names
        if not name.startswith(("user.rsync.", "system."))
    }


def _send(host: Runner, file: Path, to: str) -> None:
    """Send a file of any size in pieces, with nothing but a shell on the other side."""
    _must(host, ["sh", "-c", _BEGIN, "sh", REBUILD_FOLDER, to])
    with file.open("rb") as content:
        digest = file_digest(content, "sha256").hexdigest()
        content.seek(0)
        while piece := content.read(_PIECE):
            _must(host, ["sh", "-c", 'cat >>"$1"', "sh", to], piece)
    found = _must(host, ["sha256sum", "--", to]).split()[0]
    if found != digest:
        raise ToolFailed(f"the files did not arrive at {host.name} as they were sent")


def _must(host: Runner, arguments: Sequence[str], input: bytes | None = None) -> str:
    done = run(host, arguments, input=input, timeout=_LONG)
    if done.returncode:
        raise ToolFailed(
            f"{arguments[0]} ended with {done.returncode} on {host.name}:\n{done.said}",
            hint="see that its disk has room, and that the login is root",
        )
    return done.text
