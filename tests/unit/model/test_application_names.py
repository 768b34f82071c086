"""What versions of an application are called beside the running one."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest

from include.respaldo.model.application_names import (
    fits,
    is_ours,
    replaced_names,
    restored_names,
    safe_version,
)
from include.respaldo.model.application_switch import Step, Switch

AT = datetime(2026, 11, 23, 10, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ("1.4.2", "1.4.2"),
        ("ERP 1.4.2 (β)\n", "ERP-1.4.2"),
        ("../../etc/passwd", "etc-passwd"),
        ("--delete $(x)", "delete-x"),
        ("v2.0-14-g2414721-dirty", "v2.0-14-g2414721-dirty"),
        ("…", ""),
        ("1" * 200, "1" * 60),
    ],
)
def test_odd_characters_of_a_version_are_made_safe(version: str, safe: str) -> None:
    assert safe_version(version) == safe


def test_names_say_version_and_day_and_get_longer_where_they_are_taken() -> None:
    names = list(islice(restored_names("erp", "1.4.2", AT, "Europe/Madrid"), 4))
    assert names[0] == "erp.restored_1.4.2_20261123"
    assert names[1] == "erp.restored_1.4.2_20261123_1130"
    assert next(restored_names("erp", "", AT, "Europe/Madrid")) == "erp.restored_20261123"
    replaced = list(islice(replaced_names("erp", AT, "Europe/Madrid"), 4))
    assert replaced[0] == "erp.replaced_20261123_1130"
    assert len(set(names + replaced)) == 8
    assert all(is_ours("erp", name) for name in names + replaced)


def test_other_names_are_not_ours() -> None:
    others = ("erp", "erp.bak", "erp.restored_", "shop.restored_1", "erp.restored_1/x", "")
    assert not any(is_ours("erp", name) for name in (*others, "erp.restored_1\n"))


@pytest.mark.parametrize(
    ("asked", "announced", "does"),
    [
        ("1.4.2", "ERP 1.4.2 (2026-11-20)", True),
        ("v1.4.2", "1.4.2", True),
        ("1.4.2", "v1.4.2.", True),
        ("1.4", "1.4.2", False),
        ("4.2", "1.4.2", False),
        ("1.4.2", "1.4.2-rc1", False),
        ("1.4.2", "11.4.2", False),
        ("", "1.4.2", False),
        ("ERP 1.4.2", "ERP 1.4.2 b", True),
    ],
)
def test_a_number_fits_what_is_announced_with_more_words(
    asked: str, announced: str, does: bool
) -> None:
    assert fits(asked, announced) is does


def test_what_is_there_says_how_far_a_switch_has_got() -> None:
    switch = Switch("/opt/erp", "/opt/erp.restored_1", "/opt/erp.replaced_2", 10, 20)
    assert Switch.from_bytes(switch.to_bytes()) == switch

    def step(running: int = 0, chosen: int = 0, replaced: int = 0) -> Step | None:
        there = {switch.running: running, switch.chosen: chosen, switch.replaced: replaced}
        return switch.next_step({path: inode for path, inode in there.items() if inode})

    assert step(10, 20) is Step.EXCHANGE
    assert step(20, 10) is Step.SET_ASIDE
    assert step(0, 20, 10) is Step.PUT_IN_PLACE
    assert step(20, 0, 10) is Step.DONE
    for other in ((10, 0, 0), (10, 20, 30), (30, 20), (20, 20), (0, 20), (0, 0, 10), (30, 0, 10)):
        assert step(*other) is None, other


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'"x"', b"\xff", b'{"running": 1}'])
def test_a_note_that_is_none_is_no_switch(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Switch.from_bytes(data)
