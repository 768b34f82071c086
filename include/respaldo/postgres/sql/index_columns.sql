-- Columns of indexes whose name is not that of the table's column: that was renamed since. Copies of
-- the index, as a partition gets them, are named after these.
SELECT n.nspname, c.relname, a.attnum :: int, a.attname
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indexrelid
  JOIN pg_catalog.pg_attribute t
    ON t.attrelid = i.indrelid AND t.attnum = i.indkey[a.attnum - 1] AND t.attnum > 0
 WHERE a.attname <> t.attname AND i.indexrelid >= 16384
   AND n.nspname <> 'respaldo' AND n.nspname !~ '^pg_(toast|temp)'
 ORDER BY 1, 2, 3
