SELECT n.nspname AS schema, c.relname AS name,
       pg_sequence_last_value(c.oid :: regclass) AS last_value, s.seqincrement AS increment,
       c.oid :: bigint AS oid, c.relfilenode :: bigint AS file
  FROM pg_sequence s
  JOIN pg_class c ON c.oid = s.seqrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relpersistence <> 't' AND n.nspname <> 'respaldo'
 ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
