"""Which of the installed pg_dump and pg_restore do the work, and what a database is made like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from embedded.postgres_versions import available, bin_dir
from include.respaldo.errors import ConfigurationError, RestoreRefused, ToolFailed
from include.respaldo.postgres import programs
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.dump import dump_database
from include.respaldo.postgres.introspect import read_properties
from include.respaldo.postgres.load import load_dump
from include.respaldo.postgres.new_database import create_database
from tests.conftest import drop_database
from tests.versions.conftest import Server


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """Programs of 18 alone."""
    server(18)
    monkeypatch.setattr(programs, "_FOLDERS", ())
    monkeypatch.setenv("PATH", str(bin_dir(18)))


def test_each_server_is_met_by_the_programs_of_its_own_version(server: Server) -> None:
    for major in available():
        assert programs.tool("pg_dump", at_least=major).major == major
    newest = max(available())
    with pytest.raises(ConfigurationError, match="older than the server") as e:
        programs.tool("pg_restore", at_least=newest + 1)
    assert f"postgresql-client-{newest + 1}" in e.value.hint


@pytest.mark.usefixtures("only")
@pytest.mark.parametrize("jobs", [1, 2])
def test_programs_newer_than_the_server_do_as_well(
    server: Server, tmp_path: Path, jobs: int
) -> None:
    old = server(15)
    old.execute("create database newer_programs")
    copy = "newer_programs_copy"
    try:
        old.execute("create table t as select i from generate_series(1, 100) i", "newer_programs")
        dumped = dump_database(old.connection(), "newer_programs", tmp_path / "dump.pgc.zst")
        assert dumped.tools["pg_dump"].startswith("18")
        assert dumped.properties is not None
        with old.connect() as admin:
            create_database(admin, copy, dumped.properties)
        load_dump(old.connection(), copy, tmp_path / "dump.pgc.zst", tmp_path, jobs=jobs)
        assert old.execute("select count(*) from t", copy) == [(100,)]
        # what is there already is an error, as ever
        with pytest.raises(ToolFailed, match='relation "t" already exists'):
            load_dump(old.connection(), copy, tmp_path / "dump.pgc.zst", tmp_path, jobs=jobs)
        assert old.execute("select count(*) from t", copy) == [(100,)]
    finally:
        drop_database(old, "newer_programs")
        drop_database(old, copy)


def test_a_database_of_the_builtin_locale_provider_gets_its_like(server: Server) -> None:
    new = server(17)
    made = ("builtin", "builtin_copy")
    new.execute(
        "create database builtin template template0"
        " locale_provider builtin builtin_locale 'C.UTF-8' locale 'C'"
    )
    try:
        with connect(new.connection(), "builtin") as conn:
            properties = read_properties(conn)
        with new.connect() as admin:
            create_database(admin, "builtin_copy", properties)
        query = "select datlocprovider::text, datlocale, datcollate from pg_database"
        found = [new.execute(f"{query} where datname = '{name}'") for name in made]
        assert found[0] == found[1] == [("b", "C.UTF-8", "C")]
        with server(15).connect() as admin, pytest.raises(RestoreRefused, match="cannot make"):
            create_database(admin, "builtin_copy", properties)
    finally:
        for name in made:
            drop_database(new, name)


def test_rules_of_an_icu_locale_are_asked_for_and_refused_by_a_server_without(
    server: Server,
) -> None:
    """No server here that knows them (16 and later) has ICU: what 15 says shows the asking."""
    old = server(15)
    with connect(old.connection(), "postgres") as conn:
        properties = read_properties(conn)
    assert properties.icu_rules == ""
    tailored = replace(properties, locale_provider="i", icu_locale="de", icu_rules="&a < g")
    with old.connect() as admin, pytest.raises(RestoreRefused, match="icu_rules"):
        create_database(admin, "tailored", tailored)
    assert not old.execute("select from pg_database where datname = 'tailored'")
