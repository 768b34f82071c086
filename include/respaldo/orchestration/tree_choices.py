"""The trees that a form offers: those of the configuration, without looking anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.respaldo.model.backup import Category

if TYPE_CHECKING:
    from include.respaldo.config import Config


def tree_choices(config: Config, category: Category) -> list[str]:
    """Return how people call the trees of a category: ``server/name``, or the host alone."""
    if category is Category.SERVER_CONFIGURATION:
        return sorted(source.host for source in config.server_configuration)
    trees = config.files if category is Category.FILES else config.applications
    return sorted(f"{tree.server}/{tree.name}" for tree in trees)
