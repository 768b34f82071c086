"""Full backups: one consistent logical dump of one database, and a server's globals.

A dump lands as ``<name>.partial`` and takes its name once its bytes are on the disk. It holds the
customer's data, so that nobody but its owner may read it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import psycopg
import zstandard
from psycopg.conninfo import make_conninfo

from include.respaldo.connections import Connection
from include.respaldo.errors import (
    Busy,
    CorruptObject,
    ServerUnreachable,
    SourceError,
    ToolFailed,
)
from include.respaldo.model.backup import Anchor, DatabaseProperties, StoredFile
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.postgres.connect import Session, connect
from include.respaldo.postgres.introspect import read_identity, read_properties
from include.respaldo.postgres.programs import Program, Run, environment, installed, tool
from include.respaldo.postgres.queries import query
from include.respaldo.postgres.schema_audit import schema_definitions

CHUNK = 1 << 20
_LEVEL = 3
#: what pg_dumpall writes last
_END_OF_GLOBALS = b"PostgreSQL database cluster dump complete"
LOCK_WAIT = timedelta(seconds=60)
#: what pg_dump says when what its snapshot shows was dropped before it could lock or read it
_DROPPED = (
    "does not exist",
    "could not open relation",
    "deadlock detected",
    "cache lookup failed",
    "failed sanity check",
)
#: how often a dump begins anew because it was overtaken by a change
_ATTEMPTS = 5
#: classes of SQLSTATE that pass: connection, resources, an operator's intervention
_PASSING = ("08", "53", "57")


@dataclass(frozen=True)
class Dumped:
    """What a dump is, as its manifest will say; globals have neither anchor nor properties."""

    file: StoredFile
    server_version: str
    #: tool -> version
    tools: dict[str, str]
    #: seconds
    duration: float
    anchor: Anchor | None = None
    properties: DatabaseProperties | None = None


def dump_database(
    connection: Connection, database: str, to: Path, *, lock_wait: timedelta = LOCK_WAIT
) -> Dumped:
    """Write a compressed dump of the database, of one moment, to the file `to`.

    pg_dump reads rows and most definitions as of its snapshot, but some (of views, indexes,
    constraints) as they are when it gets to them. So what is there must not be changed before it
    has read them all, which takes seconds; what is made anew, it does not see. Nor may a table be
    truncated before it has locked them: its rows are gone for every snapshot then. The database is
    dumped again if that happens.

    :param lock_wait: how long it may wait for a lock: whoever comes after it waits as long.
    :raises SourceError: the database cannot be read.
    :raises Busy: its schema is being changed, or its tables truncated, again and again.
    :raises ToolFailed: pg_dump ended with an error; nothing is left behind.
    :raises ConfigurationError: the installed pg_dump is older than the server.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _dump_database(connection, database, to, lock_wait)
        except _Overtaken:
            continue
    raise Busy(
        f"the schema of {database!r} was changed, or a table truncated, during each of "
        f"{_ATTEMPTS} attempts to dump it",
        hint="somebody changes the schema just now; try again after that",
    )


class _Overtaken(Exception):
    """The schema, or the file of a table, is not that of the snapshot any more."""


def _unsettled(conn: Session) -> frozenset[str]:
    """Return what must all be the same still once a dump has its locks."""
    (files,) = _row(conn, query("table_files"))
    return schema_definitions(conn) | set(files)


def _dump_database(connection: Connection, database: str, to: Path, lock_wait: timedelta) -> Dumped:
    begun = time.monotonic()
    with _source_errors(database), connect(connection, database) as conn:
        identity = read_identity(conn)
        program = tool("pg_dump", at_least=identity.server_version_num // 10_000)
        _lift_time_limits(conn, identity.server_version_num)
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.read_only = True
        with conn.transaction():
            exported, snapshot, lsn, at = _row(conn, query("dump_anchor"))
            anchor = Anchor(
                system_identifier=identity.system_identifier,
                timeline=identity.timeline,
                database_oid=identity.database_oid,
                lsn=Lsn.parse(lsn),
                snapshot=Snapshot.parse(snapshot),
                at=at,
            )
            properties = read_properties(conn)
            seen = _unsettled(conn)

            def compare() -> None:
                with connect(connection, database) as other:
                    if not seen <= _unsettled(other):
                        raise _Overtaken

            arguments = (
                "--format=custom",
                "--compress=0",
                # empty by contract: so PostgreSQL's own recovery leaves them
                "--no-unlogged-table-data",
                f"--snapshot={exported}",
                f"--lock-wait-timeout={round(lock_wait.total_seconds() * 1000)}",
                "--no-password",
            )
            # the name goes through PGDATABASE: in an argument, libpq would read one that holds
            # an equals sign as a connection string
            try:
                file = _write_output(
                    program, arguments, environment(connection, database), to, once_begun=compare
                )
            except ToolFailed as e:
                is_dropped = any(words in e.message for words in _DROPPED)
                if "LOCK TABLE" in e.message:
                    if is_dropped:
                        raise _Overtaken from e
                    e.hint = "somebody changes the schema just now; try again after that"
                elif is_dropped:
                    compare()  # an index, say: or the catalog is damaged, and dumping again no help
                raise
    return Dumped(
        file=file,
        server_version=identity.server_version,
        tools={program.name: program.version},
        duration=round(time.monotonic() - begun, 3),
        anchor=anchor,
        properties=properties,
    )


def dump_globals(connection: Connection, to: Path) -> Dumped:
    """Write the server's roles and tablespaces, compressed, to the file `to`.

    It holds the hashes of the roles' passwords where the connection's user may read them.

    :raises ToolFailed: pg_dumpall ended with an error; nothing is left behind.
    """
    begun = time.monotonic()
    with _source_errors("globals"), connect(connection) as conn:
        identity = read_identity(conn)
        (may_read_passwords,) = _row(conn, "SELECT has_table_privilege('pg_authid', 'SELECT')")
        database = conn.info.dbname
    program = tool("pg_dumpall", at_least=identity.server_version_num // 10_000)
    arguments = ["--globals-only", "--no-password", f"--database={make_conninfo(dbname=database)}"]
    if not may_read_passwords:
        arguments.append("--no-role-passwords")
    file = _write_output(program, arguments, environment(connection), to)
    return Dumped(
        file=file,
        server_version=identity.server_version,
        tools={program.name: program.version},
        duration=round(time.monotonic() - begun, 3),
    )


def verify_dump(path: Path, file: StoredFile) -> None:
    """Read landed bytes back: size, digest, and that they can be understood.

    :raises CorruptObject: they are not what was dumped.
    """
    digest, size, raw_size, tail = sha256(), 0, 0, b""

    def unpacked() -> Iterator[bytes]:
        nonlocal size, raw_size, tail
        unpack = zstandard.ZstdDecompressor().decompressobj()
        with path.open("rb") as source:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
                raw = unpack.decompress(chunk)
                raw_size += len(raw)
                tail = (tail + raw)[-200:]
                yield raw

    try:
        if ".pgc" in path.suffixes:
            _list(unpacked())
        else:
            _exhaust(unpacked())
    except (zstandard.ZstdError, ToolFailed) as e:
        reason = str(e).splitlines()[-1]
        raise CorruptObject(f"{path.name} cannot be read as a dump: {reason}", hint=_ANEW) from None
    if (size, digest.hexdigest()) != (file.size, file.sha256):
        raise CorruptObject(
            f"{path.name}: expected {file.size} bytes with SHA-256 {file.sha256}, "
            f"found {size} bytes with {digest.hexdigest()}",
            hint=_ANEW,
        )
    if raw_size != file.raw_size or (".sql" in path.suffixes and _END_OF_GLOBALS not in tail):
        raise CorruptObject(f"{path.name} ends too early", hint=_ANEW)


_ANEW = "take the backup again; if it happens again, check the landing zone's disk"


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield the uncompressed bytes of a dump.

    :raises zstandard.ZstdError: the file is damaged.
    """
    with path.open("rb") as source, zstandard.ZstdDecompressor().stream_reader(source) as raw:
        while chunk := raw.read(CHUNK):
            yield chunk


def _list(chunks: Iterator[bytes]) -> None:
    """Have pg_restore read the table of contents; the rest of the bytes is read all the same."""
    candidates = installed("pg_restore")
    program = candidates[-1] if candidates else tool("pg_restore")
    with Run(program, ["--list"], environment(), reads=True, writes=False) as run:
        complete = run.feed(chunks)
        run.finish()
    if not complete:
        _exhaust(chunks)


def _exhaust(chunks: Iterator[bytes]) -> None:
    for _ in chunks:
        pass


def _write_output(
    program: Program,
    arguments: Iterable[str],
    env: dict[str, str],
    to: Path,
    once_begun: Callable[[], None] | None = None,
) -> StoredFile:
    """Compress what the program prints into the file; whole and on the disk, or not at all.

    :param once_begun: called when the first bytes have come: pg_dump has read all definitions then
        (its custom format begins with the table of contents), and holds its locks.
    """
    partial = to.with_name(to.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            with Run(program, arguments, env) as run:
                size, raw_size, digest = _compress(run.stdout, out, once_begun)
                run.finish()
            out.flush()
            os.fsync(out.fileno())
        partial.replace(to)
        _sync_folder(to.parent)
    finally:
        partial.unlink(missing_ok=True)
    return StoredFile(name=to.name, size=size, sha256=digest, raw_size=raw_size)


def _compress(
    source: IO[bytes], out: IO[bytes], once_begun: Callable[[], None] | None
) -> tuple[int, int, str]:
    """Return compressed size, size before, and the SHA-256 of the compressed bytes."""
    digest, size, raw_size = sha256(), 0, 0
    pack = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
    while chunk := source.read(CHUNK):
        if once_begun is not None and not raw_size:
            once_begun()
        raw_size += len(chunk)
        packed = pack.compress(chunk)
        digest.update(packed)
        size += out.write(packed)
    packed = pack.flush()
    digest.update(packed)
    size += out.write(packed)
    return size, raw_size, digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lift_time_limits(conn: Session, version_num: int) -> None:
    """Let the session that holds the snapshot sit idle for as long as the dump takes."""
    conn.execute("SET statement_timeout TO 0")
    conn.execute("SET idle_in_transaction_session_timeout TO 0")
    if version_num >= 140_000:
        conn.execute("SET idle_session_timeout TO 0")
    if version_num >= 170_000:
        conn.execute("SET transaction_timeout TO 0")


def _row(conn: Session, statement: Any) -> tuple[Any, ...]:
    row = conn.execute(statement).fetchone()
    assert row is not None
    return row


@contextmanager
def _source_errors(database: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as e:
        reason = e.diag.message_primary or str(e)
        if isinstance(e, psycopg.OperationalError) and (e.sqlstate or "57")[:2] in _PASSING:
            raise ServerUnreachable(f"the session that dumps {database!r} broke: {reason}") from e
        raise SourceError(f"{database!r} cannot be dumped: {reason}") from e
