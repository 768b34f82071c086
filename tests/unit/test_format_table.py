"""docs/FORMAT.md, "Every kind of change": each row has its test, and each command its row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from include.respaldo.querylog.ddl.carried_out import CARRIED_OUT, refusal_of_tag

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs" / "FORMAT.md").read_text().split("## Every kind of change", 1)[1]
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)(?:\[([^\]]+)\])?`")
_TAG = re.compile(r"`([A-Z][A-Z ]+)`")
#: the other tags of PostgreSQL's event trigger firing matrix
REFUSED_TAGS = {
    "ALTER LARGE OBJECT",
    "ALTER SUBSCRIPTION",
    "CREATE SUBSCRIPTION",
    "DROP OWNED",
    "DROP SUBSCRIPTION",
    "IMPORT FOREIGN SCHEMA",
}


def rows() -> list[tuple[str, str, str]]:
    """Return the cells of all tables' rows."""
    found = []
    for line in TEXT.splitlines():
        if line.startswith("|") and not line.startswith(("|---", "| change |")):
            change, becomes, test = (cell.strip() for cell in line.strip("|").split("|"))
            found.append((change, becomes, test))
    return found


ROWS = rows()


@pytest.mark.parametrize(("change", "becomes", "shown"), ROWS, ids=[r[0][:60] for r in ROWS])
def test_each_row_says_what_becomes_of_it_and_names_tests_that_exist(
    change: str, becomes: str, shown: str
) -> None:
    assert change
    assert becomes
    named = _TEST.findall(shown)
    if not named:
        assert shown.startswith("not tested")
        return
    assert _TEST.sub("", shown).strip(", ") == ""
    for path, function, case in named:
        text = (TESTS / path).read_text()
        assert re.search(rf"^def {function}\(", text, re.MULTILINE), f"{path}::{function}"
        assert not case or f'"{case}"' in text, f"{path}::{function}[{case}]"


def test_every_command_tag_has_its_row_and_the_row_tells_the_truth() -> None:
    told: dict[str, str] = {}
    for change, becomes, _ in ROWS:
        for tag in _TAG.findall(change):
            assert tag not in told, f"{tag} has two rows"
            told[tag] = becomes
    # the grammar knows no CREATE ROUTINE
    assert told.keys() == (CARRIED_OUT - {"CREATE ROUTINE"}) | REFUSED_TAGS | {"REINDEX"}
    for tag, becomes in told.items():
        if tag != "REINDEX":
            assert becomes.startswith("refused" if refusal_of_tag(tag) else "replayed"), tag


def test_the_tests_named_in_the_introduction_exist() -> None:
    for path, function, _ in _TEST.findall(TEXT.split("### ", 1)[0]):
        assert f"def {function}(" in (TESTS / path).read_text()
