-- Event trigger, table_rewrite: say that a table's rows are written anew, and why (the reason is
-- PostgreSQL's bit mask: 1 persistence, 2 default value, 4 column type, 8 access method).
CREATE OR REPLACE FUNCTION respaldo.capture_rewrite() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lc_messages = 'C'
AS $function$
DECLARE
    identity text;
    schema text;
BEGIN
    IF respaldo.is_internal() THEN
        RETURN;
    END IF;
    SELECT format('%I.%I', n.nspname, c.relname), n.nspname
      INTO identity, schema
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = pg_event_trigger_table_rewrite_oid() AND c.relpersistence <> 't';
    IF FOUND THEN
        PERFORM pg_logical_emit_message(true, 'respaldo.ddl', convert_to(json_build_object(
            'tag', TG_TAG, 'identity', identity,
            'objects', json_build_array(json_build_object(
                'type', 'table', 'identity', identity, 'tag', TG_TAG,
                'schema', schema, 'in_extension', false)),
            'command', left(current_query(), 1048576), 'captured', true,
            'rewrite', pg_event_trigger_table_rewrite_reason()) :: text, 'UTF8'));
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
