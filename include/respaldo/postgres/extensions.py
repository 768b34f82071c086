"""Extensions in the versions that they had: a dump names them, and says nothing of versions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from psycopg import sql

from include.respaldo.model.backup import Extension
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query


@dataclass(frozen=True)
class ExtensionVersions:
    """The extensions of a dump, to be created before it: it leaves alone what is there."""

    #: each comes after those that it needs
    extensions: tuple[Extension, ...] = ()
    #: some would be of another version if the dump made them
    differ: bool = False
    #: which versions cannot be had, in words
    notes: tuple[str, ...] = ()

    @classmethod
    def on(
        cls, conn: Session, at_source: Iterable[Extension], names: Iterable[str]
    ) -> ExtensionVersions:
        """Compare what the source had with what this server would make.

        :param names: those that the dump makes, in its order; the server has them all.
        """
        known = {e.name: e for e in at_source}
        wanted = [known[name] for name in names if name in known]
        rows = conn.execute(query("extension_versions"), {"names": [e.name for e in wanted]})
        here = {name: (default, versions) for name, default, versions in rows}
        found, notes, differ = [], [], False
        for extension in wanted:
            default, versions = here[extension.name]
            if extension.version in versions:
                found.append(extension)
                differ |= extension.version != default
            else:
                found.append(replace(extension, version=default))
                notes.append(
                    f"extension {extension.name} was version {extension.version}, which this "
                    f"server does not have: it is {default} here"
                )
        return cls(tuple(found), differ, tuple(notes))

    def create(self, conn: Session) -> None:
        """Create them, in schemas that are there."""
        for extension in self.extensions:
            conn.execute(
                sql.SQL("CREATE EXTENSION {} WITH SCHEMA {} VERSION {}").format(
                    sql.Identifier(extension.name),
                    sql.Identifier(extension.schema),
                    sql.Literal(extension.version),
                )
            )
