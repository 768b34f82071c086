"""What Debian's programs print is read as it is meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.respaldo.debian import answers
from include.respaldo.debian.description import Offer, Package, Standing
from include.respaldo.debian.versions import compare_versions, version_key
from include.respaldo.model.file_tree import Kind


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0", "1.0.1"),
        ("1.0~rc1", "1.0"),
        ("1.0~~", "1.0~"),
        ("1.9", "1.10"),
        ("2.0", "1:1.0"),
        ("1.0-1", "1.0-1+b1"),
        ("1.0-1", "1.0-1+deb12u1"),
        ("1.0a", "1.0+"),
        ("1.0-9", "1.0-10"),
        ("1:9.2p1-2+deb12u2", "1:9.2p1-2+deb12u10"),
        ("12.4+deb12u5", "12.4+deb12u15"),
        ("2:1-1", "2:1-1.1"),
    ],
)
def test_versions_are_ordered_as_dpkg_orders_them(older: str, newer: str) -> None:
    assert compare_versions(older, newer) < 0
    assert compare_versions(newer, older) > 0


def test_versions_that_are_written_otherwise_are_the_same() -> None:
    assert compare_versions("0:1.0", "1.0") == 0
    assert compare_versions("1.01", "1.1") == 0
    assert compare_versions("1.0", "1.0-0") == 0


@given(st.lists(st.text("019a~+.", min_size=1), min_size=3, max_size=3))
def test_the_order_of_versions_is_an_order(versions: list[str]) -> None:
    a, b, c = sorted(versions, key=version_key)
    assert compare_versions(a, b) <= 0
    assert compare_versions(b, c) <= 0
    assert compare_versions(a, c) <= 0


def test_packages_are_named_without_their_own_architecture() -> None:
    text = (
        "\x1elibc6\tamd64\t2.36\tii \n /etc/ld.conf aaa\n"
        "\x1elibc6\ti386\t2.36\tii \n\n"
        "\x1etzdata\tall\t2024\thi \n\n"
        "\x1eold\tamd64\t1\trc \n /etc/old bbb\n"
        "\x1efork\tall\t1\tii \n /etc/a file ccc obsolete\n /etc/new newconffile\n"
    )
    packages, conffiles = answers.read_packages(text, "amd64", ["libc6:amd64"], ["tzdata"])
    assert packages == (
        Package("fork", "1"),
        Package("libc6", "2.36", asked_for=True),
        Package("libc6:i386", "2.36"),
        Package("tzdata", "2024", held=True),
    )
    assert conffiles == {
        "/etc/ld.conf": ("libc6", "aaa", False),
        "/etc/a file": ("fork", "ccc", True),
        "/etc/new": ("fork", "newconffile", False),
    }


def test_a_conffile_is_intact_changed_or_deleted_and_nothing_is_said_of_what_cannot_be_read() -> (
    None
):
    known = {
        "/etc/a": ("p", "1", False),
        "/etc/b": ("p", "2", False),
        "/etc/c": ("p", "3", False),
        "/etc/d": ("p", "4", False),
        "/etc/e": ("p", "5", True),
    }
    found = answers.read_conffiles(known, {"/etc/a": "1", "/etc/b": "x"}, {"/etc/a", "/etc/d"})
    assert {c.path: c.standing for c in found} == {
        "/etc/a": Standing.INTACT,
        "/etc/b": Standing.CHANGED,
        "/etc/c": Standing.DELETED,
    }


def test_a_password_is_told_apart_and_not_told() -> None:
    shadow = (
        "ana:$6$salt$hash:19000:0:99999:7:::\nbob:!:1:0:9:7:::\neve::1:0:9:7:::\nx:!*:1:0:9:7:::"
    )
    passwd = "\n".join(f"{n}:x:1:1:c:/h:/s" for n in ("ana", "bob", "eve", "x", "nis"))
    users = {u.name: u for u in answers.read_users(passwd + "\n+::::::", shadow)}
    assert list(users) == ["ana", "bob", "eve", "x", "nis"]
    assert (users["bob"].password, users["eve"].password) == ("locked", "empty")
    assert users["nis"].password == ""
    assert len(users["ana"].password) == 16
    assert "hash" not in repr(users["ana"])
    assert users["ana"].ageing == ("0", "99999", "7", "", "")


def test_files_keep_odd_names_and_times_to_the_nanosecond() -> None:
    text = (
        "f 640 0 42 7 1700000000.1234567890 /etc/a b\n\udcff\0\0"
        "l 777 0 0 3 1.0000000000 /etc/l\0../x y\0"
        "d 4755 1 2 4096 1.5 /etc\0\0"
        "s 755 0 0 0 1.0 /etc/socket\0\0"
    )
    a, link, folder, socket = answers.read_files(text)
    assert (a.path, a.kind, a.mode, a.gid, a.size) == ("/etc/a b\n\udcff", Kind.FILE, 0o640, 42, 7)
    assert a.mtime_ns == 1700000000123456789
    assert (link.kind, link.target, link.size) == (Kind.LINK, "../x y", 0)
    assert (folder.kind, folder.mode, folder.mtime_ns) == (Kind.FOLDER, 0o4755, 1_500_000_000)
    assert socket.kind is Kind.OTHER


def test_repositories_of_both_forms_are_read_with_their_keys_and_without_passwords() -> None:
    text = (
        "\x1e/etc/apt/sources.list\n# deb no\ndeb  [arch=amd64 signed-by=/k/a.gpg,/k/b.gpg] "
        "https://user:secret@host/debian bookworm main # why\n"
        "\x1e/etc/apt/sources.list.d/x.sources\nTypes: deb\nURIs: https://x\nSuites: a\n"
        "Components: main\n contrib\nSigned-By: /k/c.gpg\n\nEnabled: no\nTypes: deb\n"
        "URIs: https://off\nSuites: a\n"
    )
    found, keys = answers.read_repositories(text)
    assert keys == ("/k/a.gpg", "/k/b.gpg", "/k/c.gpg")
    assert [r.line for r in found] == [
        "deb [arch=amd64 signed-by=/k/a.gpg,/k/b.gpg] https://host/debian bookworm main",
        "deb https://x a main contrib",
    ]


def test_what_is_only_installed_cannot_be_had() -> None:
    text = (
        "bash:\n  Installed: 5.2\n  Candidate: 5.3\n  Version table:\n     5.3 500\n"
        "        500 http://deb bookworm/main amd64 Packages\n *** 5.2 100\n"
        "        100 /var/lib/dpkg/status\n"
        "own:\n  Installed: 1\n  Candidate: 1\n  Version table:\n *** 1 100\n"
        "        100 /var/lib/dpkg/status\n"
        "gone:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n     1 -1\n"
        "        500 file:/srv ./ Packages\n"
    )
    assert answers.read_offers(text) == {
        "bash": Offer("5.3", frozenset({"5.3"})),
        "own": Offer(),
        "gone": Offer("", frozenset({"1"})),
    }


def test_what_changes_by_itself_is_no_rule_of_a_firewall() -> None:
    text = "# Generated at noon\n*filter\n:INPUT ACCEPT [12:34]\n-A INPUT -j DROP\nCOMMIT\n# Done\n"
    assert answers.read_rules(text) == "*filter\n:INPUT ACCEPT\n-A INPUT -j DROP\nCOMMIT"


def test_mounts_are_shown_without_passwords() -> None:
    text = "# a\n//nas/x  /mnt cifs user=a,password=secret,ro 0 0\n"
    assert answers.read_mounts(text) == ("//nas/x /mnt cifs user=a,password=…,ro 0 0",)


def test_a_key_is_the_same_whatever_is_said_around_it() -> None:
    line = 'from="10.0.0.0/8" ssh-ed25519 AAAAkey ana@desk'
    assert answers.read_keys(f"# old\n\n{line}\nrubbish\n") == (line,)
    assert answers.key_of(line) == answers.key_of("ssh-ed25519 AAAAkey another comment")
