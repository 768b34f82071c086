"""Whether a database's schema is still what it was, seen from its system catalogs alone."""

from __future__ import annotations

from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query


def schema_fingerprint(conn: Session) -> str:
    """Return a digest of the whole schema; any change of the schema changes it, nothing else does.

    To be compared with one of the same database only: it knows objects by their oids, and
    expressions as the server keeps them. Settings and rights of the database itself are not in it.
    """
    row = conn.execute(query("schema_fingerprint")).fetchone()
    assert row is not None
    digest: str = row[0]
    return digest
