-- Transactions of this database that may have created tables before the event triggers were there.
SELECT format('process %s (%s)', a.pid, coalesce(nullif(a.application_name, ''), a.usename))
  FROM pg_stat_activity a, respaldo.installation i
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
   AND a.backend_xid IS NOT NULL
   AND (age(a.backend_xid) > age(i.installed_xid :: xid)
        OR (a.state = 'active' AND a.query_start <= i.installed_at))
 UNION ALL
SELECT format('prepared transaction %s', p.gid)
  FROM pg_prepared_xacts p, respaldo.installation i
 WHERE p.database = current_database() AND age(p.transaction) > age(i.installed_xid :: xid)
