-- Whether a table holds values of a type, or of the row type of another table: in a column of its own,
-- or within others (arrays, ranges, domains, composite types). No row: there is no such table.
WITH RECURSIVE changed AS (
    SELECT coalesce((SELECT reltype FROM pg_class WHERE oid = to_regclass(%(type)s)),
                    to_regtype(%(type)s)) AS type
), held AS (
    SELECT a.atttypid AS type
      FROM pg_attribute a
     WHERE a.attrelid = (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                          WHERE n.nspname = %(schema)s AND c.relname = %(name)s)
       AND a.attnum > 0 AND NOT a.attisdropped
    UNION
    SELECT unnest(ARRAY(
               SELECT nullif(t.typelem, 0) UNION ALL SELECT nullif(t.typbasetype, 0) UNION ALL
               SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
               UNION ALL
               SELECT a.atttypid FROM pg_attribute a
                WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped))
      FROM held JOIN pg_type t ON t.oid = held.type
)
SELECT EXISTS (SELECT FROM held JOIN changed USING (type))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relname = %(name)s
