"""Loading a dump into a new, empty database."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import psycopg
from psycopg.conninfo import make_conninfo

from include.respaldo.connections import Connection
from include.respaldo.errors import RestoreRefused, ToolFailed
from include.respaldo.model.backup import Extension
from include.respaldo.ports import Progress
from include.respaldo.postgres.connect import Session, connect
from include.respaldo.postgres.contents import (
    Contents,
    as_use_list,
    encoding_of,
    roles_named,
    statement_of,
    views_named,
)
from include.respaldo.postgres.dump import read_chunks
from include.respaldo.postgres.extensions import ExtensionVersions
from include.respaldo.postgres.programs import Program, Run, environment, installed, tool
from include.respaldo.postgres.queries import query
from include.respaldo.postgres.standins import missing_roles, standing_in

#: loaded one after the other: left to itself, a parallel pg_restore creates the triggers of a
#: partitioned table before its partitions' rows are there, and they fire for each of them
_SECTIONS = ("pre-data", "data", "post-data")
_POST_DATA = _SECTIONS[-1:]
#: what foreign keys fail with that are to be added one by one
_ONE_BY_ONE = re.compile(
    r"violates foreign key constraint|constraint .* for relation .* already exists"
)


@dataclass(frozen=True)
class Loaded:
    """What a load left to be told and to be done."""

    #: what differs from the original, in words
    notes: tuple[str, ...]
    #: (schema, name) of the materialized views that held data, and are still to be computed
    views: tuple[tuple[str, str], ...]


def load_dump(
    connection: Connection,
    database: str,
    dump_file: Path,
    scratch: Path,
    jobs: int = 1,
    progress: Progress | None = None,
    *,
    extensions: Iterable[Extension] = (),
    keep_standins: bool = False,
) -> Loaded:
    """Load a compressed dump into an empty database, without Respaldo's own objects.

    Everything else comes as it was, but: tablespaces are the database's own, subscriptions stay
    out (they would begin to receive), owners and privileges of roles that this server does not
    have are the loading role's, or none, and materialized views are left empty.

    :param dump_file: as `dump_database` wrote it; its digest has been checked.
    :param extensions: as they were at the source: a dump does not tell their versions.
    :param jobs: more than one loads tables at the same time, and unpacks the dump into `scratch`.
    :param keep_standins: leave the stand-ins of missing roles for a replay, which removes them.
    :raises RestoreRefused: the server lacks an extension.
    :raises ToolFailed: pg_restore ended with an error.
    """
    with connect(connection, database) as conn:
        program, contents = _read_contents(dump_file, conn.info.server_version // 10_000)
        _require_extensions(conn, contents)
        script = _output(program, ["--schema-only", "--file=-"], dump_file)
        missing = missing_roles(conn, roles_named(script))
        arguments = [
            "--no-subscriptions",
            "--no-tablespaces",
            "--no-password",
            "--verbose",
            # pg_restore wants the name as an argument, where one with an equals sign would be read
            # as a connection string: so it gets one; where and who come through the environment
            f"--dbname={make_conninfo('', dbname=database)}",
        ]
        env = environment(connection, database)
        # the commits that follow are waited for, and with them all before
        env["PGOPTIONS"] = "-c synchronous_commit=off"
        forgives = _unknown_settings(program, conn.info.server_version // 10_000)
        if forgives is None:
            arguments.append("--exit-on-error")
        loading = _Loading(
            program=program,
            arguments=tuple(arguments),
            environment=env,
            dump_file=dump_file,
            scratch=scratch,
            watch=_TableWatch(contents.tables, progress),
            forgives=forgives,
        )
        versions = ExtensionVersions.on(conn, extensions, contents.extensions)
        with standing_in(conn, missing, keep=keep_standins):
            left = contents
            if versions.differ:
                schemas, left = contents.apart("SCHEMA")
                loading.in_order(schemas)
                versions.create(conn)
            broken = loading.everything(conn, left, jobs)
        views = _filled_views(conn, program, contents, dump_file, scratch)
    roles = (
        f"role {role!r} is not on this server: what it owned belongs to the restoring role, "
        "its privileges and the policies for it alone are left out"
        for role in missing
    )
    return Loaded((*roles, *versions.notes, *broken), views)


class _TableWatch:
    """Reports each table that is loaded, from what pg_restore says."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def __call__(self, line: str) -> None:
        if self._progress and "processing data for table" in line:
            self._done += 1
            self._progress.advance(self._done, self._total, "tables")


@dataclass(frozen=True)
class _Loading:
    """Runs of pg_restore that load parts of one dump."""

    program: Program
    arguments: tuple[str, ...]
    environment: dict[str, str]
    dump_file: Path
    scratch: Path
    watch: _TableWatch
    #: errors that count as none
    forgives: re.Pattern[str] | None

    def everything(self, conn: Session, contents: Contents, jobs: int) -> list[str]:
        """Load it all; return what is not as it should be, and was not at the source, in words."""
        before, foreign_keys, after = contents.around_foreign_keys()
        notes = []
        with self._archive(jobs) as archive:
            self._load(before, archive, jobs)
            if foreign_keys.entries:
                try:
                    self._load(foreign_keys, archive, jobs, _POST_DATA)
                except ToolFailed as error:
                    if _ONE_BY_ONE.search(error.message) is None:
                        raise
                    notes = self._foreign_keys_one_by_one(conn, foreign_keys)
            if after.entries:
                self._load(after, archive, jobs, _POST_DATA)
        return notes

    def _foreign_keys_one_by_one(self, conn: Session, contents: Contents) -> list[str]:
        """Add those that are not there yet, unchecked where rows violate them.

        An application can have switched triggers off (DISABLE TRIGGER, session_replication_role):
        its rows are restored as they are, and the constraint as valid as the source took it to be.
        A name may be taken by a key that PostgreSQL has added by itself, for a partition.
        """
        notes = []
        for entry in contents.entries:
            with self._use_list(Contents((entry,))) as only:
                script = _output(self.program, [only, "--file=-"], self.dump_file)
            statement = statement_of(script).encode(errors="surrogateescape")
            with conn.transaction():
                # a name can have any byte of the dump's encoding
                conn.execute(
                    "SELECT set_config('client_encoding', %s, true)", [encoding_of(script)]
                )
                try:
                    _add_foreign_key(conn, statement)
                except psycopg.errors.ForeignKeyViolation as error:
                    conn.execute(statement + b" NOT VALID")
                    conn.execute(query("take_for_valid"))
                    name = f"{error.diag.constraint_name} of {error.diag.table_name}"
                    notes.append(f"rows violate the foreign key {name}, as they did at the source")
        return notes

    def in_order(self, contents: Contents) -> None:
        """Load one entry after the other."""
        with self._run(contents, reads=True) as run:
            run.feed(read_chunks(self.dump_file))
            run.finish()

    @contextmanager
    def _archive(self, jobs: int) -> Iterator[Path | None]:
        """Yield an unpacked copy of the dump, from which several can load; None: one does."""
        if jobs == 1:
            yield None
            return
        unpacked = self.scratch / "dump.pgc"
        try:
            with unpacked.open("xb") as out:
                for chunk in read_chunks(self.dump_file):
                    out.write(chunk)
            yield unpacked
        finally:
            unpacked.unlink(missing_ok=True)

    def _load(
        self,
        contents: Contents,
        archive: Path | None,
        jobs: int,
        sections: tuple[str, ...] = _SECTIONS,
    ) -> None:
        if archive is None:
            self.in_order(contents)
            return
        for section in sections:
            more = (f"--section={section}", f"--jobs={jobs}", str(archive))
            with self._run(contents, *more) as run:
                run.finish()

    @contextmanager
    def _run(self, contents: Contents, *more: str, reads: bool = False) -> Iterator[Run]:
        with (
            self._use_list(contents) as only,
            Run(
                self.program,
                [*self.arguments, only, *more],
                self.environment,
                reads=reads,
                writes=False,
                on_line=self.watch,
                forgives=self.forgives,
            ) as run,
        ):
            yield run

    @contextmanager
    def _use_list(self, contents: Contents) -> Iterator[str]:
        """Yield pg_restore's argument that takes these alone."""
        path = self.scratch / "contents.list"
        # names are in the encoding of the dump
        path.write_text(contents.use_list, errors="surrogateescape")
        try:
            yield f"--use-list={path}"
        finally:
            path.unlink()


def _add_foreign_key(conn: Session, statement: bytes) -> None:
    """Add it, if it is not there yet, and take its name back from one that is a partition's."""
    for _ in range(2):
        with suppress(psycopg.errors.DuplicateObject), conn.transaction():
            conn.execute(statement)
            return
        if not conn.execute(query("yield_constraint_name"), {"statement": statement}).rowcount:
            return


def _unknown_settings(program: Program, server_major: int) -> re.Pattern[str] | None:
    """Return the error that setting what only newer servers know gives; None: it sets no such.

    From 17 on pg_restore lifts a time limit (transaction_timeout) that older servers do not have.
    """
    if program.major < 17 or server_major >= 17:
        return None
    return re.compile(r": could not execute query: .*\btransaction_timeout\b")


def _read_contents(dump_file: Path, server_major: int) -> tuple[Program, Contents]:
    """Return the table of contents, and the pg_restore that understands it.

    The server's own version is tried first: a newer one may set what the server does not know. A
    dump that a newer pg_dump wrote needs that one's pg_restore.
    """
    oldest = tool("pg_restore", at_least=server_major)
    for program in installed("pg_restore"):
        if program.major < oldest.major:
            continue
        try:
            return program, Contents.parse(_output(program, ["--list"], dump_file))
        except ToolFailed as e:
            if "unsupported version" not in e.message:
                raise
    raise ToolFailed(
        f"{dump_file.name} was written by a newer pg_dump than the newest pg_restore here",
        hint="install the newer postgresql-client",
    )


def _output(program: Program, arguments: list[str], dump_file: Path) -> str:
    """Return what pg_restore prints of a dump; it stops reading once it knows enough."""
    with Run(program, arguments, environment(), reads=True) as run:
        feeder = Thread(target=run.feed, args=(_until_damaged(dump_file),), daemon=True)
        feeder.start()
        text = run.stdout.read().decode(errors="surrogateescape")
        run.finish()
        feeder.join()
    return text


def _until_damaged(dump_file: Path) -> Iterator[bytes]:
    """Yield the bytes up to where they are damaged: the program then says what is missing."""
    import zstandard

    try:
        yield from read_chunks(dump_file)
    except zstandard.ZstdError:
        return


def _filled_views(
    conn: Session, program: Program, contents: Contents, dump_file: Path, scratch: Path
) -> tuple[tuple[str, str], ...]:
    """Return the materialized views that held data when the database was dumped."""
    if not contents.filled_views:
        return ()
    use_list = scratch / "views.list"
    use_list.write_text(as_use_list(contents.filled_views), errors="surrogateescape")
    try:
        script = _output(program, [f"--use-list={use_list}", "--file=-"], dump_file)
    finally:
        use_list.unlink()
    names = [name.encode(errors="surrogateescape") for name in views_named(script)]
    parameters = {"names": names, "encoding": encoding_of(script)}
    return tuple(conn.execute(query("views_by_name"), parameters).fetchall())


def _require_extensions(conn: Session, contents: Contents) -> None:
    wanted = {"names": list(contents.extensions)}
    missing = [row[0] for row in conn.execute(query("missing_extensions"), wanted)]
    if missing:
        raise RestoreRefused(
            f"the server lacks extensions that the database uses: {', '.join(missing)}",
            hint="install their packages on the server, or restore to another one",
        )
