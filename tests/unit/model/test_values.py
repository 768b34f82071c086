"""Small values: positions, snapshots, batches, units."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.respaldo.model.backup import Category, Source, backup_id, parse_backup_id
from include.respaldo.model.batches import Batch, pack
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.model.units import duration_text, size_text


@given(st.integers(0, 2**64 - 1))
def test_a_position_is_read_back_from_its_text(value: int) -> None:
    lsn = Lsn(value)
    assert Lsn.parse(str(lsn)) == Lsn.parse(f"{lsn}") == lsn
    assert Lsn(int(lsn.key, 16)) == lsn


@pytest.mark.parametrize("text", ["", "16", "16/", "1/2/3", "G/0", "123456789/0", "16/B37 4"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="log sequence number"):
        Lsn.parse(text)


def test_a_snapshot_sees_what_had_ended_before_it() -> None:
    snapshot = Snapshot.parse("10:20:12,15")
    assert str(snapshot) == "10:20:12,15"
    assert [x for x in range(5, 25) if not snapshot.sees(x)] == [12, 15, 20, 21, 22, 23, 24]


@given(st.integers(3, 2**40), st.integers(-(2**31) + 1, 2**31 - 1))
def test_a_32_bit_id_is_widened_to_the_one_near_the_snapshot(xmax: int, distance: int) -> None:
    xid = xmax + distance
    if xid < 0:
        return
    assert Snapshot(xmax, xmax).widen(xid & 0xFFFFFFFF) == xid


sources = st.builds(
    Source, st.just(Category.TENANT_DATABASES), st.sampled_from("ab"), st.text(max_size=4)
)


@given(st.dictionaries(sources, st.integers(0, 50), max_size=30))
def test_every_source_is_in_one_batch_and_only_a_big_one_exceeds_the_limit(
    sizes: dict[Source, int],
) -> None:
    batches = pack(sizes.items(), "id", batch_size=40, batch_sources=5)
    assert sorted(s for b in batches for s in b.sources) == sorted(sizes)
    for batch in batches:
        assert batch.size == sum(sizes[s] for s in batch.sources)
        assert batch.size <= 40 or len(batch.sources) == 1
        assert len(batch.sources) <= 5
        assert len({s.server for s in batch.sources}) == 1
        assert Batch.from_json(batch.to_json()) == batch


def test_sizes_and_durations_are_written_for_people() -> None:
    assert [size_text(n) for n in (0, 999, 1000, 6_300_000, 999_999_999, 2 * 10**12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "6.3 MB",
        "1.0 GB",
        "2.0 TB",
    ]
    assert [duration_text(s) for s in (0.04, 9.96, 59.4, 200, 3900, 183600)] == [
        "0.0 s",
        "10.0 s",
        "59 s",
        "3 min 20 s",
        "1 h 5 min",
        "2 d 3 h",
    ]


def test_two_backups_that_begin_in_the_same_second_are_two() -> None:
    first = datetime(2026, 11, 23, 1, 13, 1, 100, tzinfo=UTC)
    second = first + timedelta(microseconds=1)
    assert backup_id(first) < backup_id(second)
    assert parse_backup_id(backup_id(first)) == first
    assert parse_backup_id("20261123T011301Z") is None
