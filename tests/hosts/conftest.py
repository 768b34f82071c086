"""One host for the whole session; tests keep to users and folders of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from embedded.host import EmbeddedHostUnavailable, Host
from include.respaldo.ssh.host import SshHost

_numbers = count(1)


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """A Debian host with its own sshd."""
    folder = Path(tempfile.mkdtemp(prefix="respaldo-host-"))
    made = Host(folder, "web1")
    try:
        yield made.start()
    except EmbeddedHostUnavailable as why:
        pytest.skip(f"no host can be made here: {why}")
    finally:
        made.stop()
        shutil.rmtree(folder)


@pytest.fixture
def ssh(host: Host) -> Iterator[SshHost]:
    """The host, entered as root."""
    with SshHost.of(host.connection()) as entered:
        yield entered


@pytest.fixture
def remote(host: Host) -> Path:
    """A new, empty folder of the host, as its path there; ``host.root`` leads to it from here."""
    path = Path(f"/srv/test-{next(_numbers)}")
    (host.root / path.relative_to("/")).mkdir()
    return path
