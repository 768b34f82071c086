"""The replication stream of one slot, over libpq itself (docs/decisions/0002)."""

from __future__ import annotations

import select
import struct
import time
from typing import NoReturn

from psycopg import pq
from psycopg.errors import OperationalError

from include.respaldo.connections import Connection
from include.respaldo.errors import Busy, ChainBroken, RespaldoError, ServerUnreachable
from include.respaldo.model.lsn import Lsn
from include.respaldo.ports import Keepalive, Payload
from include.respaldo.postgres.connect import conninfo, refusal

#: microseconds from the Unix epoch to PostgreSQL's, 2000-01-01
_EPOCH = 946_684_800_000_000
_XLOG_DATA = ord("w")
_KEEPALIVE = ord("k")
#: after the type: start of the data, end of the log, server's clock
_DATA_OFFSET = 1 + 8 + 8 + 8
_POSITION = struct.Struct("!xQ")
_KEEPALIVE_LAYOUT = struct.Struct("!xQqB")
_STATUS_LAYOUT = struct.Struct("!cQQQqB")
#: seconds; a walsender gives up a silent reader after wal_sender_timeout (60 s by default)
STATUS_INTERVAL = 10
#: bytes after which `read` returns, though more may have arrived
BATCH = 4 << 20
#: seconds to let changes gather once some have come: one wake-up for many of them halves the
#: processor time of a busy log (the server sends each change by itself)
GATHER = 0.1
#: seconds for the server to let go of the slot when we leave
FAREWELL = 2.0


def open_stream(
    connection: Connection,
    database: str,
    slot: str,
    start: Lsn,
    *,
    publication: str = "respaldo",
) -> ReplicationStream:
    """Begin to read a slot's changes.

    :param start: commits before it are skipped; zero starts where the slot stands.
    :raises Busy: somebody reads the slot now.
    :raises ChainBroken: the slot is not there, stands beyond `start`, or the server dropped log
        that it needs.
    :raises ServerUnreachable: no connection.
    """
    info = conninfo(connection, database, application_name="respaldo archive", replication=True)
    pgconn = pq.PGconn.connect(info.encode())
    try:
        if pgconn.status != pq.ConnStatus.OK:
            raise refusal(connection, database, pgconn.get_error_message())
        if start:
            _check_start(pgconn, slot, start)
        result = pgconn.exec_(_start_command(pgconn, slot, start, publication))
        if result.status != pq.ExecStatus.COPY_BOTH:
            raise _start_error(slot, result)
        pgconn.nonblocking = 1
    except BaseException:
        pgconn.finish()
        raise
    return ReplicationStream(pgconn, slot)


def _check_start(pgconn: pq.abc.PGconn, slot: str, start: Lsn) -> None:
    """Refuse a start that the server would silently move forward to what was confirmed."""
    name = bytes(pq.Escaping(pgconn).escape_literal(slot.encode()))
    result = pgconn.exec_(
        b"SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = " + name
    )
    if result.status != pq.ExecStatus.TUPLES_OK or result.ntuples != 1:
        return  # START_REPLICATION says what is wrong
    confirmed = result.get_value(0, 0)
    if confirmed is not None and Lsn.parse(confirmed.decode()) > start:
        raise ChainBroken(
            f"slot {slot!r} stands at {confirmed.decode()}, beyond {start}, where the log ends",
            hint="what lies between was confirmed and may be gone: a new chain and a full backup "
            "begin",
        )


def _start_command(pgconn: pq.abc.PGconn, slot: str, start: Lsn, publication: str) -> bytes:
    escaping = pq.Escaping(pgconn)

    def identifier(name: str) -> bytes:
        return bytes(escaping.escape_identifier(name.encode()))

    return b"START_REPLICATION SLOT %b LOGICAL %b (proto_version '1', publication_names %b, %b)" % (
        identifier(slot),
        str(start).encode(),
        bytes(escaping.escape_literal(identifier(publication))),
        b"messages 'true'",
    )


def _start_error(slot: str, result: pq.abc.PGresult) -> RespaldoError:
    state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    reason = _reason(result)
    if state == "55006":  # object_in_use
        return Busy(f"slot {slot!r} is being read already: {reason}", hint="one archiver at a time")
    if state in {"42704", "55000"}:  # undefined_object, object_not_in_prerequisite_state
        return ChainBroken(
            f"slot {slot!r} cannot be read: {reason}",
            hint="prepare the database again: a new chain and a full backup begin",
        )
    return ServerUnreachable(f"slot {slot!r} cannot be read now: {reason}")


def _reason(result: pq.abc.PGresult) -> str:
    field = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY)
    return (field or result.error_message or b"no reason given").decode(errors="replace").strip()


class ReplicationStream:
    """The committed changes of one database from a position on: a `ports.ChangeStream`.

    Nothing but `confirm` moves the slot: what is sent by itself repeats what was confirmed last.
    """

    def __init__(self, pgconn: pq.abc.PGconn, slot: str) -> None:
        self._pgconn = pgconn
        self._slot = slot
        # zero means "no statement"; the server takes nothing from it
        self._confirmed = 0
        self._status_sent = time.monotonic()
        self._flowing = False

    def read(self, timeout: float) -> list[Payload | Keepalive]:
        """Return what has arrived, in order; waits at most `timeout` seconds; may be empty.

        :raises ServerUnreachable: the connection broke.
        :raises ChainBroken: the server cannot go on with this slot.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._keep_alive()
            if batch := self._take():
                self._flowing = any(isinstance(message, Payload) for message in batch)
                return batch
            wait = min(deadline - time.monotonic(), STATUS_INTERVAL / 2)
            if wait <= 0 or not self._wait(wait):
                if time.monotonic() >= deadline:
                    return []
                continue
            if self._flowing:
                time.sleep(max(0.0, min(GATHER, deadline - time.monotonic())))

    def ask_position(self) -> None:
        """Ask the server for a `Keepalive` now."""
        self._send_status(reply=True)

    def confirm(self, position: Lsn) -> None:
        """Tell the server that everything before `position` is safe: it may drop that log."""
        self._confirmed = max(self._confirmed, int(position))
        self._send_status()

    def close(self) -> None:
        """End the stream; the slot stays, and is free when this returns (if the server answers)."""
        try:
            self._say_farewell()
        except (OperationalError, RespaldoError, OSError):
            pass  # it is broken already: nothing to part from
        finally:
            self._pgconn.finish()

    def __enter__(self) -> ReplicationStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self) -> list[Payload | Keepalive]:
        """Return what libpq holds or can receive without waiting, about `BATCH` bytes at most."""
        get, pgconn = self._pgconn.get_copy_data, self._pgconn
        batch: list[Payload | Keepalive] = []
        size = 0
        received = False
        try:
            while size < BATCH:
                length, data = get(1)
                if length > 0:
                    size += length
                    if data[0] == _XLOG_DATA:
                        (position,) = _POSITION.unpack_from(data)
                        batch.append(Payload(bytes(data[_DATA_OFFSET:]), Lsn(position)))
                    elif data[0] == _KEEPALIVE:
                        batch.append(self._on_keepalive(data))
                elif length == 0:
                    if received or (batch and size >= BATCH // 4):
                        break
                    pgconn.consume_input()
                    received = True
                else:
                    self._ended()
        except OperationalError as e:
            raise ServerUnreachable(f"the stream of slot {self._slot!r} broke: {e}") from None
        return batch

    def _on_keepalive(self, data: memoryview) -> Keepalive:
        position, _, reply = _KEEPALIVE_LAYOUT.unpack_from(data)
        if reply:
            self._send_status()
        return Keepalive(Lsn(position))

    def _ended(self) -> NoReturn:
        """Raise what the end of the stream means."""
        result = self._pgconn.get_result()
        if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
            state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
            # the server's own end (57P01 …) and lost connections pass; the rest comes again
            if state and not state.startswith(("57", "08", "53")):
                raise ChainBroken(
                    f"slot {self._slot!r} cannot be read on: {_reason(result)}",
                    hint="prepare the database again: a new chain and a full backup begin",
                )
            raise ServerUnreachable(f"the stream of slot {self._slot!r} ended: {_reason(result)}")
        raise ServerUnreachable(f"the server ended the stream of slot {self._slot!r}")

    def _wait(self, seconds: float) -> bool:
        """Return whether something arrived within that time."""
        try:
            readable, _, _ = select.select([self._pgconn.socket], [], [], seconds)
        except (OSError, ValueError, OperationalError) as e:
            raise ServerUnreachable(f"the stream of slot {self._slot!r} broke: {e}") from None
        return bool(readable)

    def _keep_alive(self) -> None:
        if time.monotonic() - self._status_sent >= STATUS_INTERVAL:
            self._send_status()

    def _send_status(self, *, reply: bool = False) -> None:
        at = time.time_ns() // 1000 - _EPOCH
        position = self._confirmed
        message = _STATUS_LAYOUT.pack(b"r", position, position, position, at, reply)
        try:
            self._pgconn.put_copy_data(message)
            # what cannot leave now leaves with the next one: these are 34 bytes every few seconds
            self._pgconn.flush()
        except OperationalError as e:
            raise ServerUnreachable(f"the stream of slot {self._slot!r} broke: {e}") from None
        self._status_sent = time.monotonic()

    def _say_farewell(self) -> None:
        pgconn = self._pgconn
        if pgconn.status != pq.ConnStatus.OK:
            return
        deadline = time.monotonic() + FAREWELL
        pgconn.put_copy_end()
        pgconn.flush()
        while (left := deadline - time.monotonic()) > 0:
            length, _ = pgconn.get_copy_data(1)
            if length < 0:
                break
            if length == 0:
                if not self._wait(left):
                    return
                pgconn.consume_input()
        while time.monotonic() < deadline:  # until the command itself has ended
            if pgconn.is_busy():
                if not self._wait(deadline - time.monotonic()):
                    return
                pgconn.consume_input()
            elif pgconn.get_result() is None:
                return
