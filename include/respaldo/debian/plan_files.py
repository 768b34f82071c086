"""Plan a rebuild's files: what the lost host had of its own, never what lets us in."""

from __future__ import annotations

from collections.abc import Iterator

from include.respaldo.debian.asking import HOST_KEYS_READY, ROOTS
from include.respaldo.debian.description import Description, HostFile, Standing, Target
from include.respaldo.debian.kept_back import (
    ACCOUNTS,
    GENERATED,
    HOST_KEYS,
    is_host_key,
    is_repository,
    path_kept_back,
)
from include.respaldo.debian.rebuild import Action, LeftOut, Phase, Verb, Wish
from include.respaldo.model.file_tree import Kind

_OTHER_VERSION = "the package's own file, of the version that the target has"
_NO_PACKAGE = "the package's own file, and the package is not on the target"
#: these files say nothing that accounts and the files they are made of do not
_TOLD_ELSEWHERE = frozenset({ACCOUNTS, GENERATED})
_READY = (
    f"the lost host's are ready in {HOST_KEYS_READY}: once nobody relies on the target's own, copy "
    "them to /etc/ssh, restart ssh, and put the public one into the connection (host_key)"
)
_UNREAD = "it could not be read when the lost host was backed up"


class OwnerMap:
    """Which ids of the target stand for the lost host's: those of the same name."""

    def __init__(self, lost: Description, now: Description) -> None:
        self._lost, self._now = lost, now

    def uid(self, number: int) -> int:
        """Return the target's id of a user of the lost host; its own where there is no name."""
        user = self._now.user.get(self._lost.user_names.get(number, ""))
        return number if user is None else user.uid

    def gid(self, number: int) -> int:
        """Return the target's id of a group of the lost host; its own where there is no name."""
        group = self._now.group.get(self._lost.group_names.get(number, ""))
        return number if group is None else group.gid


def plan_files(lost: Description, target: Target, wish: Wish) -> Iterator[Action | LeftOut]:
    """Yield the files that are brought, those that go, and those that stay as they are."""
    now = target.now
    owners = OwnerMap(lost, now)
    keys = [r for r in lost.roots if r not in ROOTS and r.startswith("/usr/share/keyrings")]
    for file in lost.files:
        here = now.file.get(file.path)
        what = _difference(file, here, owners)
        if not what:
            continue
        kept = path_kept_back(file.path, is_link=file.kind is Kind.LINK, target=file.target)
        kept = kept or _unread(file) or _of_package(file.path, lost, now)
        if kept is None:
            phase = Phase.REPOSITORIES if is_repository(file.path, keys) else Phase.FILES
            yield Action(phase, Verb.PUT, file.path, what)
        elif kept not in _TOLD_ELSEWHERE and (kept != HOST_KEYS or not wish.as_itself):
            yield LeftOut(file.path, kept)
    if wish.as_itself:
        yield from _host_keys(lost, now)
    yield from _removals(lost, target)


def _difference(file: HostFile, here: HostFile | None, owners: OwnerMap) -> str:
    """Return how the target's file differs, for people; "": it does not."""
    if here is None:
        return "the target does not have it"
    if file.kind is not here.kind:
        return f"the target has a {here.kind.value} there"
    if file.kind is Kind.LINK:
        return "" if file.target == here.target else f"it leads to {here.target} on the target"
    found = []
    if file.sha256 != here.sha256:
        found.append("content")
    if file.mode != here.mode:
        found.append(f"mode {here.mode:04o}, not {file.mode:04o}")
    if (owners.uid(file.uid), owners.gid(file.gid)) != (here.uid, here.gid):
        found.append("owner")
    return f"differs on the target in {', '.join(found)}" if found else ""


def _unread(file: HostFile) -> str | None:
    return _UNREAD if file.kind is Kind.FILE and not file.sha256 else None


def _of_package(path: str, lost: Description, now: Description) -> str | None:
    """Return why an untouched file of a package is left to the package; None: it is brought."""
    conffile = lost.conffile.get(path)
    if conffile is None or conffile.standing is not Standing.INTACT or conffile.obsolete:
        return None
    then, here = lost.package.get(conffile.package), now.package.get(conffile.package)
    if here is None:
        return _NO_PACKAGE
    return None if then is not None and then.version == here.version else _OTHER_VERSION


def _host_keys(lost: Description, now: Description) -> Iterator[Action | LeftOut]:
    """Yield the lost host's keys that are laid ready: put in place, they would lock us out."""
    for file in lost.files:
        if not is_host_key(file.path) or not file.sha256:
            continue
        ready = f"{HOST_KEYS_READY}/{file.path.rpartition('/')[2]}"
        in_place, laid = now.file.get(file.path), now.file.get(ready)
        if in_place is not None and in_place.sha256 == file.sha256:
            continue
        if laid is not None and laid.sha256 == file.sha256:
            yield LeftOut(file.path, _READY)
        else:
            yield Action(
                Phase.FILES,
                Verb.PUT,
                ready,
                "laid ready: in place it would keep out whoever knows the target's own key",
                file.path,
            )


def _removals(lost: Description, target: Target) -> Iterator[Action]:
    """Yield what the lost host had removed: conffiles, and what the packages have just brought."""
    now, before = target.now, target.before
    for conffile in lost.conffiles:
        if (
            conffile.standing is Standing.DELETED
            and conffile.path in now.file
            and path_kept_back(conffile.path) is None
        ):
            because = f"the lost host had removed this file of {conffile.package}"
            yield Action(Phase.FILES, Verb.REMOVE, conffile.path, because)
    if before is None or "passwords" in dict(lost.missing):
        return  # whoever may not read all may not say what was not there
    for file in reversed(now.files):  # what is below goes before its folder
        if (
            file.path in lost.file
            or file.path in before
            or file.path in lost.conffile
            or not _is_below(file.path, lost.roots)
            or path_kept_back(file.path, is_link=file.kind is Kind.LINK, target=file.target)
        ):
            continue
        conffile_here = now.conffile.get(file.path)
        if conffile_here is None and not _holds_conffile(file, now):
            because = "it came with a package, and the lost host did not have it"
            yield Action(Phase.FILES, Verb.REMOVE, file.path, because)


def _is_below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def _holds_conffile(file: HostFile, now: Description) -> bool:
    """Return whether a folder has files of packages that stay."""
    if file.kind is not Kind.FOLDER:
        return False
    return any(path.startswith(file.path + "/") for path in now.conffile)
