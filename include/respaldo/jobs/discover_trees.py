"""The applications, files and server configuration that the configuration names."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.respaldo.config.trees import HostSource, TreeConfig
from include.respaldo.errors import ConfigurationError, RespaldoError, SourceError, VaultError
from include.respaldo.jobs.acknowledge import TREES
from include.respaldo.jobs.read_catalog import archived_sources
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from include.respaldo.config import Config
    from include.respaldo.jobs.deployment import Deployment

log = logging.getLogger(__name__)

#: the name of a host's configuration
CONFIGURATION = "configuration"


@dataclass(frozen=True)
class DiscoveredTree:
    """A tree that is to be protected."""

    source: Source
    #: content of its files in bytes, as of its last backup; 0: it has none
    size: int


def configured_trees(
    config: Config, *categories: Category
) -> dict[Source, TreeConfig | HostSource]:
    """Return the trees of these categories (none named: of all) and what is said of each."""
    found: dict[Source, TreeConfig | HostSource] = {}
    for category, trees in (
        (Category.FILES, config.files),
        (Category.APPLICATIONS, config.applications),
    ):
        found |= {Source(category, tree.server, tree.name): tree for tree in trees}
    for host in config.server_configuration:
        found[Source(Category.SERVER_CONFIGURATION, host.host, CONFIGURATION)] = host
    return {s: tree for s, tree in found.items() if not categories or s.category in categories}


def configured_tree(config: Config, source: Source) -> TreeConfig | HostSource:
    """Return what the configuration says of a tree.

    :raises ConfigurationError: nothing, or no longer.
    """
    found = configured_trees(config).get(source)
    if found is None:
        raise ConfigurationError(
            f"{source} is not in the configuration",
            hint=f"add it to the section {source.category.value}; its earlier backups stay",
        )
    return found


def discover_trees(
    deployment: Deployment, category: Category, only: Sequence[str] = ()
) -> tuple[DiscoveredTree, ...]:
    """Return the trees of a category in the order of their names.

    :param only: names (``name`` or ``server/name``); none means all.
    :raises ConfigurationError: there are none.
    :raises SourceError: one of `only` is not there.
    """
    sources = sorted(configured_trees(deployment.config, category))
    if not sources:
        raise ConfigurationError(
            f"no {category.value.replace('_', ' ')} to back up: none is configured",
            hint=f"add the section {category.value} to the configuration",
        )
    if only:
        wanted = set(only)
        unknown = wanted.difference(*({s.name, s.server, str(s)} for s in sources))
        if unknown:
            known = ", ".join(map(str, sources))
            raise SourceError(f"not found: {', '.join(sorted(unknown))}", hint=f"known: {known}")
        sources = [s for s in sources if wanted & {s.name, s.server, str(s)}]
    return tuple(DiscoveredTree(source, _size(deployment, source)) for source in sources)


def sealed_before(deployment: Deployment, source: Source, run_id: str = "") -> Iterator[Manifest]:
    """Yield a source's backups, the newest first, as far as they can be read.

    :param run_id: only those begun earlier; "": all.
    :raises VaultUnreachable: neither region answers.
    """
    vaults = deployment.vaults
    listed = (keys.parse_backup_key(o.key) for o in vaults.list_either(keys.backups_prefix(source)))
    runs = {found for _, found, name in filter(None, listed) if name == keys.MANIFEST}
    for found in sorted(runs, reverse=True):
        if not run_id or found < run_id:
            try:
                yield vaults.read_verified(keys.manifest_key(source, found), Manifest.from_bytes)
            except VaultError as error:
                log.warning("%s: backup %s cannot be read: %s", source, found, error.message)


def _size(deployment: Deployment, source: Source) -> int:
    """Return the size as of the last backup; how batches are packed is no reason to fail."""
    try:
        for manifest in sealed_before(deployment, source):
            if manifest.tree is not None:
                return manifest.tree.size
    except RespaldoError as error:
        log.warning("%s: its size is not known: %s", source, error.message)
    return 0


def find_any(deployment: Deployment, name: str) -> Source:
    """Return the source of any category that a person means.

    :param name: ``name``, ``server/name`` or ``category/server/name``; configured, or in a vault.
    :raises SourceError: nothing, or more than one thing, is called so.
    """
    known = {*configured_trees(deployment.config), *archived_sources(deployment.vaults, TREES)}
    category, _, rest = name.partition("/")
    if category in set(Category) and "/" in rest and not Category(category).is_tree:
        return deployment.source(rest)
    matches = sorted(s for s in known if name in {s.name, str(s), spelled(s)})
    if name in set(map(spelled, matches)):
        return next(s for s in matches if spelled(s) == name)
    try:
        matches.append(deployment.source(name))
    except SourceError as error:
        if not matches:
            more = ", ".join(map(spelled, sorted(known)[:20]))
            raise SourceError(error.message, hint=f"{error.hint}; {more}") from None
    if len(matches) == 1:
        return matches[0]
    raise SourceError(
        f"more than one thing is called {name!r}",
        hint=f"say which: {', '.join(map(spelled, matches))}",
    )


def spelled(source: Source) -> str:
    """Return a source's name with its category: nothing else is called so."""
    return f"{source.category.value}/{source}"
