-- What it takes to make tables, made from a query, again without their rows.
CREATE OR REPLACE FUNCTION respaldo.created_tables(relations oid[]) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT jsonb_build_object('created', jsonb_agg(jsonb_build_object(
               'schema', n.nspname, 'table', c.relname, 'oid', c.oid :: bigint,
               'persistence', c.relpersistence, 'access_method', m.amname,
               'tablespace', (SELECT spcname FROM pg_tablespace s WHERE s.oid = c.reltablespace),
               'options', coalesce(c.reloptions, '{}') || coalesce((
                   SELECT array_agg('toast.' || o)
                     FROM pg_class t, unnest(t.reloptions) o WHERE t.oid = c.reltoastrelid), '{}'),
               'columns', (
                   SELECT jsonb_agg(jsonb_build_array(
                              a.attname, format_type(a.atttypid, a.atttypmod),
                              (SELECT format('%I.%I', o.nspname, l.collname)
                                 FROM pg_collation l JOIN pg_namespace o ON o.oid = l.collnamespace
                                WHERE l.oid = a.attcollation AND a.attcollation <> t.typcollation))
                              ORDER BY a.attnum)
                     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                    WHERE a.attrelid = c.oid AND a.attnum > 0))))
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_am m ON m.oid = c.relam
     WHERE c.oid = ANY (relations) AND c.relkind = 'r'
    HAVING count(*) > 0
$function$
