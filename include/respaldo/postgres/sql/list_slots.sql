SELECT slot_name AS name, database, plugin, active, active_pid,
       restart_lsn :: text AS restart_lsn,
       confirmed_flush_lsn :: text AS confirmed_flush_lsn,
       wal_status, safe_wal_size,
       CASE WHEN pg_is_in_recovery() OR restart_lsn IS NULL THEN NULL
            ELSE greatest(pg_current_wal_lsn() - restart_lsn, 0) :: bigint
       END AS retained_bytes
  FROM pg_replication_slots
 WHERE slot_type = 'logical'
