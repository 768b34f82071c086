"""What restic says at its end, and whether trying again can help."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from include.respaldo.errors import (
    Busy,
    ConfigurationError,
    CorruptObject,
    KeyNotFound,
    RespaldoError,
    ToolFailed,
    VaultUnreachable,
)
from include.respaldo.filetree.restic_errors import error_of
from include.respaldo.filetree.restic_run import answers


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("unable to create lock in backend: repository is already locked by PID 7 on host", Busy),
        ("Fatal: wrong password or no key found", ConfigurationError),
        ("Fatal: unable to open config file: Stat: Access Denied.", ConfigurationError),
        ("client.PutObject: The specified bucket does not exist", ConfigurationError),
        ("Fatal: unable to open config file: Is there a repository at …?", KeyNotFound),
        ("Fatal: no matching ID found for prefix", KeyNotFound),
        ("Fatal: ciphertext verification failed", CorruptObject),
        ("Fatal: repository contains errors", CorruptObject),
        ("error for tree 1234: id 1234 not found in repository", CorruptObject),
        ("Fatal: client.PutObject: dial tcp: connect: connection refused", VaultUnreachable),
        ("write /cache/x: no space left on device", ToolFailed),
        ("Fatal: something new", ToolFailed),
    ],
)
def test_each_end_has_its_error(said: str, kind: type[RespaldoError]) -> None:
    error = error_of("restic backup", 1, f"repository opened\n{said}\n", "s3:http://x/b")
    assert type(error) is kind
    assert said.rsplit(maxsplit=1)[-1] in error.message
    assert error.retryable == (kind in {Busy, VaultUnreachable, ToolFailed})


@pytest.fixture
def service() -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(int(self.path.strip("/")))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "expected"), [(200, True), (403, True), (501, True), (503, False)]
)
def test_a_refusal_is_an_answer_and_a_fault_is_none(
    service: HTTPServer, status: int, expected: bool
) -> None:
    assert answers(f"http://127.0.0.1:{service.server_port}/{status}") is expected
