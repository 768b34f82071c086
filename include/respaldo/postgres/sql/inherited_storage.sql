-- Columns stored or compressed otherwise than those that they are inherited from, at any height: a
-- dump makes them as those, where a column of its own would need no word.
WITH RECURSIVE above (relation, parent) AS (
    SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits
    UNION
    SELECT above.relation, i.inhparent
      FROM above JOIN pg_catalog.pg_inherits i ON i.inhrelid = above.parent
)
SELECT n.nspname, c.relname, a.attname, a.attstorage :: text, a.attcompression :: text
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE a.attinhcount > 0 AND NOT a.attisdropped AND c.oid >= 16384
   AND n.nspname <> 'respaldo' AND n.nspname !~ '^pg_(toast|temp)'
   AND EXISTS (
       SELECT
         FROM above
         JOIN pg_catalog.pg_attribute p ON p.attrelid = above.parent
        WHERE above.relation = c.oid AND p.attname = a.attname
          AND (p.attstorage, p.attcompression) IS DISTINCT FROM (a.attstorage, a.attcompression))
 ORDER BY 1, 2, 3
