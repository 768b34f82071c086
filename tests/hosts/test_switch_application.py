"""The running version of an application and one beside it are exchanged, here and on a host."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded.host import Host
from include.respaldo import failpoints
from include.respaldo.config import load_config
from include.respaldo.connections import Connection, from_environment
from include.respaldo.errors import Busy, RespaldoError, RestoreFailed, RestoreRefused
from include.respaldo.jobs import application_folders
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.switch_application import plan, switch
from include.respaldo.model.application_switch import SwitchPlan, SwitchRequest
from include.respaldo.model.backup import Category, Source

PROJECT = Path(__file__).parents[2]
RESTORED = "it's $(x) erp.restored_1.4.2_20261121"
BASE = "it's $(x) erp"


class Shop:
    """An application, the running 1.5.0 and a restored 1.4.2, on this machine or on a host."""

    def __init__(self, folder: Path, place: Path, host: Host | None) -> None:
        self.folder, self.place, self.host = folder, place, host
        self.server = "web1" if host else "local"
        self.application = Source(Category.APPLICATIONS, self.server, "erp")
        self.environ = {"RESPALDO_CONFIG": str(folder / "respaldo.yaml")}
        if host is not None:
            self.environ["AIRFLOW_CONN_WEB1"] = host.connection_uri()
        self.at = host.root / str(place).removeprefix("/") if host else place
        self.make(BASE, "1.5.0")
        self.make(RESTORED, "1.4.2")
        self.configure()

    def make(self, name: str, version: str) -> None:
        (self.at / name / "bin").mkdir(parents=True)
        (self.at / name / "VERSION").write_text(f"ERP {version}\n")

    def configure(self, **more: Any) -> None:
        erp = {
            "name": "erp",
            "path": str(self.place / BASE),
            "version": {"file": "VERSION"},
            **({"host": "web1"} if self.host else {}),
            **more,
        }
        vault = {"uri": "s3://nobody/asks", "connection": "vault"}
        (self.folder / "respaldo.yaml").write_text(
            yaml.safe_dump({
                "vaults": {"primary": vault, "replica": {**vault, "uri": "s3://nobody-else/asks"}},
                "landing_zone": (self.folder / "landing").as_uri(),
                "scratch": str(self.folder / "scratch"),
                "time_zone": "Europe/Madrid",
                "servers": [{"name": "pg1", "connection": "pg1", "tenants": {"pattern": "*"}}],
                "repository": {"connection": "repository"},
                "hosts": [{"name": "web1", "connection": "web1"}] if self.host else [],
                "applications": [erp],
            })
        )

    def deployment(self) -> Deployment:
        def lookup(conn_id: str) -> Connection:
            return from_environment(conn_id, self.environ)

        return Deployment(load_config(self.folder / "respaldo.yaml"), lookup)

    def plan(self, chosen: str = RESTORED, **more: Any) -> SwitchPlan:
        planned = plan(self.deployment(), SwitchRequest(self.application, chosen, **more))
        assert SwitchPlan.from_json(planned.to_json()) == planned
        return planned

    def switch(self, planned: SwitchPlan | None = None, **more: Any) -> str:
        return switch(self.deployment(), planned or self.plan(**more)).text

    def versions(self) -> dict[str, str]:
        """Return the version of each folder, and whatever else is there."""
        return {
            path.name.removeprefix(BASE): (path / "VERSION").read_text().strip()
            if path.is_dir()
            else ""
            for path in self.at.iterdir()
        }

    def run(self, *arguments: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return subprocess.run(
            [sys.executable, "-m", "include.respaldo", "switch-application", *arguments],
            env={**os.environ, **self.environ, "RESPALDO_FAILPOINT": failpoint},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def programs(self, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> Iterator[None]:
        """Put programs of one's own before those of the place."""
        folder = self.host.root / "usr/local/bin" if self.host else self.folder / "programs"
        folder.mkdir(exist_ok=True)
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
        with monkeypatch.context() as patched:
            if self.host is None:
                patched.setenv("PATH", f"{folder}:{os.environ['PATH']}")
            yield
        for name in scripts:
            (folder / name).unlink()


BEFORE = {"": "ERP 1.5.0", ".restored_1.4.2_20261121": "ERP 1.4.2"}


@pytest.fixture
def here(tmp_path: Path) -> Shop:
    (tmp_path / "opt").mkdir()
    return Shop(tmp_path, tmp_path / "opt", None)


@pytest.fixture
def there(tmp_path: Path, host: Host, remote: Path) -> Shop:
    return Shop(tmp_path, remote, host)


@pytest.fixture(params=["here", "there"])
def shop(request: pytest.FixtureRequest) -> Shop:
    made: Shop = request.getfixturevalue(request.param)
    return made


def after(planned: SwitchPlan) -> dict[str, str]:
    """Return what is there once it is done."""
    old = Path(planned.switch.replaced).name.removeprefix(BASE)
    return {"": "ERP 1.4.2", old: "ERP 1.5.0"}


def test_they_are_exchanged_and_the_same_command_switches_back(shop: Shop) -> None:
    planned = shop.plan(reason="ticket 4711")
    assert shop.versions() == BEFORE
    for said in ("ERP 1.5.0", "ERP 1.4.2", "replaced_", "stays as", "restarted", "ticket 4711"):
        assert said in planned.text, said
    assert (planned.chosen.size or 0) > 0
    text = shop.switch(planned)
    assert shop.versions() == after(planned)
    assert "nothing was restarted" in text
    assert "for an instant" not in text  # at once, by the kernel
    assert "it was done before" in shop.switch(planned)

    back = shop.plan(planned.switch.replaced)
    assert back.switch.replaced != planned.switch.replaced
    shop.switch(back)
    versions = shop.versions()
    assert versions.pop("") == "ERP 1.5.0"
    assert list(versions.values()) == ["ERP 1.4.2"]


def test_without_what_can_exchange_two_names_they_are_renamed_one_by_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_to_exchange = 'case "$1" in -MConfig) exit 1;; esac; exec /usr/bin/perl "$@"'
    planned = shop.plan()
    with shop.programs(monkeypatch, perl=fails_to_exchange):
        assert "for an instant" in shop.switch(planned)
    assert shop.versions() == after(planned)


def test_a_rename_that_is_refused_is_taken_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses = (
        'case "$1" in -MConfig) exit 1;; esac\n'
        'case "$4" in *.restored_*) echo "not today" >&2; exit 1;; esac; exec /usr/bin/perl "$@"'
    )
    with (
        shop.programs(monkeypatch, perl=refuses),
        pytest.raises(RestoreFailed, match="not today; everything is as it was"),
    ):
        shop.switch()
    assert shop.versions() == BEFORE


def test_killed_between_two_renames_the_same_again_finishes_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies = (
        'case "$1" in -MConfig) exit 1;; esac\n'
        'case "$4" in *.restored_*) kill -9 $PPID; exit 1;; esac; exec /usr/bin/perl "$@"'
    )
    planned = shop.plan()
    with shop.programs(monkeypatch, perl=dies), pytest.raises(RespaldoError):
        shop.switch(planned)
    assert "" not in shop.versions()  # nothing runs, and it is written down why
    assert (shop.at / f".{BASE}.switching").exists()
    again = shop.plan()
    assert again.goes_on
    assert "was cut off" in again.text
    assert again.switch == planned.switch
    shop.switch(again)
    assert shop.versions() == after(planned)


@pytest.mark.parametrize("failpoint", [failpoints.SWITCH_BEGUN, failpoints.VERSIONS_EXCHANGED])
def test_killed_at_a_failpoint_another_switch_is_refused_and_the_same_finishes(
    there: Shop, failpoint: str
) -> None:
    there.make(f"{BASE}.restored_1.3_20261120", "1.3")
    command = ("erp", RESTORED)
    assert there.run(*command, failpoint=failpoint).returncode == -signal.SIGKILL
    assert (there.at / f".{BASE}.switching").exists()
    with pytest.raises(RestoreRefused, match=r"to .*1\.4\.2.* was begun and cut off"):
        there.plan(f"{BASE}.restored_1.3_20261120")
    done = there.run(*command)
    assert done.returncode == 0, done.stderr
    assert "nothing was restarted" in done.stdout
    versions = there.versions()
    assert (versions[""], len(versions)) == ("ERP 1.4.2", 3)
    assert not (there.at / f".{BASE}.switching").exists()


def test_what_is_not_as_expected_is_refused_and_nothing_changes(here: Shop, tmp_path: Path) -> None:
    here.make("another", "1")
    with pytest.raises(RestoreRefused, match="there is no") as refused:
        here.plan(f"{BASE}.restored_1.0_20200101")
    assert ".restored_1.4.2_20261121" in refused.value.hint
    for name in ("another", f"{BASE}.bak", f"/srv/{RESTORED}", "../x", ""):
        with pytest.raises(RestoreRefused, match="is no restored version"):
            here.plan(name)
    link = here.at / f"{BASE}.restored_1.1_20200101"
    link.symlink_to(RESTORED)
    with pytest.raises(RestoreRefused, match="is no folder, but a link"):
        here.plan(link.name)
    link.unlink()
    with pytest.raises(RestoreRefused, match="is not lost"):
        here.plan(lost=True)
    (here.at / BASE).rename(here.at / "aside")
    with pytest.raises(RestoreRefused, match="no switch was begun there"):
        here.plan()
    (here.at / "aside").rename(here.at / BASE)
    shutil.rmtree(here.at / "another")
    assert here.versions() == BEFORE


def test_what_changed_since_it_was_planned_is_refused(here: Shop) -> None:
    planned = here.plan()
    (here.at / RESTORED).rename(here.at / "aside")
    here.make(RESTORED, "9.9")
    with pytest.raises(RestoreRefused, match="not any more what was planned"):
        here.switch(planned)
    assert here.versions()[""] == "ERP 1.5.0"
    assert not (here.at / f".{BASE}.switching").exists()


def test_a_lost_one_is_put_in_its_place_only_where_that_is_said(there: Shop) -> None:
    shutil.rmtree(there.at / BASE)
    planned = there.plan(lost=True)
    assert "nothing, it is lost" in planned.text
    there.switch(planned)
    assert there.versions() == {"": "ERP 1.4.2"}
    assert "it was done before" in there.switch(planned)


def test_another_file_system_and_mounts_below_are_refused(
    here: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = application_folders.Folders.look

    def elsewhere(folders: application_folders.Folders) -> Any:
        found, writable = looked(folders)
        path = folders.above + "/" + RESTORED
        return {**found, path: replace(found[path], device=1)}, writable

    with monkeypatch.context() as patched:
        patched.setattr(application_folders.Folders, "look", elsewhere)
        with pytest.raises(RestoreRefused, match="on another file system"):
            here.plan()
    with monkeypatch.context() as patched:
        patched.setattr(application_folders.Folders, "mounts", lambda _: ["/opt/erp/data"])
        with pytest.raises(RestoreRefused, match="mounted at /opt/erp/data"):
            here.plan()
    assert here.versions() == BEFORE


def test_a_note_that_is_none_and_folders_that_do_not_fit_it_are_left_alone(here: Shop) -> None:
    note = here.at / f".{BASE}.switching"
    note.write_text("{}")
    with pytest.raises(RestoreRefused, match="is not what a switch writes down"):
        here.plan()
    note.write_bytes(replace(here_switch(here), old=1).to_bytes())
    with pytest.raises(RestoreRefused, match="not what the switch that was begun has left"):
        here.plan()
    note.unlink()
    assert here.versions() == BEFORE


def here_switch(shop: Shop) -> Any:
    note = shop.at / f".{BASE}.switching"
    text = note.read_bytes()
    note.unlink()
    planned = shop.plan()
    note.write_bytes(text)
    return planned.switch


def test_two_at_once_are_one_too_many(here: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = here.plan()
    begin = application_folders.Folders.begin

    def meanwhile(folders: application_folders.Folders, wanted: Any) -> None:
        with pytest.raises(Busy):
            here.switch(planned)
        begin(folders, wanted)

    monkeypatch.setattr(application_folders.Folders, "begin", meanwhile)
    here.switch(planned)
    assert here.versions() == after(planned)
