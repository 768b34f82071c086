"""Named points at each step of durability where a test can make this process die at once."""

from __future__ import annotations

import os
import signal

#: The points, in the order in which a drain passes them.
SEGMENT_WRITTEN = "segment_written"
SEGMENT_IN_PRIMARY = "segment_in_primary"
SEGMENT_IN_REPLICA = "segment_in_replica"
SEGMENT_CONFIRMED = "segment_confirmed"
SLOT_CREATED = "slot_created"
CHAIN_BEGUN = "chain_begun"
COVERAGE_RECORDED = "coverage_recorded"
DUMP_LANDED = "dump_landed"
DUMP_UPLOADED = "dump_uploaded"
BACKUP_SEALED_IN_PRIMARY = "backup_sealed_in_primary"
#: ... a backup of files
TREE_LANDED = "tree_landed"
TREE_LISTED = "tree_listed"
TREE_STORED = "tree_stored"
REPOSITORY_COPIED = "repository_copied"
#: ... and retention, in each region
BACKUPS_UNSEALED = "backups_unsealed"
BACKUPS_REMOVED = "backups_removed"
LOG_TRIMMED = "log_trimmed"
SEGMENTS_REMOVED = "segments_removed"
CHAIN_EMPTIED = "chain_emptied"
RETAINED_IN_PRIMARY = "retained_in_primary"
SNAPSHOTS_FORGOTTEN = "snapshots_forgotten"
REPOSITORY_PRUNED = "repository_pruned"
REPOSITORY_CHECKED = "repository_checked"
REPLICA_SNAPSHOTS_REMOVED = "replica_snapshots_removed"
REPLICA_INDEX_REMOVED = "replica_index_removed"
REPLICA_PRUNED = "replica_pruned"
#: ... a restore of files: compared, then each of them named
TREE_BROUGHT = "tree_brought"
TREE_NAMED = "tree_named"
#: ... and the geo-redundancy check
DAMAGED_REMOVED = "damaged_removed"
OBJECT_HEALED = "object_healed"
#: ... and an exchange of two versions of an application
SWITCH_BEGUN = "switch_begun"
VERSIONS_EXCHANGED = "versions_exchanged"

_VARIABLE = "RESPALDO_FAILPOINT"


def reach(name: str) -> None:
    """Die as by ``kill -9`` if ``RESPALDO_FAILPOINT`` names this point; else do nothing."""
    if os.environ.get(_VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
