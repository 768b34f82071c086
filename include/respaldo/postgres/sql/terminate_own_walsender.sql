SELECT pg_terminate_backend(pid)
  FROM pg_stat_activity
 WHERE pid = %(pid)s AND backend_type = 'walsender' AND starts_with(application_name, 'respaldo')
