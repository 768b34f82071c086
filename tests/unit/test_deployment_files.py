"""What a deployment is made of agrees with itself: locks, image, Astro's file, the example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.respaldo.config import load_config

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.txt", "requirements-dev.txt")


def lines(name: str) -> list[str]:
    text = (ROOT / name).read_text()
    return [line.partition("#")[0].strip() for line in text.splitlines() if line.strip()]


def pinned(name: str) -> dict[str, str]:
    return dict(line.split(";")[0].strip().split("==") for line in lines(name) if line)


def deployment() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "astro.yaml").read_text())["deployment"]
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_everything_and_names_no_place_to_fetch_it_from(lock: str) -> None:
    for line in filter(None, lines(lock)):
        assert re.fullmatch(r"[a-z0-9-]+(\[[a-z0-9,-]+\])?==[\w.!+]+( ; .+)?", line), line


@pytest.mark.parametrize(
    ("wanted", "lock"), [("requirements.in", LOCKS[0]), ("requirements-dev.in", LOCKS[1])]
)
def test_a_lock_holds_what_is_asked_for(wanted: str, lock: str) -> None:
    names = [re.split(r"[\[=]", line)[0].lower() for line in lines(wanted)]
    assert {name for name in names if name and not name.startswith("-r")} <= set(pinned(lock))


def test_tests_run_on_the_versions_that_are_deployed() -> None:
    assert pinned("requirements.txt").items() <= pinned("requirements-dev.txt").items()


def test_image_and_deployment_name_the_same_runtime() -> None:
    image = re.search(
        r"^FROM \S+/runtime:(\S+)-python-3\.11$", (ROOT / "Dockerfile").read_text(), re.M
    )
    assert image is not None
    assert deployment()["configuration"]["runtime_version"] == image[1]


def test_the_deployment_has_a_default_queue_and_keeps_its_secrets_elsewhere() -> None:
    assert "default" in [queue["name"] for queue in deployment()["worker_queues"]]
    for variable in deployment()["environment_variables"]:
        assert variable["value"] == "" or not variable["is_secret"]


def test_the_deployment_knows_every_connection_of_the_example() -> None:
    config = load_config(ROOT / "respaldo.example.yaml")
    ids = [server.connection for server in config.servers]
    ids += [config.vaults.primary.connection, config.vaults.replica.connection]
    keys = {variable["key"] for variable in deployment()["environment_variables"]}
    assert {f"AIRFLOW_CONN_{conn_id.upper()}" for conn_id in ids} <= keys
