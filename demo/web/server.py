"""What makes a bare Debian host the vendor's web server."""

from __future__ import annotations

from pathlib import Path

from demo.web.invoices import invoices
from embedded.host import Host

NAME = "web1"
#: the bare host that takes its place
SPARE = "web2"
ACCOUNT = "erp"
APPLICATION, UPLOADS = Path("/opt/erp"), Path("/srv/uploads")
VERSION = "4.2.0"

#: what the configuration says of it
KEPT = {
    "files": [{"name": "uploads", "host": NAME, "path": str(UPLOADS)}],
    "applications": [
        {
            "name": "erp",
            "host": NAME,
            "path": str(APPLICATION),
            "version": {"command": ["bin/erp", "--version"]},
        }
    ],
    "server_configuration": [{"host": NAME}],
}

_PROGRAM = f"""#!/bin/sh
# The web part of a small ERP.
echo "ERP {VERSION}"
"""
_UNIT = f"""[Unit]
Description=Web part of the ERP
After=network.target

[Service]
User={ACCOUNT}
ExecStart={APPLICATION}/bin/erp
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""
_CRON = f"15 3 * * * {ACCOUNT} {APPLICATION}/bin/erp --clean-sessions\n"
_SETTINGS = """# the vendor's own limits
vm.swappiness = 10
"""


def furnish(host: Host) -> int:
    """Make it the web server; return how many files users have uploaded."""
    if not (host.root / "opt/erp").exists():
        host.run(["useradd", "--system", "--home-dir", str(APPLICATION), ACCOUNT])
    for path, text, mode in (
        (APPLICATION / "VERSION", f"{VERSION}\n", 0o644),
        (APPLICATION / "bin/erp", _PROGRAM, 0o755),
        (APPLICATION / "static/estilo.css", "body { color: #123 }\n", 0o644),
        (Path("/etc/systemd/system/erp.service"), _UNIT, 0o644),
        (Path("/etc/cron.d/erp"), _CRON, 0o644),
        (Path("/etc/sysctl.d/60-erp.conf"), _SETTINGS, 0o644),
    ):
        _write(host, path, text.encode(), mode)
    count = 0
    for name, content in invoices():
        _write(host, UPLOADS / name, content, 0o640)
        count += 1
    host.run(["chown", "-R", f"{ACCOUNT}:{ACCOUNT}", str(APPLICATION), str(UPLOADS)])
    host.run(["systemctl", "enable", "--quiet", "erp.service"])
    return count


def read(host: Host, path: Path) -> bytes | None:
    """Return a file of the host; None where it has none."""
    try:
        return (host.root / path.relative_to("/")).read_bytes()
    except FileNotFoundError:
        return None


def write(host: Host, path: Path, content: bytes) -> None:
    """Write over a file of the host."""
    (host.root / path.relative_to("/")).write_bytes(content)


def _write(host: Host, path: Path, content: bytes, mode: int) -> None:
    place = host.root / path.relative_to("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    place.chmod(mode)
