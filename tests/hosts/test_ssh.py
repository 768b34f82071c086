"""Commands on a host: what is said is what is run, and who answers is whom we meant."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedded.host import Host
from embedded.postgres import free_port
from include.respaldo.connections import Connection, from_environment
from include.respaldo.errors import ConfigurationError, HostUnreachable, ToolFailed
from include.respaldo.ssh.failures import failure
from include.respaldo.ssh.host import SshHost
from include.respaldo.ssh.keys import HostKey

NAMES = ["a b", "it's", 'say "x"', "two\nlines", "$(touch /tmp/pwned)", "`x`", "-n", "*", "", "\\"]


def with_extra(connection: Connection, **extra: Any) -> Connection:
    merged = {k: v for k, v in {**connection.extra, **extra}.items() if v is not None}
    return replace(connection, extra=merged)


def refusal(connection: Connection) -> ConfigurationError:
    with (
        pytest.raises(ConfigurationError) as caught,
        SshHost.of(connection) as entered,
    ):
        entered.run(["true"])
    assert "PRIVATE KEY" not in str(caught.value)
    return caught.value


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The private folders of this test; with a space and a '%', which ssh would expand."""
    folder = tmp_path / "a %d"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_an_argument_arrives_as_it_is(ssh: SshHost, name: str) -> None:
    assert ssh.run(["printf", "%s", name]).text == name


def test_bytes_that_are_no_text_arrive_as_they_are(ssh: SshHost) -> None:
    name = os.fsdecode(b"\xff\xfe")
    assert ssh.run(["printf", "%s", name]).stdout == b"\xff\xfe"
    assert ssh.run(["cat"], input=bytes(range(256))).stdout == bytes(range(256))


def test_what_a_command_ends_with_is_told_even_the_number_ssh_uses_itself(ssh: SshHost) -> None:
    done = ssh.run(["sh", "-c", "echo gone wrong >&2; exit 255"])
    assert (done.returncode, done.stderr) == (255, b"gone wrong\n")
    with pytest.raises(ToolFailed, match="sh ended with 3"):
        ssh.check(["sh", "-c", "exit 3"])


def test_a_connection_of_the_environment_enters(host: Host) -> None:
    uri = host.connection_uri()
    found = from_environment("web1", {"AIRFLOW_CONN_WEB1": uri})
    with SshHost.of(found) as entered:
        assert entered.run(["hostname"]).text == "web1\n"


def test_the_key_lies_in_a_private_folder_and_goes_with_it(
    host: Host, own_temporary_folder: Path
) -> None:
    with SshHost.of(host.connection()) as entered:
        entered.run(["true"])
        (folder,) = own_temporary_folder.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
        assert "PRIVATE" not in (folder / "config").read_text()
    assert not folder.exists()


def test_a_key_file_and_a_host_key_without_its_kind_do_as_well(host: Host, tmp_path: Path) -> None:
    connection = with_extra(
        host.connection(),
        private_key=None,
        key_file=str(host.folder / "key"),
        host_key=host.host_key.split()[1],
    )
    with SshHost.of(connection) as entered:
        assert entered.run(["true"]).returncode == 0
    missing = with_extra(connection, key_file=str(tmp_path / "missing"))
    assert "No such file" in refusal(missing).message


def test_each_kind_of_host_key_is_checked_though_the_host_would_rather_show_another(
    host: Host, tmp_path: Path
) -> None:
    wanted = refusal(with_extra(host.connection(), host_key=public_key(tmp_path / "k", "rsa")))
    assert "is not the host it was: expected the ssh-rsa key" in wanted.message


def public_key(path: Path, kind: str = "ed25519") -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text()


def test_another_host_key_is_refused_with_both_fingerprints(host: Host, tmp_path: Path) -> None:
    error = refusal(with_extra(host.connection(), host_key=public_key(tmp_path / "k")))
    assert error.message.count("SHA256:") == 2
    assert "installed anew" in error.hint


def test_a_refused_key_says_which_line_the_host_lacks(host: Host, tmp_path: Path) -> None:
    line = " ".join(public_key(tmp_path / "k").split()[:2])
    error = refusal(with_extra(host.connection(), private_key=(tmp_path / "k").read_text()))
    assert "refuses the key" in error.message
    assert line in error.hint


@pytest.mark.parametrize("login", ["nobody-there", "root"])
def test_a_key_with_a_passphrase_is_unlocked_by_an_agent_that_ends_with_us(
    host: Host, tmp_path: Path, login: str
) -> None:
    key = tmp_path / "k"
    key.touch(0o600)
    key.write_text(host.private_key)
    change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "pass 'word' $x", "-f", str(key)]
    subprocess.run(change, check=True, stdout=subprocess.DEVNULL)
    locked = with_extra(host.connection(login=login), private_key=key.read_text())
    assert "has a passphrase" in refusal(locked).message
    wrong = with_extra(locked, private_key_passphrase="word")
    assert "does not open" in refusal(wrong).message
    right = with_extra(locked, private_key_passphrase="pass 'word' $x")
    if login == "root":
        with SshHost.of(right) as entered:
            assert entered.run(["id", "-un"]).text == "root\n"
    else:
        assert "refuses the key" in refusal(right).message


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"private_key": None}, "has no key"),
        ({"private_key": "hunter2"}, "is not one that OpenSSH can read"),
        ({"host_key": None}, "has no host_key"),
        ({"host_key": "ssh-ed25519 AAAA"}, "is no public key"),
        ({"host_key": "hunter2"}, "is no public key"),
        ({"no_host_key_check": "true"}, "anybody could pose as the host"),
    ],
)
def test_a_connection_that_says_too_little_is_refused_without_showing_what_it_says(
    host: Host, extra: dict[str, Any], words: str
) -> None:
    error = refusal(with_extra(host.connection(), **extra))
    assert words in error.message
    assert error.hint
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    "change", [{"host": "-oProxyCommand=x"}, {"host": None}, {"login": "a b"}, {"login": None}]
)
def test_a_host_or_login_that_is_none_is_refused(host: Host, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="that ssh could take"):
        SshHost.of(replace(host.connection(), **change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"port": free_port()}, "Connection refused"),
        ({"host": "nowhere.invalid"}, "resolve hostname"),
    ],
)
def test_a_host_that_does_not_answer_is_unreachable(
    host: Host, change: dict[str, Any], words: str
) -> None:
    with (
        SshHost.of(replace(host.connection(), **change)) as entered,
        pytest.raises(HostUnreachable, match=words) as caught,
    ):
        entered.run(["true"])
    assert caught.value.hint


def test_a_host_that_accepts_and_says_nothing_is_unreachable(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = replace(host.connection(), port=silent.getsockname()[1])
        with (
            SshHost(connection, connect_timeout=1) as entered,
            pytest.raises(HostUnreachable, match="timed out"),
        ):
            entered.run(["true"])


def test_a_command_that_does_not_end_is_cut(ssh: SshHost) -> None:
    with pytest.raises(HostUnreachable, match="sleep did not end within 1 s"):
        ssh.run(["sleep", "600"], timeout=1)


def test_a_connection_that_is_lost_while_a_command_runs_makes_the_host_unreachable(
    ssh: SshHost, host: Host
) -> None:
    # $PPID: the sshd of this connection alone
    with pytest.raises(HostUnreachable, match="closed by the host"):
        ssh.run(["sh", "-c", "kill -9 $PPID; sleep 600"])


@pytest.mark.parametrize(
    ("log", "stderr"),
    [
        ("", "half a line\nConnection to 127.0.0.1 closed by remote host.\n"),
        ("client_loop: send disconnect: Broken pipe\n", ""),
        ("Read from remote host 127.0.0.1: Connection reset by peer\n", ""),
    ],
)
def test_whatever_ssh_says_of_it_a_connection_that_breaks_is_called_closed(
    log: str, stderr: str
) -> None:
    error = failure("host web1", HostKey("ssh-ed25519", "AAAA"), "ssh-ed25519 AAAA", log, stderr)
    assert isinstance(error, HostUnreachable)
    assert error.message == "host web1 cannot be reached: the connection was closed by the host"


def test_two_threads_share_one_host(ssh: SshHost) -> None:
    found: list[str] = []

    def ask(word: str) -> None:
        found.append(ssh.run(["echo", word]).text.strip())

    threads = [threading.Thread(target=ask, args=(word,)) for word in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["one", "two"]
