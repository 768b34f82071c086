"""An application of a host: a version brought back beside the running one there, then switched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.host import Host
from embedded.s3 import S3Server
from include.respaldo.jobs.restore_application import ApplicationRequest, plan, restore, text_of
from include.respaldo.jobs.switch_application import plan as plan_switch
from include.respaldo.jobs.switch_application import switch
from include.respaldo.jobs.take_backup import plan_batches, take_backup
from include.respaldo.model.application_switch import SwitchRequest
from include.respaldo.model.backup import Category, Source, backup_id
from tests.hosts.test_restore_to_places import Vendor

ERP = Source(Category.APPLICATIONS, "web1", "erp")
PROGRAM = "#!/bin/sh\necho 'ERP {}'\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    with S3Server(tmp_path / "both") as started:
        yield started


def release(vendor: Vendor, erp: Path, version: str) -> None:
    """Install a version on the host, and back it up."""
    program = erp / "bin/erp"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(PROGRAM.format(version))
    program.chmod(0o750)
    os.chown(program, 1234, 5678)
    deployment = vendor.deployment()
    run = backup_id(deployment.clock.now())
    take_backup(deployment, plan_batches(deployment, Category.APPLICATIONS, run))


def test_a_version_that_a_program_announces_comes_back_on_its_host_and_runs_there(
    host: Host, remote: Path, server: S3Server, tmp_path: Path
) -> None:
    at = host.root / str(remote).removeprefix("/")
    vendor = Vendor(tmp_path, server, AIRFLOW_CONN_WEB1=host.connection_uri())
    vendor.configure(
        hosts=[{"name": "web1", "connection": "web1"}],
        applications=[
            {
                "name": "erp",
                "host": "web1",
                "path": str(remote / "erp"),
                "exclude": ["*.log"],
                "version": {"command": ["bin/erp", "--version"]},
            }
        ],
    )
    release(vendor, at / "erp", "1.4.2")
    release(vendor, at / "erp", "1.5.0")

    planned = plan(vendor.deployment(), ApplicationRequest(ERP, version="1.4.2"))
    assert {path.name for path in at.iterdir()} == {"erp"}
    restored = restore(vendor.deployment(), planned)
    (place,) = restored.places
    assert place.startswith(f"{remote}/erp.restored_ERP-1.4.2_")
    program = at / Path(place).name / "bin/erp"
    assert program.read_text() == PROGRAM.format("1.4.2")
    assert (program.stat().st_uid, program.stat().st_gid) == (1234, 5678)
    assert f"switch-application web1/erp {Path(place).name}" in text_of(planned, restored)

    request = SwitchRequest(ERP, Path(place).name)
    exchange = plan_switch(vendor.deployment(), request)
    for said in ("ERP 1.5.0", "ERP 1.4.2", "leave out *.log", "web1"):
        assert said in exchange.text
    switch(vendor.deployment(), exchange)
    assert host.run([f"{remote}/erp/bin/erp"]).stdout.strip() == "ERP 1.4.2"
    old = Path(exchange.switch.replaced).name
    assert (at / old / "bin/erp").read_text() == PROGRAM.format("1.5.0")
