-- sql_drop: put what was dropped in the log; the command that did it follows at ddl_command_end.
CREATE OR REPLACE FUNCTION respaldo.record_drop(tag text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    dropped json;
    matters boolean;
BEGIN
    SELECT json_agg(json_build_object(
               'type', o.object_type, 'names', o.address_names, 'args', o.address_args,
               'identity', o.object_identity, 'schema', o.schema_name,
               'original', o.original, 'temporary', o.temporary) ORDER BY NOT o.original),
           bool_or(NOT o.temporary)
      INTO dropped, matters
      FROM (SELECT d.*,
                   d.is_temporary
                   -- a trigger, rule, policy and so on has no schema of its own: its table's counts
                   OR coalesce(
                       d.schema_name,
                       CASE WHEN d.object_type IN (
                           'trigger', 'rule', 'policy', 'default value', 'table constraint',
                           'table column')
                       THEN d.address_names[1] END,
                       '') IN ('pg_temp', 'pg_toast_temp') AS temporary
              FROM pg_event_trigger_dropped_objects() d
             -- the rest (row types, TOAST tables, defaults) belongs to these
             WHERE d.original OR d.normal) o;
    IF matters THEN
        PERFORM respaldo.emit('respaldo.ddl', json_build_object(
            'kind', 'drop', 'tag', tag, 'objects', dropped));
        PERFORM set_config('respaldo.dropped', 'yes', true);
    END IF;
END
$function$
