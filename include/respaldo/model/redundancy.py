"""What the two regions must have alike: which object comes before which, and what keys promise.

An object may stand in a region only after all that it speaks of: so what a region lists as whole is
whole at every moment of a heal. `Stage` is that order.
"""

from __future__ import annotations

import re
from enum import IntEnum

from include.respaldo.model import keys
from include.respaldo.model.backup import Category

#: what is compared; other things that lie in the buckets are none of ours
PREFIXES = ("backups/", "query_log/", "coverage/", "restic/")

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Stage(IntEnum):
    """The order in which objects are healed: data, then what makes people find it."""

    REPOSITORY_DATA = 0
    REPOSITORY_KEYS = 1
    REPOSITORY_INDEX = 2
    SNAPSHOT = 3
    BACKUP_FILE = 4
    MANIFEST = 5
    ACKNOWLEDGEMENT = 6
    CHAIN = 7
    TRIM = 8
    SEGMENT = 9
    CHAIN_END = 10
    COVERAGE = 11


#: what people call an object of a stage
NAMES = {
    Stage.REPOSITORY_DATA: "packs",
    Stage.REPOSITORY_KEYS: "keys of the repository",
    Stage.REPOSITORY_INDEX: "indexes",
    Stage.SNAPSHOT: "snapshots",
    Stage.BACKUP_FILE: "files of backups",
    Stage.MANIFEST: "manifests",
    Stage.ACKNOWLEDGEMENT: "acknowledgements",
    Stage.CHAIN: "beginnings of query logs",
    Stage.TRIM: "marks of trimmed query logs",
    Stage.SEGMENT: "segments",
    Stage.CHAIN_END: "ends of query logs",
    Stage.COVERAGE: "coverage records",
}

_REPOSITORY = {
    "data": Stage.REPOSITORY_DATA,
    "keys": Stage.REPOSITORY_KEYS,
    "config": Stage.REPOSITORY_KEYS,
    "index": Stage.REPOSITORY_INDEX,
    "snapshots": Stage.SNAPSHOT,
}


def stage_of(key: str) -> Stage | None:
    """Return the stage of an object; None: it is not compared (locks, what is not of ours)."""
    parts = key.split("/")
    if parts[0] == "restic" and len(parts) > 2 and parts[1] in set(Category):
        is_config = parts[2:] == ["config"]
        return _REPOSITORY.get(parts[2]) if is_config or promised_digest(key) else None
    if parts[0] == "coverage":
        return None if keys.parse_coverage_key(key) is None else Stage.COVERAGE
    if parts[0] == "backups":
        if keys.parse_backup_key(key) is None:
            return None
        named = {keys.MANIFEST: Stage.MANIFEST, keys.ACKNOWLEDGED: Stage.ACKNOWLEDGEMENT}
        return named.get(parts[5], Stage.BACKUP_FILE)
    if parts[0] == "query_log" and len(parts) > 5 and parts[1] in set(Category):
        if keys.parse_segment_key(key) is not None:
            return Stage.SEGMENT
        if keys.parse_trimmed_key(key) is not None:
            return Stage.TRIM
        return {"chain.json": Stage.CHAIN, "closed.json": Stage.CHAIN_END}.get(parts[5])
    return None


def group_of(key: str) -> str:
    """Return the prefix of what is whole only with this object: a backup, a log, a repository."""
    parts = key.split("/")
    depth = {"restic": 2, "backups": 5, "query_log": 5}.get(parts[0], 2)
    return "/".join(parts[:depth]) + "/"


def promised_digest(key: str) -> str:
    """Return the SHA-256 that the key itself holds; "" where it holds none.

    Source: restic's documentation, "Repository Format": a file is named by the SHA-256 of its
    bytes, but for ``config``.
    """
    segment = keys.parse_segment_key(key)
    if segment is not None:
        return segment.sha256
    name = key.rpartition("/")[2]
    return name if is_repository(key) and _DIGEST.fullmatch(name) else ""


def is_repository(key: str) -> bool:
    """Return whether restic has written the object."""
    return key.startswith("restic/")


def is_sealed(key: str) -> bool:
    """Return whether the object is sealed JSON, which holds its own digest."""
    return key.endswith(".json") and not is_repository(key)
