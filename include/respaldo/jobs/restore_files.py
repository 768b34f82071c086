"""Bring files of a backup back: beside the original, or to a folder of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.respaldo.model.tree_restore_plan import (
    TreeRestored,
    TreeRestorePlan,
    TreeRestoreRequest,
)

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment


def plan(deployment: Deployment, request: TreeRestoreRequest) -> TreeRestorePlan:
    """Return what would be restored, from where, where to; changes nothing.

    :raises RestoreRefused: it cannot be had, or has no room; the hint is the next step.
    """
    raise NotImplementedError


def restore(deployment: Deployment, plan: TreeRestorePlan) -> TreeRestored:
    """Bring it under a temporary name, compare every file with the list, give it its final name.

    Nothing stands under a final name before all of it was compared. The same plan again goes on.
    """
    raise NotImplementedError
