SELECT format('process %s in %s (%s) since %s', pid, datname,
              coalesce(nullif(application_name, ''), usename), date_trunc('second', xact_start))
  FROM pg_stat_activity
 WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
 UNION ALL
SELECT format('prepared transaction %s in %s', gid, database) FROM pg_prepared_xacts
