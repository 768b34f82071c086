-- Tables whose replica identity we set to FULL, and what it was.
SELECT n.nspname AS schema, c.relname AS name, r.was AS was, c.oid AS relation
  FROM respaldo.replica_identity r
  JOIN pg_catalog.pg_class c ON c.oid = r.relation AND c.relreplident = 'f'
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 ORDER BY 1, 2
