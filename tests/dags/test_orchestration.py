"""Connections, retries, choices, notes and requests, without a scheduler."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from airflow.sdk import Connection as AirflowConnection
from airflow.sdk.definitions.retry_policy import RetryAction

from include.respaldo.config import load_config
from include.respaldo.connections import Connection
from include.respaldo.errors import (
    Busy,
    ConfigurationError,
    CorruptObject,
    RestoreRefused,
    ServerUnreachable,
    SomeFailed,
    SourceError,
    ToolFailed,
    VaultUnreachable,
)
from include.respaldo.model.backup import Category, Source
from include.respaldo.orchestration import archive_trigger
from include.respaldo.orchestration.archive_trigger import ArchiveTrigger
from include.respaldo.orchestration.connections import from_airflow, translate
from include.respaldo.orchestration.restore_request import REFUSE, request_from
from include.respaldo.orchestration.retries import DELAYS, RetryWhatCanHelp
from include.respaldo.orchestration.run_note import LONGEST, shorten
from include.respaldo.orchestration.tenant_choices import names_of, read_choices, write_choices


class TestConnections:
    def test_an_airflow_connection_keeps_everything_it_says(self) -> None:
        found = AirflowConnection(
            conn_id="pg1",
            conn_type="postgres",
            host="db.example",
            port=5433,
            login="us er",
            password="p@ss/w%rd",
            schema="post gres",
            extra='{"sslmode": "require"}',
        )
        assert translate(found) == Connection(
            conn_id="pg1",
            conn_type="postgres",
            host="db.example",
            port=5433,
            login="us er",
            password="p@ss/w%rd",
            schema="post gres",
            extra={"sslmode": "require"},
        )

    def test_a_connection_of_the_environment_is_found(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_PG7", "postgres://me:s%2Fecret@127.0.0.1:5555/x%20y")
        found = from_airflow("pg7")
        assert (found.host, found.port, found.login) == ("127.0.0.1", 5555, "me")
        assert (found.password, found.schema) == ("s/ecret", "x y")

    def test_a_missing_connection_says_where_to_add_it(self) -> None:
        with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_NOBODY") as caught:
            from_airflow("nobody")
        assert "no connection 'nobody'" in caught.value.message

    def test_an_extra_that_is_no_object_is_refused_without_showing_it(self) -> None:
        found = AirflowConnection(conn_id="pg1", conn_type="postgres", extra='["hush"]')
        with pytest.raises(ConfigurationError) as caught:
            translate(found)
        assert "hush" not in str(caught.value)


class TestRetries:
    @pytest.mark.parametrize(
        "error",
        [
            VaultUnreachable("x"),
            ServerUnreachable("x"),
            ToolFailed("x"),
            Busy("x"),
            SomeFailed("x", {"a": SourceError("x"), "b": ToolFailed("x")}),
            ZeroDivisionError(),
        ],
        ids=lambda e: type(e).__name__,
    )
    def test_passing_faults_are_tried_again_a_little_later_each_time(
        self, error: Exception
    ) -> None:
        decisions = [RetryWhatCanHelp().evaluate(error, n, 9) for n in (1, 2, 3, 4)]
        assert {d.action for d in decisions} == {RetryAction.RETRY}
        assert [d.retry_delay for d in decisions] == [*DELAYS, DELAYS[-1]]

    @pytest.mark.parametrize(
        "error",
        [
            ConfigurationError("x"),
            CorruptObject("x"),
            RestoreRefused("x"),
            SomeFailed("x", {"a": SourceError("x")}),
        ],
        ids=lambda e: type(e).__name__,
    )
    def test_what_will_not_change_fails_at_once(self, error: Exception) -> None:
        assert RetryWhatCanHelp().evaluate(error, 1, 9).action is RetryAction.FAIL


class TestTenantChoices:
    def test_there_are_none_before_the_first_discovery_or_when_the_file_is_damaged(
        self, config_file: Path
    ) -> None:
        config = load_config()
        assert read_choices(config) == []
        config.landing_folder.mkdir()
        (config.landing_folder / "tenants.json").write_text("{")
        assert read_choices(config) == []

    def test_what_is_written_is_read_and_an_equal_list_leaves_the_file_alone(
        self, config_file: Path
    ) -> None:
        config = load_config()
        names = ["tenant_ñ", 'we"ird; drop--$(x)']
        write_choices(config, names)
        assert read_choices(config) == names
        before = (config.landing_folder / "tenants.json").stat()
        write_choices(config, names)
        assert (config.landing_folder / "tenants.json").stat().st_ino == before.st_ino
        assert [p.name for p in config.landing_folder.iterdir()] == ["tenants.json"]

    def test_a_name_that_two_servers_share_is_shown_with_its_server(self) -> None:
        tenant = Category.TENANT_DATABASES
        sources = [
            Source(tenant, "pg1", "a"),
            Source(tenant, "pg2", "a"),
            Source(tenant, "pg2", "b"),
        ]
        assert names_of(sources) == ["b", "pg1/a", "pg2/a"]


class TestNotes:
    def test_a_long_text_is_cut_at_a_line(self) -> None:
        text = "\n".join(f"line {n}" for n in range(500))
        short = shorten(text)
        assert len(short) <= LONGEST
        kept, _, ending = short.rpartition("\n")
        assert text.startswith(kept + "\n")
        assert "log" in ending

    def test_one_long_line_is_cut_anywhere(self) -> None:
        short = shorten("x" * 5000)
        assert 900 < len(short) <= LONGEST


class TestRequests:
    GOOD: ClassVar = {
        "tenant": "tenant_acme",
        "target_time": "2026-11-22T10:29:00+00:00",
        "new_name": None,
        "reason": " ticket 4711 ",
    }

    def deployment(self) -> Any:
        return SimpleNamespace(
            config=load_config(),
            source=lambda name: Source(Category.TENANT_DATABASES, "pg2", name),
        )

    def test_the_name_is_made_of_tenant_and_local_minute(self, config_file: Path) -> None:
        request = request_from(self.deployment(), self.GOOD)
        assert request.new_name == "tenant_acme_restored_20261122_1129"
        assert request.to_server == "pg2"
        assert request.reason == "ticket 4711"
        assert request.target.at == datetime(2026, 11, 22, 10, 29, tzinfo=UTC)

    def test_what_the_form_says_wins(self, config_file: Path) -> None:
        request = request_from(self.deployment(), self.GOOD | {"new_name": "mine", "server": "pg1"})
        assert (request.new_name, request.to_server) == ("mine", "pg1")

    @pytest.mark.parametrize("moment", ["11:29", "2026-11-22T11:29:00"])
    def test_a_moment_without_an_offset_is_refused_with_an_example(
        self, config_file: Path, moment: str | None
    ) -> None:
        with pytest.raises(RestoreRefused, match=r"\+01:00"):
            request_from(self.deployment(), self.GOOD | {"target_time": moment})

    @pytest.mark.parametrize(
        "fields",
        [{"target_time": None}, {"target_time": ""}, {"target_transaction": "before 4711"}],
    )
    def test_neither_a_moment_nor_a_transaction_or_both_are_refused(
        self, config_file: Path, fields: dict[str, str | None]
    ) -> None:
        with pytest.raises(RestoreRefused, match="one of the two"):
            request_from(self.deployment(), self.GOOD | fields)

    def test_something_else_than_a_transaction_is_refused_with_an_example(
        self, config_file: Path
    ) -> None:
        fields = {"target_time": None, "target_transaction": "near 4711"}
        with pytest.raises(RestoreRefused, match="before 4711"):
            request_from(self.deployment(), self.GOOD | fields)

    def test_the_form_can_refuse_what_would_not_be_exact(self, config_file: Path) -> None:
        request = request_from(self.deployment(), self.GOOD)
        assert (request.with_large_objects, request.with_all_roles) == (False, False)
        fields = {"large_objects": REFUSE, "missing_roles": REFUSE}
        request = request_from(self.deployment(), self.GOOD | fields)
        assert (request.with_large_objects, request.with_all_roles) == (True, True)

    def test_a_blank_reason_is_refused(self, config_file: Path) -> None:
        with pytest.raises(RestoreRefused, match="reason"):
            request_from(self.deployment(), self.GOOD | {"reason": "  "})


class TestArchiveTrigger:
    def test_it_can_be_made_again_from_what_it_serializes(self) -> None:
        path, kwargs = ArchiveTrigger(interval=2.5).serialize()
        assert path == "include.respaldo.orchestration.archive_trigger.ArchiveTrigger"
        assert ArchiveTrigger(**kwargs).interval == 2.5

    def fire(self, monkeypatch: pytest.MonkeyPatch, looks: list[Any]) -> tuple[Any, list[Any]]:
        """Return the event's payload, and what each look was told of the look before."""
        told: list[Any] = []

        def look(since: Any) -> Any:
            assert threading.current_thread() is not threading.main_thread()
            told.append(since)
            time.sleep(0.02)  # as slow as a server: the loop must go on meanwhile
            result = looks[len(told) - 1]
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(archive_trigger, "_look", look)

        async def first() -> Any:
            return (await anext(ArchiveTrigger(interval=0).run())).payload

        return asyncio.run(first()), told

    def test_it_fires_for_the_servers_with_work_and_compares_look_with_look(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        quiet = SimpleNamespace(servers=(), activity={"pg1": "a"})
        busy = SimpleNamespace(servers=("pg1",), activity={"pg1": "b"})
        event, told = self.fire(monkeypatch, [quiet, busy])
        assert event == {"servers": ["pg1"]}
        assert told == [None, {"pg1": "a"}]

    def test_a_passing_fault_is_waited_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        busy = SimpleNamespace(servers=("pg1",), activity={})
        event, told = self.fire(monkeypatch, [VaultUnreachable("gone"), busy])
        assert event == {"servers": ["pg1"]}
        assert len(told) == 2

    def test_a_mistake_in_the_configuration_ends_the_waiting(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        event, _ = self.fire(monkeypatch, [ConfigurationError("wrong", hint="correct it")])
        assert event == {"error": "wrong\nhint: correct it"}
