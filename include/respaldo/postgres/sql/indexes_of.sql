-- The indexes of a table, with what they are but for their names: equal ones may have each other's.
SELECT n.nspname :: text, c.relname :: text, i.indkey :: text, k.oid IS NOT NULL
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
  JOIN pg_catalog.pg_namespace s ON s.oid = t.relnamespace
  LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
 WHERE s.nspname = %(schema)s AND t.relname = %(name)s
 ORDER BY c.oid
