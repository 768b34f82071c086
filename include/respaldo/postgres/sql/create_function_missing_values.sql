-- The values that rows have in columns that were added after them, in these tables and all that
-- inherit from them. The value lies in an array of one: its text is taken apart by hand, as there is
-- no array of every type (nor one delimiter) to do so.
CREATE OR REPLACE FUNCTION respaldo.missing_values(relations oid[]) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH RECURSIVE touched (oid) AS (
        SELECT unnest(relations)
        UNION
        SELECT i.inhrelid FROM touched t JOIN pg_inherits i ON i.inhparent = t.oid
    )
    SELECT jsonb_build_object('missing', jsonb_agg(jsonb_build_object(
               'schema', n.nspname, 'table', c.relname, 'column', a.attname,
               'value', CASE WHEN a.value LIKE '{"%'
                             THEN regexp_replace(
                                 substr(a.value, 3, length(a.value) - 4), '\\(.)', '\1', 'g')
                             ELSE substr(a.value, 2, length(a.value) - 2) END)))
      FROM (SELECT attrelid, attname, attmissingval :: text AS value
              FROM touched t JOIN pg_attribute ON attrelid = t.oid
             WHERE atthasmissing AND NOT attisdropped) a
      JOIN pg_class c ON c.oid = a.attrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
    HAVING count(*) > 0
$function$
