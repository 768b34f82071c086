"""The S3 servers of demo and tests: one folder each, on 127.0.0.1."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from embedded.s3 import S3Server

ROOT = Path(__file__).resolve().parents[2]
START = """
import sys
from pathlib import Path
from embedded.s3 import S3Server
server = S3Server(Path(sys.argv[1]), region="eu-west-3", detached=True).start()
server.create_bucket("kept")
"""


def test_a_detached_server_outlives_its_starter_and_is_found_by_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    subprocess.run([sys.executable, "-c", START, str(folder)], cwd=ROOT, check=True)

    server = S3Server.attach(folder)
    pid = server.pid
    try:
        assert pid is not None
        assert server.region == "eu-west-3"
        assert [b["Name"] for b in server.client().list_buckets()["Buckets"]] == ["kept"]
        assert server.start().pid == pid
    finally:
        server.stop()

    assert server.pid is None
    assert S3Server.attach(folder).port == server.port


def test_it_listens_on_the_loopback_address_only(tmp_path: Path) -> None:
    with S3Server(tmp_path) as server:
        sockets = {
            link.readlink().name
            for link in Path(f"/proc/{server.pid}/fd").iterdir()
            if link.is_symlink() and str(link.readlink()).startswith("socket:")
        }
        listening = [
            fields[1]
            for table in ("tcp", "tcp6")
            for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets
        ]

    assert listening == [f"0100007F:{server.port:04X}"]


def test_a_folder_without_a_server_cannot_be_attached(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no server"):
        S3Server.attach(tmp_path)
