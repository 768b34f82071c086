"""Where dumps lie until they are verified and uploaded: a folder, or a shared volume."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from include.respaldo.errors import ConfigurationError


class LandingZone:
    """A folder that all workers see; tasks pass URIs within it to each other.

    :param uri: ``file:///var/tmp/respaldo``.
    :raises ConfigurationError: another scheme, another host, or not an absolute path.
    """

    def __init__(self, uri: str) -> None:
        self.root = _path(uri).resolve()
        self.uri = self.root.as_uri()

    def path(self, *parts: str) -> Path:
        """Return a path below the zone; its folders are made, for the owner alone.

        :param parts: names as `encode_name` writes them.
        :raises ConfigurationError: a part would leave its place.
        """
        for part in parts:
            if part in {"", ".", ".."} or "/" in part or "\0" in part:
                raise ConfigurationError(f"not a name within the landing zone: {part!r}")
        found = self.root.joinpath(*parts)
        missing = [p for p in (found.parent, *found.parent.parents) if not p.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
        return found

    def uri_of(self, path: Path) -> str:
        """Return the URI of a path within the zone.

        :raises ConfigurationError: it lies outside.
        """
        return f"file://{quote(str(self._within(path, str(path))))}"

    def path_of(self, uri: str) -> Path:
        """Return the path of a URI within the zone.

        :raises ConfigurationError: it lies outside.
        """
        return self._within(_path(uri), uri)

    def remove_tree(self, path: Path) -> None:
        """Remove a file or a folder with all that is in it; no error where there is none.

        :raises ConfigurationError: it lies outside the zone, or is the zone itself.
        """
        found = self._within(path, str(path))
        if found == self.root:
            raise ConfigurationError("the landing zone itself is never removed")
        if found.is_dir() and not found.is_symlink():
            shutil.rmtree(found, ignore_errors=False)
        else:
            found.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Return how many bytes can be landed here now."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        return shutil.disk_usage(self.root).free

    def _within(self, path: Path, shown: str) -> Path:
        # what a name says, and where links lead: both must stay inside
        plain = self.root / path
        if ".." in plain.parts or not plain.is_relative_to(self.root):
            plain = plain.resolve()
        if not plain.is_relative_to(self.root) or not plain.parent.resolve().is_relative_to(
            self.root if plain != self.root else self.root.parent
        ):
            raise ConfigurationError(
                f"outside the landing zone {self.uri}: {shown}",
                hint="all workers must be configured with the same landing zone",
            )
        return plain


def _path(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"} or parts.query:
        raise ConfigurationError(
            f"the landing zone is a folder or a shared volume for now, found {uri!r}",
            hint="mount the volume on every worker and write file:///path/to/it",
        )
    path = Path(unquote(parts.path))
    if not path.is_absolute():
        raise ConfigurationError(f"not an absolute path: {uri!r}", hint="write file:///path")
    return path
