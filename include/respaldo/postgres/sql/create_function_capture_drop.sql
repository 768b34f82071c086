-- Event trigger, sql_drop: put the command in the log. Its sweep follows at ddl_command_end.
CREATE OR REPLACE FUNCTION respaldo.capture_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lc_messages = 'C'
AS $function$
DECLARE
    objects json;
    identity text;
BEGIN
    IF respaldo.is_internal() THEN
        RETURN;
    END IF;
    SELECT json_agg(json_build_object(
               'type', o.object_type, 'identity', o.object_identity, 'tag', TG_TAG,
               'schema', o.schema_name, 'in_extension', false) ORDER BY NOT o.original),
           min(o.object_identity) FILTER (WHERE o.original)
      INTO objects, identity
      FROM pg_event_trigger_dropped_objects() o
     -- the rest (row types, TOAST tables, defaults) belongs to these
     WHERE (o.original OR o.normal)
       AND NOT o.is_temporary
       AND coalesce(
               o.schema_name,
               CASE WHEN o.object_type IN
                   ('trigger', 'rule', 'policy', 'default value', 'table constraint', 'table column')
               THEN o.address_names[1] END,
               '') NOT IN ('pg_temp', 'pg_toast_temp');
    IF objects IS NOT NULL THEN
        PERFORM pg_logical_emit_message(true, 'respaldo.ddl', convert_to(json_build_object(
            'tag', TG_TAG, 'identity', identity, 'objects', objects,
            'command', left(current_query(), 1048576), 'captured', true) :: text, 'UTF8'));
        -- A message of a subtransaction (this block is one) and the row written next carry the same
        -- position, and are then decoded in any order: one more record keeps them apart.
        PERFORM pg_logical_emit_message(true, 'end of respaldo.ddl', '');
    END IF;
EXCEPTION WHEN OTHERS THEN
    -- a customer's statement never fails because of us, and our failure does not go unseen
    BEGIN
        PERFORM pg_logical_emit_message(true, 'respaldo.ddl', convert_to(json_build_object(
            'tag', TG_TAG, 'captured', false, 'error', SQLERRM) :: text, 'UTF8'));
        PERFORM pg_logical_emit_message(true, 'end of respaldo.ddl', '');
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
END
$function$
