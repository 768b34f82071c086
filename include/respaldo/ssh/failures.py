"""What OpenSSH's last words mean for us: can trying later help, and what to do."""

from __future__ import annotations

import re

from include.respaldo.errors import ConfigurationError, HostUnreachable, RespaldoError
from include.respaldo.ssh.keys import HOST_KEY_HINT, HostKey

#: ssh's own exit status; a remote command may end with it, too
SSH_FAILED = 255
_FOUND = re.compile(r"key sent by the remote host is\s+(SHA256:\S+?)\.?\s", re.DOTALL)
_CLOSED = re.compile(r"^Connection to \S+ closed by remote host\.\s*\Z", re.MULTILINE)

#: what it says instead when it was just then sending or receiving
_BROKEN = re.compile(r"Broken pipe|Connection reset")


def failure(
    host: str, expected: HostKey, public_key: str, log: str, stderr: str = ""
) -> RespaldoError | None:
    """Return the error that ssh tells of; None where it tells of none.

    :param host: how messages name the host.
    :param log: what ssh itself said (``-E``).
    :param stderr: what the remote command said; ssh adds to it when the connection breaks.
    """
    if "Host key verification failed" in log or "no matching host key type" in log:
        return _wrong_host_key(host, expected, log)
    if "Permission denied" in log or "Too many authentication failures" in log:
        return ConfigurationError(
            f"{host} refuses the key",
            hint="see that the connection's login is right, and that authorized_keys of that "
            f"account on the host holds this line: {public_key}",
        )
    words = _last_words(log)
    if _BROKEN.search(words) or (not words and _CLOSED.search(stderr)):
        words = "the connection was closed by the host"
    if not words:
        return None
    return HostUnreachable(f"{host} cannot be reached: {words}", hint=_next_step(words))


def _wrong_host_key(host: str, expected: HostKey, log: str) -> ConfigurationError:
    found = _FOUND.search(log)
    shows = f"one with fingerprint {found[1]}" if found else "none of that kind"
    return ConfigurationError(
        f"{host} is not the host it was: expected the {expected.kind} key with fingerprint "
        f"{expected.fingerprint}, it shows {shows}",
        hint=f"if the host was installed anew, {HOST_KEY_HINT}; if not, somebody may be posing as "
        "it: do not go on before you know",
    )


def _last_words(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1].removeprefix("ssh: ") if lines else ""


def _next_step(words: str) -> str:
    if "resolve hostname" in words:
        return "correct the host of the connection, or this machine's DNS"
    if "refused" in words:
        return "see that sshd runs there, and that the connection's port is its port"
    if "timed out" in words or "No route" in words or "unreachable" in words:
        return "see that the host is up, and that no firewall keeps this machine from it"
    return "see that the host is up and its sshd healthy (its log says more); trying again can help"
