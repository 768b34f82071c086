-- The timeline in use, not the one of the last checkpoint (pg_control_checkpoint), which lags
-- behind after a promotion; a server in recovery has no log of its own to name.
SELECT (SELECT system_identifier FROM pg_control_system()) :: text AS system_identifier,
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)) :: bit(32) :: int
       END AS timeline,
       (SELECT oid FROM pg_database WHERE datname = current_database()) AS database_oid,
       current_setting('server_version') AS server_version,
       current_setting('server_version_num') :: int AS server_version_num
