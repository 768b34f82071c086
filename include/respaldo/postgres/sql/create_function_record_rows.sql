-- Put all rows of a table in the log, in messages of about 1 MB, as pgoutput would describe the
-- table and write its values (concat takes each value through its type's output function).
CREATE OR REPLACE FUNCTION respaldo.record_rows(wanted oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    relation json;
    command text;
    line text;
    chunk text[] := '{}';
    size bigint := 0;
    first boolean := true;
BEGIN
    SELECT json_build_object(
               'oid', c.oid :: bigint, 'schema', n.nspname, 'name', c.relname,
               'replica_identity', c.relreplident,
               'columns', coalesce(json_agg(json_build_array(
                   a.attname, a.atttypid :: bigint, a.atttypmod,
                   CASE c.relreplident
                     WHEN 'f' THEN true
                     WHEN 'n' THEN false
                     ELSE EXISTS (
                         SELECT FROM pg_index i
                          WHERE i.indrelid = c.oid AND a.attnum = ANY (i.indkey)
                            AND CASE c.relreplident WHEN 'd' THEN i.indisprimary
                                                             ELSE i.indisreplident END)
                   END) ORDER BY a.attnum) FILTER (WHERE a.attnum > 0), '[]')),
           format('SELECT to_json(ARRAY[%s] :: text[]) FROM ONLY %I.%I AS t',
                  string_agg(format('CASE num_nulls(t.%1$I) WHEN 0 THEN concat(t.%1$I) END',
                                    a.attname), ', ' ORDER BY a.attnum),
                  n.nspname, c.relname)
      INTO relation, command
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
                              AND NOT a.attisdropped AND a.attgenerated = ''
     WHERE c.oid = wanted
     GROUP BY c.oid, n.nspname, c.relname, c.relreplident;
    FOR line IN EXECUTE command LOOP
        chunk := chunk || line;
        size := size + octet_length(line);
        IF size > 1048576 THEN
            PERFORM respaldo.emit('respaldo.rows', json_build_object(
                'relation', relation, 'first', first,
                'rows', ('[' || array_to_string(chunk, ',') || ']') :: json));
            chunk := '{}';
            size := 0;
            first := false;
        END IF;
    END LOOP;
    IF first OR size > 0 THEN
        PERFORM respaldo.emit('respaldo.rows', json_build_object(
            'relation', relation, 'first', first,
            'rows', ('[' || array_to_string(chunk, ',') || ']') :: json));
    END IF;
END
$function$
