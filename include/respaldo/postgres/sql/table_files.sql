-- The files that hold the tables' rows: TRUNCATE gives a table another one, at once and for every
-- snapshot, however old.
SELECT coalesce(array_agg(c.oid || ' ' || c.relfilenode), '{}')
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 AND n.nspname <> 'respaldo'
