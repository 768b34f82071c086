"""Descriptions of hosts for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from include.respaldo.debian.description import (
    Conffile,
    Description,
    Group,
    HostFile,
    Offer,
    Package,
    Standing,
    Target,
    Unit,
    User,
)
from include.respaldo.debian.rebuild import Wish
from include.respaldo.model.file_tree import Kind

AS_ITSELF = Wish("web1", as_itself=True)
ONE_MORE = Wish("web2", as_itself=False)


def file(path: str, content: str = "a", mode: int = 0o644, uid: int = 0, gid: int = 0) -> HostFile:
    return HostFile(path, Kind.FILE, mode, uid, gid, size=1, sha256=content)


def folder(path: str) -> HostFile:
    return HostFile(path, Kind.FOLDER, 0o755, 0, 0)


def link(path: str, target: str) -> HostFile:
    return HostFile(path, Kind.LINK, 0o777, 0, 0, target=target)


def user(name: str, uid: int, **more: Any) -> User:
    return User(name, uid, **{"gid": uid, "comment": "", "home": "/", "shell": "/bin/sh", **more})


LOST = Description(
    name="web1",
    machine_id="1111",
    distribution="debian",
    release="12",
    codename="bookworm",
    architecture="amd64",
    packages=(
        Package("bash", "5.2"),
        Package("shop", "1.0", asked_for=True),
        Package("shop-common", "1.0"),
    ),
    conffiles=(
        Conffile("/etc/bash.bashrc", "bash", Standing.INTACT),
        Conffile("/etc/shop.conf", "shop", Standing.CHANGED),
        Conffile("/etc/shop.motd", "shop", Standing.DELETED),
    ),
    users=(
        user("ana", 1000, password="abc", ageing=("0", "9", "7", "", "")),
        user("root", 0, password="locked"),
        user("shop", 105),
    ),
    groups=(Group("ana", 1000), Group("root", 0), Group("shop", 105, ("ana",))),
    units=(Unit("shop.service", "enabled"), Unit("tidy.timer", "disabled")),
    files=(
        folder("/etc"),
        file("/etc/bash.bashrc", "bash"),
        file("/etc/shop.conf", "changed"),
        file("/etc/shop.key", "key", 0o640, 0, 105),
    ),
    roots=("/etc",),
)
BARE = replace(
    LOST,
    name="bare",
    machine_id="2222",
    packages=(Package("bash", "5.2"),),
    conffiles=(Conffile("/etc/bash.bashrc", "bash", Standing.INTACT),),
    users=(user("root", 0, password="locked"),),
    groups=(Group("root", 0),),
    units=(Unit("tidy.timer", "enabled"),),
    files=(folder("/etc"), file("/etc/bash.bashrc", "bash")),
)
OFFERS = {
    "bash": Offer("5.2", frozenset({"5.2"})),
    "shop": Offer("2.0", frozenset({"1.0", "2.0"})),
    "shop-common": Offer("2.0", frozenset({"2.0"})),
}


def target(now: Description = BARE, **more: Any) -> Target:
    return Target(now, **{"offers": OFFERS, "knows_packages": True, **more})
