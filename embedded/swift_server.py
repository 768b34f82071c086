"""OpenStack Swift with its S3 interface, all four servers in one process.

Run by the Python that has swift installed, not by the project's own::

    python -I -W ignore embedded/swift_server.py FOLDER

FOLDER holds ``server.json`` (port, region) and ``credentials.json``; objects go to its
``objects``. Only the proxy's port is announced; the others take free ones at each start.
"""

# ruff: noqa: E402  eventlet patches the standard library before anything else is imported
from __future__ import annotations

import sys

import eventlet

eventlet.patcher.monkey_patch()

import json
from pathlib import Path

import eventlet.wsgi
import swift.common.utils
from swift.common.constraints import reload_constraints
from swift.common.ring import RingBuilder
from swift.common.storage_policy import reload_storage_policies
from swift.common.wsgi import SwiftHttpProtocol, loadapp

DEFAULTS = """
[DEFAULT]
bind_ip = 127.0.0.1
swift_dir = {folder}
devices = {folder}/objects
mount_check = false
disable_fallocate = true
log_level = WARNING
"""

# generous limits: a listing must know of an object once it is stored, on slow machines too
BACKEND = """
[pipeline:main]
pipeline = {kind}-server

[app:{kind}-server]
use = egg:swift#{kind}
node_timeout = 60
conn_timeout = 10
container_update_timeout = 60
"""

PROXY = """
[pipeline:main]
pipeline = catch_errors healthcheck listing_formats s3api tempauth slo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
node_timeout = 60
recoverable_node_timeout = 60
conn_timeout = 10

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:healthcheck]
use = egg:swift#healthcheck

[filter:listing_formats]
use = egg:swift#listing_formats

[filter:s3api]
use = egg:swift#s3api
location = {region}

[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{user} = {secret} .admin

[filter:slo]
use = egg:swift#slo
"""

POLICY = """
[swift-hash]
swift_hash_path_prefix = respaldo
swift_hash_path_suffix = respaldo

[storage-policy:0]
name = one
default = yes
"""


def main(folder: Path) -> None:
    """Serve until killed."""
    settings = json.loads((folder / "server.json").read_text())
    credentials = json.loads((folder / "credentials.json").read_text())
    account, _, user = credentials["access_key"].partition(":")
    (folder / "objects" / "disk").mkdir(parents=True, exist_ok=True)
    conf = folder / "swift.conf"
    conf.write_text(POLICY)
    swift.common.utils.SWIFT_CONF_FILE = str(conf)
    swift.common.utils.validate_hash_conf()
    reload_constraints()
    reload_storage_policies()

    sockets = {}
    for kind in ("account", "container", "object"):
        sockets[kind] = eventlet.listen(("127.0.0.1", 0))
        _write_ring(folder / f"{kind}.ring.gz", sockets[kind].getsockname()[1])
        _write_conf(folder, kind, BACKEND.format(kind=kind))
    sockets["proxy"] = eventlet.listen(("127.0.0.1", settings["port"]))
    proxy = PROXY.format(
        region=settings["region"], account=account, user=user, secret=credentials["secret_key"]
    )
    _write_conf(folder, "proxy", proxy)

    log = (folder / "requests.log").open("a", buffering=1)
    threads = [
        eventlet.spawn(
            eventlet.wsgi.server,
            sockets[kind],
            loadapp(str(folder / f"{kind}.conf")),
            log=log,
            protocol=SwiftHttpProtocol,
        )
        for kind in sockets
    ]
    for thread in threads:
        thread.wait()


def _write_conf(folder: Path, kind: str, text: str) -> None:
    path = folder / f"{kind}.conf"
    path.touch(0o600)
    path.write_text(DEFAULTS.format(folder=folder) + text)


def _write_ring(path: Path, port: int) -> None:
    """Make a ring of one device: every partition lies on it, whatever its port is today."""
    builder = RingBuilder(4, 1, 0)
    builder.add_dev({
        "region": 1,
        "zone": 1,
        "ip": "127.0.0.1",
        "port": port,
        "device": "disk",
        "weight": 1.0,
    })
    builder.rebalance()
    builder.get_ring().save(str(path))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
