-- Read from left to right: the position and the time come after the snapshot, so no transaction
-- that the snapshot sees has its commit record past that position, or a later commit time.
SELECT pg_export_snapshot(),
       pg_current_snapshot() :: text,
       pg_current_wal_insert_lsn() :: text,
       clock_timestamp()
