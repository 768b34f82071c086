"""Names of restored files: their day before the ending, short enough, never the same twice."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from itertools import islice

import pytest

from include.respaldo.model.restored_names import restored_name, suffixes

DAY = "restored_20261121"


@pytest.mark.parametrize(
    ("name", "is_file", "expected"),
    [
        ("invoice.pdf", True, "invoice.restored_20261121.pdf"),
        ("invoice", True, "invoice.restored_20261121"),
        ("a.tar.gz", True, "a.restored_20261121.tar.gz"),
        ("a.b.gz", True, "a.b.restored_20261121.gz"),
        (".htaccess", True, ".htaccess.restored_20261121"),
        ("2026.11", False, "2026.11.restored_20261121"),
        ("", False, "restored_20261121"),
    ],
)
def test_the_day_stands_before_the_ending(name: str, is_file: bool, expected: str) -> None:
    assert restored_name(name, DAY, is_file=is_file) == expected
    assert restored_name("invoice.pdf", "", is_file=True) == "invoice.pdf"


@pytest.mark.parametrize("letter", ["x", "ñ", "\udcff"])
def test_a_long_name_is_cut_so_that_a_file_can_have_it(letter: str) -> None:
    name = restored_name(letter * 120 + "y" * 10 + ".pdf", DAY, is_file=True)
    assert len(os.fsencode(name)) <= 255
    assert name.endswith(f".{DAY}.pdf")
    long = restored_name("x" * 251 + ".pdf", DAY, is_file=True)
    assert len(long) == 255


def test_a_day_that_is_taken_gets_its_time_in_the_time_zone_of_people_then_a_number() -> None:
    at = datetime(2026, 11, 20, 23, 30, 5, tzinfo=UTC)
    assert list(islice(suffixes(at, "Europe/Madrid"), 4)) == [
        "restored_20261121",
        "restored_20261121_0030",
        "restored_20261121_003005",
        "restored_20261121_003005_2",
    ]
