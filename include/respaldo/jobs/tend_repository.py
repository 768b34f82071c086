"""The restic repositories of trees as retention and the geo-redundancy check see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.respaldo.errors import ConfigurationError
from include.respaldo.model.backup import Category

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment


def repository_is_whole(deployment: Deployment, category: Category) -> bool:
    """Return whether restic finds all that the primary's repository speaks of."""
    raise ConfigurationError("no repository is configured", hint="set `repository`")
