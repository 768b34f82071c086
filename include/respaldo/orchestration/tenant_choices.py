"""The tenants that a form offers: a small file beside the landing zone, read when DAGs are parsed.

Parsing may touch no database; so the tasks that look at the servers anyway keep the list.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from include.respaldo.errors import RespaldoError
from include.respaldo.model.backup import Category, Source

if TYPE_CHECKING:
    from include.respaldo.config import Config
    from include.respaldo.jobs.deployment import Deployment

log = logging.getLogger(__name__)
FILE = "tenants.json"


def read_choices(config: Config) -> list[str]:
    """Return the names to choose from; none where no backup has run yet."""
    try:
        found = json.loads((config.landing_folder / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(found, list):
        return []
    return [name for name in found if isinstance(name, str)]


def refresh_choices(deployment: Deployment) -> None:
    """Write the list anew: the tenants on the servers now, and those that only a vault still has.

    Never fails: an older list is better than no backup.
    """
    from include.respaldo.jobs.discover import discover
    from include.respaldo.jobs.read_catalog import archived_sources

    tenants = frozenset({Category.TENANT_DATABASES})
    try:
        found = discover(deployment, tenants)
        sources = {*found.sources, *archived_sources(deployment.vaults)}
        names = names_of(s for s in sources if s.category in tenants)
        write_choices(deployment.config, names)
    except (RespaldoError, OSError) as error:
        log.warning("the list of tenants was not refreshed: %s", error)


def names_of(sources: Iterable[Source]) -> list[str]:
    """Return how people call them, sorted: by their name, with the server where two share one."""
    unique = set(sources)
    shared = Counter(source.name for source in unique)
    return sorted(str(s) if shared[s.name] > 1 or "/" in s.name else s.name for s in unique)


def write_choices(config: Config, names: list[str]) -> None:
    """Replace the list in one step; leave it alone where nothing has changed."""
    if (config.landing_folder / FILE).exists() and read_choices(config) == names:
        return  # each change makes a new version of the DAG
    config.landing_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with NamedTemporaryFile(
        "w", encoding="utf-8", dir=config.landing_folder, prefix=FILE, delete=False
    ) as file:
        json.dump(names, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(config.landing_folder / FILE)
