"""What of a lost host never goes to the one that becomes it, and why: each rule in words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from posixpath import basename

NETWORK = "the network is the target's own: kept to be read, not replayed"
ACCESS = "the target's own access over SSH is left as it is: nobody is locked out"
HOST_KEYS = "host keys belong to one host alone"
DISKS = "disks and what is mounted are the target's own: shown, not replayed"
BOOT = "kernel and boot loader are the target's own"
IDENTITY = "every host has an identity of its own"
ACCOUNTS = "accounts are made one by one, with their ids"
RANGES = "ranges of ids for containers: useradd has given new ones"
GENERATED = "made by the system itself from other files"

_RULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (HOST_KEYS, (r"/etc/ssh/ssh_host_[^/]*",)),
    (
        ACCESS,
        (
            r"/etc/ssh/sshd_config(\.d)?",
            r"/etc/(default/ssh|pam\.d/sshd|nologin|hosts\.allow|hosts\.deny)",
            r"/etc/security/access\.conf",
            r"/etc/systemd/system/(ssh|sshd)(@)?\.(service|socket)(\.d)?",
        ),
    ),
    (
        NETWORK,
        (
            r"/etc/(network|netplan|NetworkManager|resolvconf|dhcp|wpa_supplicant|ppp|cloud)",
            r"/etc/(resolv\.conf|hosts|networks|dhcpcd\.conf)",
            r"/etc/systemd/(network|networkd\.conf|resolved\.conf|resolved\.conf\.d)",
            r"/etc/udev/rules\.d/[^/]*persistent-net[^/]*",
        ),
    ),
    (DISKS, (r"/etc/(fstab|crypttab|mdadm|lvm|mtab)",)),
    (
        BOOT,
        (r"/etc/(grub\.d|default/grub|default/grub\.d|kernel|initramfs-tools|modprobe\.d/dkms)",),
    ),
    (IDENTITY, (r"/etc/(machine-id|hostname|adjtime)",)),
    (ACCOUNTS, (r"/etc/(passwd|group|shadow|gshadow)-?", r"/etc/\.pwd\.lock")),
    (RANGES, (r"/etc/sub[ug]id-?",)),
    (
        GENERATED,
        (
            r"/etc/(ld\.so\.cache|\.updated|\.resolv\.conf\.systemd-resolved\.bak)",
            r"/etc/ssl/certs/ca-certificates\.crt",
            r"/etc/ssl/certs/java",
            r"/etc/apt/apt\.conf\.d/01autoremove-kernels",
        ),
    ),
)
_PATHS = tuple(
    (reason, re.compile(rf"(?:{'|'.join(patterns)})(?:/.*)?", re.DOTALL))
    for reason, patterns in _RULES
)
_NETWORK_UNITS = re.compile(
    r"(systemd-(networkd|resolved|network-generator)|networking|NetworkManager|dhcpcd|ifup@"
    r"|wpa_supplicant|cloud-|dbus-org\.freedesktop\.(network1|resolve1|nm-dispatcher))"
)
_ACCESS_UNITS = re.compile(r"sshd?(@[^.]*)?\.(service|socket)(\.d)?")
_BOOT_PACKAGES = re.compile(
    r"(linux-(image|headers|modules|base|kbuild|compiler|tools)|grub|shim|efibootmgr"
    r"|(intel|amd64)-microcode|firmware-|initramfs-tools|dracut|systemd-boot|cloud-)"
)
#: what update-ca-certificates makes links to, and how it names links by their hash
_CERTIFICATE = re.compile(r"/usr/(local/)?share/ca-certificates/")
_HASH = re.compile(r"/[0-9a-f]{8}\.[0-9]+$")
#: firewalls: their files and units are replayed, and never started by a rebuild
FIREWALL_UNITS = re.compile(
    r"(nftables|netfilter-persistent|iptables|ip6tables|ufw|firewalld|shorewall)\b"
)
#: lines are added to the target's, none is taken away
_MERGED = re.compile(r"/.*/\.ssh/authorized_keys2?")


def path_kept_back(path: str, *, is_link: bool = False, target: str = "") -> str | None:
    """Return why a path is left as the target has it; None where it is replayed."""
    for reason, pattern in _PATHS:
        if pattern.fullmatch(path):
            return reason
    if is_merged(path):
        return ACCESS
    if is_link and path.startswith("/etc/systemd/"):
        return unit_kept_back(basename(path)) or unit_kept_back(basename(target))
    if is_link and path.startswith("/etc/ssl/certs/"):
        return GENERATED if _CERTIFICATE.match(target) or _HASH.search(path) else None
    if is_link and re.fullmatch(r"/etc/rc[0-6S]\.d/[SK]\d\d(ssh|networking|network-manager)", path):
        return NETWORK if "network" in path else ACCESS
    return None


def unit_kept_back(name: str) -> str | None:
    """Return why a unit's state is left as the target has it; None where it is replayed."""
    if _NETWORK_UNITS.match(name):
        return NETWORK
    if _ACCESS_UNITS.fullmatch(name):
        return ACCESS
    return None


def package_kept_back(name: str) -> str | None:
    """Return why a package is not installed on the target; None where it is."""
    return BOOT if _BOOT_PACKAGES.match(name) else None


def is_merged(path: str) -> bool:
    """Return whether it says which keys open an account."""
    return _MERGED.fullmatch(path) is not None


def is_host_key(path: str) -> bool:
    """Return whether it is one of the keys by which a host is known."""
    return path.startswith("/etc/ssh/ssh_host_")


def is_repository(path: str, keys: Iterable[str] = ()) -> bool:
    """Return whether apt has to have it before packages are installed.

    :param keys: paths of keys outside of /etc that repositories name.
    """
    return path.startswith("/etc/apt/") or any(path == k or path.startswith(k + "/") for k in keys)
