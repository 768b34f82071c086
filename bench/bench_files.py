"""100,000 small files, 2 GB: the first day, and days on which 1 % of them changed.

Against plain ``restic backup`` into a repository of its own, and ``tar | zstd | upload``. Ours does
more: digests of every file, the list as Parquet, the comparison with the day before, and a look
whether what was stored is what was listed. All write into S3 servers of their own, one after the
other; the files are in the system's cache. Each is run in two rounds, the second in reverse order.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from bench.ground import execute, folder
from bench.table import megabytes, note, seconds, table, verdict
from embedded.s3 import S3Server
from include.respaldo.connections import from_environment
from include.respaldo.filetree.digests import DigestCache
from include.respaldo.filetree.file_list import compare, summary, write_list
from include.respaldo.filetree.listing import list_tree
from include.respaldo.filetree.location import RepositoryLocation
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.filetree.restic import Repository
from include.respaldo.filetree.second_look import is_as_listed
from include.respaldo.model.file_tree import Unusual, suspicions

BUCKET = "files"
PASSWORD = "a password for the benchmark"
OURS, PLAIN, TAR = "ours", "plain restic", "tar, zstd, upload"
FIRST, CHANGED = "first day", "1 % changed"
#: the servers' processor time is not in it: it is what a busy machine does not blur
_MEASURED = ("time", "processor")
_DAYS = 3  # with changes, in each round
_UPLOAD = """\
import os, sys, boto3, botocore.config
client = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"], region_name="eu-west-1",
                      aws_access_key_id="respaldo", aws_secret_access_key="respaldo-local",
                      config=botocore.config.Config(read_timeout=900))
client.upload_fileobj(sys.stdin.buffer, os.environ["BUCKET"], sys.argv[1])
"""


class _Silent:
    def step(self, message: str) -> None: ...

    def advance(self, done: int, total: int | None, unit: str) -> None: ...


class _Uploads:
    """Users' uploads: half of them compressed already, half texts; 100 in a folder."""

    def __init__(self, root: Path, files: int) -> None:
        self.root, self.files = root, files
        self._random = random.Random(7)
        self._noise = self._random.randbytes(8 << 20)
        words = ["order", "invoice", "customer", "line", "total", "paid", "EUR", "item"]
        numbers = (
            f"{self._random.choice(words)} {self._random.randrange(10**6)}" for _ in range(300_000)
        )
        self._text = " ".join(numbers).encode()

    def grow(self) -> None:
        for number in range(self.files):
            path = self._path(number)
            if number % 100 == 0:
                path.parent.mkdir(parents=True)
            self._write(path, number)

    def change(self) -> None:
        """Half of 1 % is other, half of it new files."""
        for number in self._random.sample(range(self.files), self.files // 200):
            self._write(self._path(number), number)
        for number in range(self.files, self.files + self.files // 200):
            self._path(number).parent.mkdir(parents=True, exist_ok=True)
            self._write(self._path(number), number)
        self.files += self.files // 200

    def read(self) -> int:
        """Bring everything into the system's cache; return the bytes."""
        return sum(len(path.read_bytes()) for path in self.root.rglob("*") if path.is_file())

    def _path(self, number: int) -> Path:
        kind = "pdf" if number % 2 else "xml"
        return self.root / f"{number // 1000:03}" / f"{number // 100 % 10}" / f"{number:06}.{kind}"

    def _write(self, path: Path, number: int) -> None:
        size = min(500_000, int(self._random.lognormvariate(9.3, 1.1)))
        source = self._noise if number % 2 else self._text
        begin = self._random.randrange(len(source) - size)
        path.write_bytes(b"%d\n" % number + source[begin : begin + size])


class _Ours:
    """What the steps of a backup do, by the library."""

    def __init__(self, at: Path, server: S3Server) -> None:
        connection = from_environment("vault", {"AIRFLOW_CONN_VAULT": server.connection_uri()})
        location = RepositoryLocation.s3(f"s3://{BUCKET}", "restic/files/", connection, PASSWORD)
        self._at = at
        self._repository = Repository(location, at / "cache")
        self._repository.ensure()
        self._day = 0
        self.parts: dict[str, float] = {}

    def run(self, root: Path) -> None:
        self._day += 1
        self.parts = {}
        begun = time.monotonic()

        def did(what: str) -> None:
            self.parts[what] = time.monotonic() - begun - sum(self.parts.values())

        digests, now = self._at / "digests", self._at / f"{self._day}.parquet"
        before = self._at / f"{self._day - 1}.parquet" if self._day > 1 else None
        with list_tree(
            root,
            Patterns(),
            one_file_system=True,
            known=DigestCache.read(digests),
            progress=_Silent(),
        ) as listed:
            did("list")
            listed.digests.write(digests)
            write_list(listed.entries, now)
        did("write")
        suspicions(compare(before, now, "before"), Unusual())
        size = summary(now).size
        did("compare")
        snapshot = self._repository.backup(
            root,
            patterns=Patterns(),
            host="shop",
            tags=["category=files", f"backup={self._day}"],
            at=datetime.now(UTC),
            one_file_system=True,
            progress=_Silent(),
            size=size,
        )
        did("restic")
        if not is_as_listed(root, DigestCache.read(digests), snapshot):
            raise RuntimeError("the snapshot is not what was listed")
        did("second look")


class _Plain:
    """``restic backup``, as anyone would call it."""

    def __init__(self, at: Path, server: S3Server) -> None:
        self._environment = {
            "RESTIC_REPOSITORY": f"s3:{server.endpoint_url}/{BUCKET}/plain",
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_CACHE_DIR": str(at / "cache"),
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
        }
        execute(["restic", "init", "-o", f"s3.region={server.region}"], self._environment)
        self._region = server.region

    def run(self, root: Path) -> None:
        execute(
            ["restic", "backup", "-q", "-o", f"s3.region={self._region}", str(root)],
            self._environment,
        )


class _Tar:
    """An archive of everything, every day."""

    def __init__(self, at: Path, server: S3Server) -> None:
        (at / "upload.py").write_text(_UPLOAD)
        self._upload = f"{shlex.quote(sys.executable)} {shlex.quote(str(at / 'upload.py'))}"
        self._environment = {"ENDPOINT": server.endpoint_url, "BUCKET": BUCKET}

    def run(self, root: Path) -> None:
        script = f"set -o pipefail; tar -C {shlex.quote(str(root))} -cf - . | zstd -q | "
        execute(["bash", "-c", script + self._upload + " day.tar.zst"], self._environment)


_KINDS: dict[str, Callable[[Path, S3Server], _Ours | _Plain | _Tar]] = {
    PLAIN: _Plain,
    OURS: _Ours,
    TAR: _Tar,
}


def run(*, small: bool) -> None:
    """Measure; print the tables."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    parts: dict[str, dict[str, list[float]]] = {FIRST: {}, CHANGED: {}}
    with folder() as at:
        uploads = _Uploads(at / "uploads", 2_000 if small else 100_000)
        uploads.grow()
        note(f"{uploads.files:,} files, {megabytes(uploads.read())}")
        for order in (list(_KINDS), list(reversed(_KINDS))):
            _round(at / "round", uploads, order, found, parts)
    head = ("", PLAIN, OURS, "overhead", TAR)
    rows = []
    for day in (FIRST, CHANGED):
        for place, what in enumerate(_MEASURED):
            plain, ours, tar = (_median(found[day, kind], place) for kind in (PLAIN, OURS, TAR))
            more = f"{ours / plain - 1:+.0%}"
            rows.append((f"{day}, {what}", seconds(plain), seconds(ours), more, seconds(tar)))
    print(
        f"\nMedians of {len(found[FIRST, OURS])} first days and {len(found[CHANGED, OURS])} others"
    )
    table(head, rows)
    names = list(parts[FIRST])
    table(
        ("of ours", *names),
        [
            (day, *(seconds(statistics.median(parts[day][name])) for name in names))
            for day in (FIRST, CHANGED)
        ],
    )
    for day in (FIRST, CHANGED):
        for place, what in enumerate(_MEASURED):
            plain, ours = (_median(found[day, kind], place) for kind in (PLAIN, OURS))
            verdict(
                aim=f"at most 15 % over plain restic, {day}, {what}",
                met=ours <= 1.15 * plain,
                found=f"{ours / plain - 1:+.1%}",
            )


def _median(measured: list[tuple[float, float]], place: int) -> float:
    return statistics.median(values[place] for values in measured)


def _processor() -> float:
    """Return the seconds that this process and those it has waited for have used."""
    return sum(os.times()[:4])


def _round(
    at: Path,
    uploads: _Uploads,
    order: list[str],
    found: dict[tuple[str, str], list[tuple[float, float]]],
    parts: dict[str, dict[str, list[float]]],
) -> None:
    servers: list[S3Server] = []
    made: dict[str, _Ours | _Plain | _Tar] = {}
    try:
        for number, kind in enumerate(order):
            server = S3Server(at / f"s3-{number}").start()
            servers.append(server)
            server.create_bucket(BUCKET)
            (at / f"own-{number}").mkdir()
            made[kind] = _KINDS[kind](at / f"own-{number}", server)
        for day in (FIRST, *[CHANGED] * _DAYS):
            if day == CHANGED:
                uploads.change()
            uploads.read()
            os.sync()
            for kind in order:
                begun, used = time.monotonic(), _processor()
                made[kind].run(uploads.root)
                took, used = time.monotonic() - begun, _processor() - used
                found.setdefault((day, kind), []).append((took, used))
                note(f"{day}, {kind}: {seconds(took)}, processor {seconds(used)}")
            ours = made[OURS]
            assert isinstance(ours, _Ours)
            for name, value in ours.parts.items():
                parts[day].setdefault(name, []).append(value)
    finally:
        for server in servers:
            server.stop()
        with suppress(OSError):
            shutil.rmtree(at)
