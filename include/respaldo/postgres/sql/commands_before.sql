-- Commands of this database that began before a moment, still run, and may be schema changes.
SELECT format('process %%s (%%s)', a.pid, coalesce(nullif(a.application_name, ''), a.usename))
  FROM pg_stat_activity a
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
   AND a.backend_type = 'client backend' AND a.state = 'active' AND a.query_start <= %(moment)s
   AND (a.backend_xid IS NOT NULL
        OR EXISTS (SELECT FROM pg_locks l
                    WHERE l.pid = a.pid AND l.locktype = 'relation'
                      AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')))
