SELECT current_setting('wal_level') AS wal_level,
       (SELECT setting :: bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size')
           AS max_slot_wal_keep_size_mb,
       current_setting('max_replication_slots') :: int AS max_replication_slots,
       (SELECT count(*) FROM pg_replication_slots) AS replication_slots_used,
       current_setting('max_wal_senders') :: int AS max_wal_senders,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender') AS wal_senders_used,
       current_setting('server_encoding') AS encoding,
       current_setting('server_version') AS server_version,
       current_setting('server_version_num') :: int AS server_version_num,
       pg_is_in_recovery() AS is_in_recovery,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user)
           AS can_replicate,
       -- 15.19 and the releases of its day have it; not shown to everybody
       (SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries') AS output_plugins
