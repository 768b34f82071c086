"""A vendor's own packages, in a repository that is a folder of the host: no network is needed."""

from __future__ import annotations

import subprocess
from hashlib import sha256
from pathlib import Path

#: within a host
REPOSITORY = "/srv/vendor"
SOURCE = f"deb [trusted=yes signed-by=/usr/share/keyrings/vendor.gpg] file:{REPOSITORY} ./\n"

_SHOP = {
    "etc/shop/shop.conf": "port = 80\n",
    "etc/shop/colours.conf": "colour = blue\n",
    "etc/shop/motd.conf": "hello\n",
    "lib/systemd/system/shop.service": (
        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
    ),
    "lib/systemd/system/shop-report.service": "[Service]\nExecStart=/bin/true\n",
    "lib/systemd/system/shop-report.timer": (
        "[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n"
    ),
}
_POSTINST = """\
#!/bin/sh
set -e
getent passwd shop >/dev/null || useradd --system --no-create-home --home-dir /srv/shop shop
mkdir -p /etc/shop/sites
[ -n "$2" ] || ln -sf ../default-site /etc/shop/sites/default
systemctl enable --quiet shop.service
"""


def build_repository(scratch: Path, root: Path, versions: dict[str, list[str]]) -> None:
    """Put packages into the repository of a host.

    :param versions: of ``shop`` (needs ``shop-common``), ``shop-common``, ``shop-tools``.
    """
    repository = root / REPOSITORY.removeprefix("/")
    repository.mkdir(parents=True, exist_ok=True)
    stanzas = []
    for name, known in versions.items():
        for version in known:
            deb, control = _build(scratch, name, version)
            data = deb.read_bytes()
            (repository / deb.name).write_bytes(data)
            stanzas.append(
                f"{control}Filename: ./{deb.name}\nSize: {len(data)}\n"
                f"SHA256: {sha256(data).hexdigest()}\n"
            )
    (repository / "Packages").write_text("\n".join(stanzas))


def _build(scratch: Path, name: str, version: str) -> tuple[Path, str]:
    tree = scratch / f"{name}-{version}"
    deb = scratch / f"{name}_{version}_all.deb"
    control = (
        f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
        "Maintainer: Vendor <vendor@example.org>\nDescription: a package for tests\n"
    )
    if name == "shop":
        control += "Depends: shop-common\n"
    if not deb.exists():
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(control)
        if name == "shop":
            for path, text in _SHOP.items():
                (tree / path).parent.mkdir(parents=True, exist_ok=True)
                (tree / path).write_text(text)
            conffiles = [f"/{path}\n" for path in _SHOP if path.startswith("etc/")]
            (tree / "DEBIAN/conffiles").write_text("".join(conffiles))
            (tree / "DEBIAN/postinst").write_text(_POSTINST)
            (tree / "DEBIAN/postinst").chmod(0o755)
        command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(deb)]
        subprocess.run(command, check=True, capture_output=True)
    return deb, control
