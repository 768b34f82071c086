"""The grammar of the vault's keys: a listing of a prefix is enough to plan a restore.

::

    backups/<category>/<server>/<source>/<backup id>/<file>
    backups/<category>/<server>/<source>/<backup id>/manifest.json          written last: seals
    query_log/<category>/<server>/<source>/<chain id>/chain.json
    query_log/<category>/<server>/<source>/<chain id>/closed.json
    query_log/<category>/<server>/<source>/<chain id>/trimmed/<start>.json
    query_log/<category>/<server>/<source>/<chain id>/segments/<segment>.parquet
    coverage/<server>/<time>.json
    backups/<category>/<server>/<source>/<backup id>/acknowledged.json      a person has looked
    restic/<category>/…                                                     restic's own, of trees

A segment's name is ``<start>-<end>_<first commit>-<last commit>_<largest xid>_<flags>_<sha256>``;
the only flag is ``b`` (its footer lists barriers), ``-`` stands for none. Names that come from
people are percent-encoded, so a listing shows them and no name can leave its place.
"""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import quote, unquote

from include.respaldo.model.backup import Category, Source
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.moments import moment_key, parse_moment_key
from include.respaldo.model.segment import Segment

MANIFEST = "manifest.json"
#: says that a person has looked at a suspicious backup
ACKNOWLEDGED = "acknowledged.json"
#: the list of a tree's files
FILE_LIST = "files.parquet"
_TIME = r"\d{8}T\d{6}\.\d{6}Z"
_SEGMENT = re.compile(
    rf"([0-9A-F]{{16}})-([0-9A-F]{{16}})_({_TIME})-({_TIME})_([0-9A-F]{{16}})_([b-])_([0-9a-f]{{64}})"
    r"\.parquet"
)
_TRIMMED = re.compile(r"(?:^|/)trimmed/([0-9A-F]{16})\.json$")


def encode_name(name: str) -> str:
    """Return the name as one path component of ASCII letters, digits and ``_-~.%``."""
    encoded = quote(name, safe="", errors="surrogateescape")
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def decode_name(text: str) -> str:
    """Return what `encode_name` was given."""
    return unquote(text, errors="surrogateescape")


def _place(source: Source) -> str:
    return f"{source.category.value}/{encode_name(source.server)}/{encode_name(source.name)}/"


def backups_prefix(source: Source) -> str:
    """Prefix of all backups of a source, with a final slash."""
    return f"backups/{_place(source)}"


def category_prefix(category: Category) -> str:
    """Prefix of all backups of a category."""
    return f"backups/{category.value}/"


def backup_prefix(source: Source, backup_id: str) -> str:
    """Prefix of one backup's objects."""
    return f"{backups_prefix(source)}{backup_id}/"


def manifest_key(source: Source, backup_id: str) -> str:
    """Key of the object that seals a backup."""
    return backup_prefix(source, backup_id) + MANIFEST


def acknowledged_key(source: Source, backup_id: str) -> str:
    """Key of the object that says that a person has looked at a suspicious backup."""
    return backup_prefix(source, backup_id) + ACKNOWLEDGED


def repository_prefix(category: Category) -> str:
    """Prefix of the restic repository of a category of trees, with a final slash."""
    return f"restic/{category.value}/"


def parse_backup_key(key: str) -> tuple[Source, str, str] | None:
    """Return (source, backup id, file name) of a key below ``backups/``, or None."""
    parts = key.split("/")
    if len(parts) != 6 or parts[0] != "backups" or parts[1] not in set(Category):
        return None
    source = Source(Category(parts[1]), decode_name(parts[2]), decode_name(parts[3]))
    return source, parts[4], parts[5]


def query_log_prefix(source: Source) -> str:
    """Prefix of all chains of a database."""
    return f"query_log/{_place(source)}"


def chain_prefix(source: Source, chain_id: str) -> str:
    """Prefix of one chain."""
    return f"{query_log_prefix(source)}{chain_id}/"


def chain_key(source: Source, chain_id: str) -> str:
    """Key of the object that begins a chain."""
    return chain_prefix(source, chain_id) + "chain.json"


def closed_key(source: Source, chain_id: str) -> str:
    """Key of the object that closes a chain."""
    return chain_prefix(source, chain_id) + "closed.json"


def trimmed_prefix(source: Source, chain_id: str) -> str:
    """Prefix of the objects that say from where on a chain is kept; they sort by that."""
    return chain_prefix(source, chain_id) + "trimmed/"


def trimmed_key(source: Source, chain_id: str, start: Lsn) -> str:
    """Key of the object that says from where on a chain is kept; the last one counts."""
    return f"{trimmed_prefix(source, chain_id)}{start.key}.json"


def parse_trimmed_key(key: str) -> Lsn | None:
    """Return the position that `trimmed_key` was given, or None where it is no such key."""
    match = _TRIMMED.search(key)
    return None if match is None else Lsn(int(match[1], 16))


def segments_prefix(source: Source, chain_id: str) -> str:
    """Prefix of a chain's segments; they sort by their start."""
    return chain_prefix(source, chain_id) + "segments/"


def segment_key(source: Source, chain_id: str, segment: Segment) -> str:
    """Key of a segment: says all that `Segment` does, but its size."""
    return (
        f"{segments_prefix(source, chain_id)}{segment.start.key}-{segment.end.key}"
        f"_{moment_key(segment.first_commit_at)}-{moment_key(segment.last_commit_at)}"
        f"_{segment.max_xid:016X}_{'b' if segment.has_barriers else '-'}_{segment.sha256}.parquet"
    )


def parse_segment_key(key: str, size: int = 0) -> Segment | None:
    """Return the segment whose key this is, or None where it is not one."""
    match = _SEGMENT.fullmatch(key.rpartition("/")[2])
    if match is None:
        return None
    start, end, first, last, xid, flags, sha256 = match.groups()
    return Segment(
        start=Lsn(int(start, 16)),
        end=Lsn(int(end, 16)),
        first_commit_at=parse_moment_key(first),
        last_commit_at=parse_moment_key(last),
        max_xid=int(xid, 16),
        has_barriers=flags == "b",
        sha256=sha256,
        size=size,
    )


def coverage_prefix(server: str) -> str:
    """Prefix of a server's coverage records; they sort by time."""
    return f"coverage/{encode_name(server)}/"


def coverage_key(server: str, time_key: str) -> str:
    """Key of the coverage recorded at the time `moment_key` wrote."""
    return f"{coverage_prefix(server)}{time_key}.json"


def parse_coverage_key(key: str) -> datetime | None:
    """Return when a coverage record was made, or None where the key is not one's."""
    name, dot, rest = key.rpartition("/")[2].rpartition(".json")
    try:
        return parse_moment_key(name) if dot and not rest else None
    except ValueError:
        return None
