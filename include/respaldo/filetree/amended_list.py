"""A list with some of its entries replaced, in the order of their paths' bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from include.respaldo.filetree.columns import LIST, Sorted, batch_of, column
from include.respaldo.model.file_tree import Entry


def amended(
    batches: Iterable[pa.RecordBatch], entries: Mapping[str, Entry | None]
) -> Iterator[pa.RecordBatch]:
    """Yield a list's columns with these entries in place of what it says of their paths.

    :param entries: path -> what is said of it from now on; None: nothing.
    """
    if not entries:
        yield from (batch.select(LIST.names) for batch in batches)
        return
    names = pa.array(sorted(map(os.fsencode, entries)), pa.binary())
    ordered = sorted((e for e in entries.values() if e is not None), key=_path)
    further = Sorted([batch_of(ordered)] if ordered else [], LIST)
    for batch in batches:
        rows = batch.select(LIST.names).replace_schema_metadata(None)
        if not rows.num_rows:
            continue
        more = further.through(column(rows, "path")[-1].as_py())
        at = pc.is_in(column(rows, "path"), value_set=names)
        kept = rows.filter(pc.invert(at))
        if not more.num_rows:
            yield kept
            continue
        table = pa.concat_tables([pa.Table.from_batches([kept], LIST), more])
        yield from table.sort_by("path").combine_chunks().to_batches()
    yield from further.rest()


def _path(entry: Entry) -> bytes:
    return os.fsencode(entry.path)
