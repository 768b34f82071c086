"""What a segment says of itself, sealed, in its Parquet metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from include.respaldo.model.lsn import Lsn
from include.respaldo.model.moments import iso, parse_iso
from include.respaldo.model.sealed import seal, unseal
from include.respaldo.model.segment import (
    Barrier,
    DatabaseState,
    RelationDefinition,
    Segment,
    SegmentFooter,
)

SEGMENT_FORMAT = "respaldo-segment/1"
FOOTER_KEY = "respaldo"


def seal_footer(segment: Segment, footer: SegmentFooter) -> bytes:
    """Return the bytes that stand in the Parquet metadata under `FOOTER_KEY`.

    They say all that the segment's key does, but the digest and the size of the file they are in.
    """
    return seal({
        "format": SEGMENT_FORMAT,
        "chain_id": footer.chain_id,
        "start": str(segment.start),
        "end": str(segment.end),
        "first_commit_at": iso(segment.first_commit_at),
        "last_commit_at": iso(segment.last_commit_at),
        "max_xid": segment.max_xid,
        "relations": {key: d.to_json() for key, d in footer.relations.items()},
        "transactions": footer.transactions,
        "changes": footer.changes,
        "state": footer.state.to_json(),
        "barriers": [b.to_json() for b in footer.barriers],
    })


def _read_body(path: Path) -> dict[str, Any]:
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as e:
        raise ValueError(f"not a segment: {e}") from e
    body = unseal(metadata.get(FOOTER_KEY.encode(), b""))
    if body.get("format") != SEGMENT_FORMAT:
        raise ValueError(f"expected format {SEGMENT_FORMAT}, found {body.get('format')!r}")
    return body


def read_footer(path: Path) -> SegmentFooter:
    """Return what the segment's own metadata says.

    :raises ValueError: damaged, or of an unknown format.
    """
    d = _read_body(path)
    return SegmentFooter(
        chain_id=d["chain_id"],
        relations={k: RelationDefinition.from_json(r) for k, r in d["relations"].items()},
        transactions=d["transactions"],
        changes=d["changes"],
        state=DatabaseState.from_json(d["state"]),
        barriers=tuple(Barrier.from_json(b) for b in d["barriers"]),
    )


def read_segment(path: Path, *, sha256: str) -> Segment:
    """Return what the segment's key says, from its own metadata.

    :param sha256: digest of the file, which cannot stand in it.
    :raises ValueError: damaged, or of an unknown format.
    """
    d = _read_body(path)
    return Segment(
        start=Lsn.parse(d["start"]),
        end=Lsn.parse(d["end"]),
        first_commit_at=parse_iso(d["first_commit_at"]),
        last_commit_at=parse_iso(d["last_commit_at"]),
        max_xid=d["max_xid"],
        has_barriers=bool(d["barriers"]),
        sha256=sha256,
        size=path.stat().st_size,
    )


def largest_row_group(path: Path) -> int:
    """Return the bytes, uncompressed, of the largest row group: what a reader has to hold."""
    metadata = pq.read_metadata(path)
    sizes = (metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    return max(sizes, default=0)
