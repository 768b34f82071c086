"""What of a change is suspicious."""

from __future__ import annotations

import pytest

from include.respaldo.model.file_tree import Changes, Unusual, shown, suspicions


def change(**numbers: int) -> Changes:
    return Changes(since="20261122T020000.000000Z", **numbers)


def test_a_day_as_others_is_not_suspicious() -> None:
    assert suspicions(change(added=500, modified=400, removed=200, unchanged=400), Unusual()) == ()


def test_many_files_that_vanished_are_suspicious() -> None:
    found = suspicions(change(removed=301, unchanged=699), Unusual())
    assert found == ("301 of 1000 files vanished",)


def test_many_modified_files_are_suspicious() -> None:
    found = suspicions(change(modified=501, unchanged=499), Unusual())
    assert found == ("501 of 1000 files were modified",)


def test_modified_files_that_no_longer_shrink_are_suspicious_however_few_they_are_of_all() -> None:
    found = suspicions(change(modified=60, unchanged=100_000, became_incompressible=20), Unusual())
    assert len(found) == 1
    assert "20 of 60 modified files became incompressible" in found[0]


@pytest.mark.parametrize(
    "changes",
    [
        change(removed=19),
        change(added=100_000),
        Changes(removed=1000, modified=1000),
        change(modified=25, unchanged=10_000, became_incompressible=19),
        change(removed=300, unchanged=700),
    ],
    ids=["few", "only added", "the first backup", "few became so", "just the share"],
)
def test_few_files_and_the_first_backup_are_never_suspicious(changes: Changes) -> None:
    assert suspicions(changes, Unusual()) == ()


def test_the_shares_are_those_of_the_configuration() -> None:
    strict = Unusual(removed=0.01, modified=0.01, incompressible=0.01, files=1)
    found = suspicions(change(removed=2, modified=2, unchanged=96, became_incompressible=1), strict)
    assert len(found) == 3


def test_how_many_there_were_and_the_text() -> None:
    changes = change(added=3, modified=1, removed=2, unchanged=4)
    assert changes.before == 7
    assert changes.text == "3 added, 1 modified, 2 removed"


def test_odd_names_are_shown_on_one_line() -> None:
    assert shown("a\nb\udcff\x1b[0mé") == "a\\nb\\xff\\x1b[0mé"
