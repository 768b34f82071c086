"""What the configuration says of hosts and trees, and how it explains what contradicts it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from include.respaldo.config import parse_config
from include.respaldo.errors import ConfigurationError

GOOD = """\
vaults:
  primary: {uri: s3://one/prefix, connection: respaldo_vault_primary}
  replica: {uri: s3://two/prefix, connection: respaldo_vault_replica}
landing_zone: file:///var/lib/respaldo/landing
servers: [{name: pg1, connection: respaldo_pg1, tenants: {pattern: "tenant_*"}}]
repository: {connection: respaldo_repository}
hosts:
  - {name: web1, connection: respaldo_web1}
  - {name: web2, connection: respaldo_web2}
files:
  - {name: uploads, host: web1, path: /srv/uploads}
  - {name: uploads, host: web2, path: /srv/uploads}
  - {name: uploads, path: /srv/uploads}
  - {name: uploads, bucket: s3://shop, connection: shop}
applications:
  - {name: uploads, host: web1, path: /opt/uploads}
server_configuration:
  - {host: web1}
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_config(text, "x")
    return re.findall(r"^  (x:\d+: .*)$", str(caught.value), re.MULTILINE)


def changed(**fields: Any) -> str:
    found = yaml.safe_load(GOOD) | fields
    return yaml.safe_dump({k: v for k, v in found.items() if v is not None}, sort_keys=False)


def test_sources_of_one_name_in_different_places_are_different_sources() -> None:
    config = parse_config(GOOD)
    assert [tree.server for tree in config.files] == ["web1", "web2", "local", "shop"]


def test_two_sources_of_one_name_in_one_place_are_refused() -> None:
    text = GOOD.replace("host: web2, path: /srv/uploads", "host: web1, path: /srv/more")
    assert mistakes(text) == [
        "x:12: files[1].name: found 'uploads', which files[0] of web1 is named already; "
        "allowed: a name of its own"
    ]


def test_two_hosts_of_one_name_are_refused() -> None:
    text = GOOD.replace("  - {name: uploads, host: web2, path: /srv/uploads}\n", "")
    (line,) = mistakes(text.replace("{name: web2,", "{name: web1,"))
    assert line.startswith("x:9: hosts[1].name: found 'web1', which hosts[0] is named already")


@pytest.mark.parametrize("section", ["files", "applications", "server_configuration"])
def test_a_host_that_is_not_configured_is_refused_with_those_there_are(section: str) -> None:
    part = {"host": "web3"}
    if section != "server_configuration":
        part |= {"name": "x", "path": "/x"}
    (line,) = mistakes(changed(**{section: [part]}))
    assert f"{section}[0].host: found 'web3', allowed: one of the hosts (web1, web2)" in line
    (line,) = mistakes(
        changed(hosts=None, files=None, applications=None, server_configuration=[{"host": "web1"}])
    )
    assert "one of the hosts (none)" in line


def test_a_host_whose_configuration_is_kept_twice_is_refused() -> None:
    (line,) = mistakes(GOOD + "  - {host: web1}\n")
    assert line.startswith("x:19: server_configuration[1].host: found 'web1'")


def test_a_host_called_as_keys_call_this_machine_is_refused() -> None:
    hosts = [{"name": n, "connection": n} for n in ("web1", "web2", "local")]
    (line,) = mistakes(changed(hosts=hosts))
    assert "hosts[2].name: found 'local'" in line


@pytest.mark.parametrize("section", ["files", "applications", "server_configuration"])
def test_trees_need_a_repository(section: str) -> None:
    others = {s: None for s in ("files", "applications", "server_configuration") if s != section}
    (line,) = mistakes(changed(repository=None, **others))
    assert f"{section}: is kept in an encrypted repository; also needed: repository" in line


def test_hosts_alone_need_no_repository() -> None:
    parse_config(changed(repository=None, files=None, applications=None, server_configuration=None))


@pytest.mark.parametrize("value", [5, "web1", {"a": 1}, [5], [{"name": 5}], [{"host": []}]])
def test_sections_of_the_wrong_kind_are_mistakes_and_no_crash(value: Any) -> None:
    for section in ("hosts", "files", "applications", "server_configuration", "repository"):
        assert mistakes(changed(**{section: value}))
