-- Tables whose replica identity we set to FULL, and what it was: d (default), n (nothing), i (index).
CREATE TABLE IF NOT EXISTS respaldo.replica_identity (
    relation oid PRIMARY KEY,
    was "char" NOT NULL
)
