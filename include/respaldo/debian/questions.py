"""The questions that a Debian host is asked at once, and the scripts that ask them."""

from __future__ import annotations

from collections.abc import Sequence

from include.respaldo.debian import answers

_DPKG_FORMAT = (
    answers.RECORD + "${Package}\\t${Architecture}\\t${Version}\\t${db:Status-Abbrev}"
    "\\n${Conffiles}\\n"
)
#: as if systemd did not run: it is the files that are asked for
_UNIT_FILES = ("systemctl", "list-unit-files", "--no-legend", "--no-pager", "--plain", "--full")
_SERVICES = (
    *("systemctl", "list-units", "--type=service", "--state=active"),
    *("--no-legend", "--no-pager", "--plain", "--full"),
)
_SOURCES = """\
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources
do [ ! -f "$file" ] || { printf '\\036%s\\n' "$file"; cat -- "$file"; echo; }
done
"""
AUTHORIZED_KEYS = """\
for home do
  for file in "$home/.ssh/authorized_keys" "$home/.ssh/authorized_keys2"
  do [ ! -f "$file" ] || { printf '\\036%s\\n' "$home"; cat -- "$file"; echo; }
  done
done
"""

#: part of the description -> the program that knows; what cannot be asked is left out
QUESTIONS: dict[str, Sequence[str]] = {
    "release": ("cat", "/etc/os-release"),
    "architecture": ("dpkg", "--print-architecture"),
    "packages": ("dpkg-query", "--show", f"--showformat={_DPKG_FORMAT}"),
    "packages asked for": ("apt-mark", "showmanual"),
    "packages on hold": ("apt-mark", "showhold"),
    "other architectures": ("dpkg", "--print-foreign-architectures"),
    "repositories": ("sh", "-c", _SOURCES),
    "name": ("sh", "-c", "cat /etc/hostname 2>/dev/null || uname -n"),
    "kernel": ("uname", "-r"),
    "machine-id": ("cat", "/etc/machine-id"),
    "users": ("cat", "/etc/passwd"),
    "passwords": ("cat", "/etc/shadow"),
    "groups": ("cat", "/etc/group"),
    "units": _UNIT_FILES,
    "running services": _SERVICES,
    "mounts": ("sh", "-c", "[ ! -e /etc/fstab ] || cat /etc/fstab"),
    "firewall (nft)": ("nft", "-s", "list", "ruleset"),
    "firewall (iptables)": ("iptables-save",),
    "firewall (ip6tables)": ("ip6tables-save",),
    "network (addresses)": ("ip", "-br", "address"),
    "network (routes)": ("ip", "route"),
}
