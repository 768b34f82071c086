SELECT d.datname AS name,
       d.oid AS oid,
       coalesce(pg_database_size(d.oid), 0) AS size,
       coalesce(starts_with(s.description, 'respaldo:'), false)
           OR starts_with(d.datname :: text, 'respaldo_restoring_') AS is_restored_copy,
       d.datallowconn AS allow_connections,
       d.datistemplate AS is_template
  FROM pg_database d
  LEFT JOIN pg_shdescription s ON s.objoid = d.oid AND s.classoid = 'pg_database' :: regclass
 ORDER BY d.datname COLLATE "C"
