-- Event trigger, ddl_command_end: sweep, and put the command in the log.
-- As bytes in UTF-8, whatever the database's encoding: the output plugin does not convert messages.
CREATE OR REPLACE FUNCTION respaldo.capture_ddl() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lc_messages = 'C'
AS $function$
DECLARE
    objects json;
    identity text;
    problem text;
BEGIN
    -- two blocks: what fails in the second must not undo what the first has done
    BEGIN
        IF respaldo.is_internal() THEN
            RETURN;
        END IF;
        IF TG_TAG NOT IN (
            'COMMENT', 'GRANT', 'REVOKE', 'SECURITY LABEL', 'REFRESH MATERIALIZED VIEW', 'REINDEX',
            'CREATE FUNCTION', 'CREATE PROCEDURE', 'CREATE AGGREGATE', 'CREATE OPERATOR',
            'CREATE CAST', 'CREATE INDEX', 'CREATE VIEW', 'CREATE MATERIALIZED VIEW',
            'CREATE SEQUENCE', 'ALTER SEQUENCE', 'CREATE TRIGGER', 'CREATE TYPE', 'CREATE DOMAIN',
            'CREATE RULE', 'CREATE POLICY', 'CREATE STATISTICS', 'ALTER DEFAULT PRIVILEGES',
            'ALTER FUNCTION')
        THEN  -- the others may leave a table without identity
            problem := respaldo.sweep();
        END IF;
    EXCEPTION WHEN OTHERS THEN
        problem := SQLERRM;
    END;

    SELECT json_agg(json_build_object(
               'type', c.object_type, 'identity', c.object_identity, 'tag', c.command_tag,
               'schema', c.schema_name, 'in_extension', c.in_extension)),
           min(c.object_identity)
      INTO objects, identity
      FROM pg_event_trigger_ddl_commands() c
      -- a trigger, rule, policy and so on has no schema of its own: its table's counts
      LEFT JOIN LATERAL pg_identify_object_as_address(c.classid, c.objid, c.objsubid) a
             ON c.schema_name IS NULL AND c.objid IS NOT NULL
            AND c.object_type IN ('trigger', 'rule', 'policy', 'default value', 'table constraint')
     WHERE coalesce(c.schema_name, a.object_names[1], '') NOT IN ('pg_temp', 'pg_toast_temp')
       -- these change no definition and no row
       AND c.command_tag NOT IN ('REFRESH MATERIALIZED VIEW', 'REINDEX', 'CLUSTER');
    IF objects IS NOT NULL THEN
        PERFORM pg_logical_emit_message(true, 'respaldo.ddl', convert_to(json_build_object(
            'tag', TG_TAG, 'identity', identity, 'objects', objects,
            'command', left(current_query(), 1048576), 'captured', true,
            'sweep_error', problem) :: text, 'UTF8'));
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
