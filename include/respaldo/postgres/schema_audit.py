"""Whether a database's schema is still what it was, seen from its system catalogs alone."""

from __future__ import annotations

from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query


def schema_fingerprint(conn: Session) -> str:
    """Return a digest of the whole schema; any change of the schema changes it, nothing else does.

    To be compared with one of the same database only: it knows objects by their oids, and
    expressions as the server keeps them. Settings and rights of the database itself are not in it.
    """
    (digest,) = _digests(conn, whole=True)
    return digest


def schema_definitions(conn: Session) -> frozenset[str]:
    """Return digests of all that a definition is made of, rights and comments left out.

    To be compared with those of the same database only. What is made anew adds some, and leaves
    the others; whatever else is changed takes some away.
    """
    return frozenset(_digests(conn, whole=False))


def _digests(conn: Session, *, whole: bool) -> list[str]:
    row = conn.execute(query("schema_fingerprint"), {"whole": whole}).fetchone()
    assert row is not None
    digests: list[str] = row[0]
    return digests
