"""What `check` finds of hosts, trees and buckets: each problem with its next step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded.host import Host
from embedded.postgres import free_port
from embedded.s3 import S3Server
from include.respaldo.config import parse_config
from include.respaldo.connections import Connection, from_environment
from include.respaldo.jobs.check_trees import check_trees
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.finding import Finding

BASE = {
    "vaults": {
        "primary": {"uri": "s3://one", "connection": "one"},
        "replica": {"uri": "s3://two", "connection": "two"},
    },
    "landing_zone": "file:///nowhere",
    "servers": [{"name": "pg1", "connection": "pg1", "tenants": {"pattern": "*"}}],
    "repository": {"connection": "repository"},
}


class Site:
    """A configuration and its connections."""

    def __init__(self, host: Host) -> None:
        self.environ = {
            "AIRFLOW_CONN_REPOSITORY": json.dumps({"conn_type": "generic", "password": "hunter2"}),
            "AIRFLOW_CONN_WEB1": host.connection_uri(),
        }

    def check(self, **sections: Any) -> dict[str, list[Finding]]:
        config = parse_config(yaml.safe_dump({**BASE, **sections}))

        def lookup(conn_id: str) -> Connection:
            return from_environment(conn_id, self.environ)

        found: dict[str, list[Finding]] = {}
        for finding in check_trees(Deployment(config, lookup)):
            assert finding.ok or finding.hint
            assert "hunter2" not in finding.text
            found.setdefault(finding.subject, []).append(finding)
        return found


@pytest.fixture
def site(host: Host) -> Site:
    return Site(host)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3") / "eu") as started:
        started.create_bucket("shop")
        yield started


HOSTS = [{"name": "web1", "connection": "web1"}]


def test_nothing_is_said_where_nothing_is_configured(site: Site) -> None:
    assert site.check(repository=None) == {}


def test_all_that_is_well_is_said_so(
    site: Site, server: S3Server, remote: Path, tmp_path: Path
) -> None:
    site.environ["AIRFLOW_CONN_SHOP"] = server.connection_uri()
    found = site.check(
        hosts=HOSTS,
        files=[
            {"name": "far", "host": "web1", "path": str(remote)},
            {"name": "near", "path": str(tmp_path)},
            {"name": "shop", "bucket": "s3://shop/x", "connection": "shop"},
        ],
        applications=[{"name": "erp", "host": "web1", "path": str(remote)}],
        server_configuration=[{"host": "web1"}],
    )
    assert all(finding.ok for findings in found.values() for finding in findings)
    texts = {subject: findings[0].text for subject, findings in found.items()}
    assert texts.pop("repository").startswith("its password is known")
    assert texts == {
        "host web1": "Debian GNU/Linux 12 (bookworm), entered as 'root'",
        "files web1/far": f"{remote} can be read",
        "applications web1/erp": f"{remote} can be read",
        "files local/near": f"{tmp_path} can be read",
        "files shop/shop": "s3://shop/x holds nothing yet",
    }


def test_a_host_that_cannot_be_entered_is_told_once_and_hides_no_other_problem(
    site: Site, tmp_path: Path
) -> None:
    broken = json.loads(site.environ["AIRFLOW_CONN_WEB1"]) | {"port": free_port()}
    site.environ["AIRFLOW_CONN_WEB1"] = json.dumps(broken)
    site.environ["AIRFLOW_CONN_REPOSITORY"] = json.dumps({"conn_type": "generic"})
    found = site.check(
        hosts=HOSTS,
        files=[
            {"name": "far", "host": "web1", "path": "/srv"},
            {"name": "near", "path": str(tmp_path / "missing")},
        ],
    )
    assert {s: [f.ok for f in findings] for s, findings in found.items()} == {
        "repository": [False],
        "host web1": [False],
        "files local/near": [False],
    }
    assert "Connection refused" in found["host web1"][0].text
    assert "has no password" in found["repository"][0].text
    assert "is not there" in found["files local/near"][0].text


def test_each_tree_of_a_host_is_told_what_is_wrong_with_it(site: Site, remote: Path) -> None:
    found = site.check(
        hosts=HOSTS,
        files=[
            {"name": "missing", "host": "web1", "path": str(remote / "missing")},
            {"name": "file", "host": "web1", "path": "/etc/hostname"},
            {"name": "pattern", "host": "web1", "path": str(remote), "exclude": ["a[b"]},
        ],
    )
    assert "there is no" in found["files web1/missing"][0].text
    assert "is no folder" in found["files web1/file"][0].text
    assert "cannot be read" in found["files web1/pattern"][0].text
    assert [f.ok for f in found["host web1"]] == [True]


def test_the_configuration_of_a_host_needs_root_and_rsync(site: Site, host: Host) -> None:
    host.add_user("bob")
    site.environ["AIRFLOW_CONN_WEB1"] = host.connection_uri(login="bob")
    program = host.root / "usr/bin/rsync"
    program.rename(program.with_name("rsync.away"))
    try:
        found = site.check(hosts=HOSTS, server_configuration=[{"host": "web1"}])["host web1"]
    finally:
        program.with_name("rsync.away").rename(program)
    assert [f.text for f in found] == [
        "Debian GNU/Linux 12 (bookworm), entered as 'bob'",
        "rsync is not installed on it",
        "its configuration cannot be read whole by 'bob'",
    ]


def test_connections_and_buckets_that_are_missing_are_told(site: Site, server: S3Server) -> None:
    site.environ["AIRFLOW_CONN_SHOP"] = server.connection_uri()
    found = site.check(
        hosts=[{"name": "web9", "connection": "web9"}],
        files=[
            {"name": "none", "bucket": "s3://not-there/x", "connection": "shop"},
            {"name": "closed", "bucket": "s3://shop", "connection": "unknown"},
        ],
    )
    assert "AIRFLOW_CONN_WEB9" in found["host web9"][0].hint
    assert "NoSuchBucket" in found["files shop/none"][0].text
    assert "is not defined" in found["files unknown/closed"][0].text


def test_a_program_that_is_missing_here_is_told_with_its_package(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "restic").symlink_to(str(shutil.which("restic")))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = site.check(hosts=HOSTS)
    assert [(f.text, f.hint) for f in found["programs"]] == [
        ("ssh is not installed", "apt-get install openssh-client"),
        ("rsync is not installed", "apt-get install rsync"),
    ]
