"""What changed on a host since yesterday, for people."""

from __future__ import annotations

from dataclasses import replace

import pytest

from include.respaldo.debian.comparison import brief, changes, report
from include.respaldo.debian.description import (
    Conffile,
    Description,
    Package,
    Repository,
    Standing,
    Unit,
)
from tests.unit.debian.hosts import LOST, file, link, user


def lines(**changed: object) -> dict[str, tuple[str, ...]]:
    return {p.title: p.lines for p in changes(LOST, replace(LOST, **changed))}


def test_a_host_that_is_what_it_was_has_nothing_to_tell() -> None:
    assert changes(LOST, LOST) == ()
    assert "Nothing." in report(LOST, LOST, "20261121T020000.000000Z")


def test_packages_are_installed_removed_upgraded_downgraded_and_held() -> None:
    packages = (
        Package("bash", "5.1"),
        Package("shop", "1.1", asked_for=True, held=True),
        Package("vim", "9", asked_for=True),
    )
    assert lines(packages=packages) == {
        "packages": (
            "bash: downgraded, 5.2 → 5.1",
            "shop: upgraded, 1.0 → 1.1, put on hold",
            "shop-common: removed (was 1.0)",
            "vim: installed, 9 (asked for)",
        )
    }


def test_every_other_part_is_told_by_what_is_different_in_it() -> None:
    found = lines(
        repositories=(Repository("/etc/apt/x.list", "deb https://x a main"),),
        conffiles=(
            Conffile("/etc/bash.bashrc", "bash", Standing.CHANGED),
            *LOST.conffiles[1:],
        ),
        users=(*LOST.users[1:], user("eve", 1001, password="zzz")),
        units=(Unit("shop.service", "masked"), Unit("tidy.timer", "disabled")),
        mounts=("/dev/sdb /srv ext4",),
        firewall=(("nft", "table inet filter"),),
        authorized_keys=(("root", ("ssh-rsa AAAA eve@home",)),),
        files=(*LOST.files[:-1], file("/etc/shop.key", "key", 0o600), link("/etc/x", "y")),
        kernel="6.2",
        missing=(("network (routes)", "ip is not installed"),),
    )
    assert found["system"] == ("kernel:  → 6.2",)
    assert found["repositories"] == ("added: deb https://x a main (/etc/apt/x.list)",)
    assert found["conffiles"] == ("/etc/bash.bashrc: intact, of bash → changed, of bash",)
    assert found["users"] == (
        "ana: removed (was id 1000, group 1000, /, /bin/sh)",
        "eve: added (id 1001, group 1001, /, /bin/sh)",
    )
    assert found["units and timers"] == ("shop.service: enabled → masked",)
    assert found["mounts"] == ("added: /dev/sdb /srv ext4",)
    assert found["firewall"] == ("nft: added: table inet filter",)
    assert found["keys that open accounts"] == ("added: root: …ssh-rsa AAAA eve@home",)
    assert found["files"] == (
        "/etc/shop.key: mode 0640 → 0600, owner root:shop → root:root",
        "/etc/x: added",
    )
    assert found["could not be asked"] == ("network (routes): ip is not installed",)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [("locked", "abc", "password set"), ("abc", "xyz", "changed"), ("abc", "locked", "locked")],
)
def test_a_password_that_changed_is_told_without_it(before: str, after: str, words: str) -> None:
    old = replace(LOST, users=(user("ana", 1000, password=before),))
    new = replace(LOST, users=(user("ana", 1000, password=after),))
    (part,) = changes(old, new)
    assert words in part.lines[0]
    assert "xyz" not in part.lines[0]


def test_what_was_not_asked_today_is_not_said_to_be_gone() -> None:
    today = replace(LOST, units=(), missing=(("units", "systemctl is not installed"),))
    assert brief(changes(LOST, today)) == "could not be asked 1"


def test_the_first_report_says_what_the_host_is() -> None:
    text = report(None, LOST)
    assert "debian 12 (bookworm), amd64: 3 packages (1 asked for), 2 conffiles changed" in text


def test_a_description_is_kept_byte_for_byte_with_odd_names() -> None:
    host = replace(LOST, files=(*LOST.files, file("/etc/odd\n\udcff")))
    data = host.to_bytes()
    assert Description.from_bytes(data) == host
    assert Description.from_bytes(data).to_bytes() == data
    assert "\\udcff" not in report(LOST, host)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format": "respaldo-host/9"}'])
def test_what_is_no_description_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own, too
        Description.from_bytes(data)
