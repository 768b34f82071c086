-- Indexes and sequences of the database, the oldest first, by the kind that a command's objects have.
SELECT c.oid :: bigint, CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'index' END,
       n.nspname :: text, c.relname :: text
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('S', 'i', 'I') AND c.oid >= 16384
 ORDER BY c.oid
