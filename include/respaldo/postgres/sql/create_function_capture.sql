-- Event trigger, all three events: sweep, and put what happened in the log. Never raises.
-- The settings are those in which the stream writes values, and these functions read themselves.
CREATE OR REPLACE FUNCTION respaldo.capture() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lc_messages = 'C'
SET lock_timeout = '200ms'
SET plan_cache_mode = 'force_generic_plan'
SET jit = off
SET standard_conforming_strings = on
SET DateStyle = 'ISO, MDY'
SET IntervalStyle = 'postgres'
SET TimeZone = 'UTC'
SET extra_float_digits = 3
SET bytea_output = 'hex'
SET lc_monetary = 'C'
SET quote_all_identifiers = off
AS $function$
DECLARE
    context text;
    caller text;
    problem text;
    failure text;
    depth text;
BEGIN
    -- Where the command came just through, at the end of a recursion, this must come through, too. The
    -- server refuses what the system does not give. An assignment takes far less room than a query,
    -- which would also fail once the setting is back.
    BEGIN
        depth := current_setting('max_stack_depth');
        caller := set_config(
            'max_stack_depth', (pg_size_bytes(depth) / 1024 + 512) || 'kB', true);
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    -- the first line is this function's own
    GET DIAGNOSTICS context = PG_CONTEXT;
    context := substr(context, strpos(context || E'\n', E'\n') + 1);
    caller := current_setting('respaldo.caller', true);
    -- two blocks: what fails in the second must not undo what the first has done
    BEGIN
        IF respaldo.is_internal() THEN
            PERFORM set_config('respaldo.caller', '', true);
            IF depth IS NOT NULL THEN
                caller := set_config('max_stack_depth', depth, true);
            END IF;
            RETURN;
        END IF;
        -- whoever runs the next command, it is not this caller
        PERFORM set_config('respaldo.caller', '', true);
        IF TG_EVENT = 'ddl_command_end' AND TG_TAG NOT IN (
            'COMMENT', 'GRANT', 'REVOKE', 'SECURITY LABEL', 'REFRESH MATERIALIZED VIEW', 'REINDEX',
            'CREATE FUNCTION', 'CREATE PROCEDURE', 'CREATE AGGREGATE', 'CREATE OPERATOR',
            'CREATE CAST', 'CREATE INDEX', 'CREATE VIEW', 'CREATE MATERIALIZED VIEW',
            'CREATE SEQUENCE', 'ALTER SEQUENCE', 'CREATE TRIGGER', 'CREATE TYPE', 'CREATE DOMAIN',
            'CREATE RULE', 'CREATE POLICY', 'CREATE STATISTICS', 'ALTER DEFAULT PRIVILEGES',
            'ALTER FUNCTION')
        THEN  -- the others may leave a table without identity
            problem := respaldo.sweep();
        END IF;
    EXCEPTION
        -- A few kilobytes before the end: it fails as the next call of the recursion would. A table
        -- without identity would fail the application later on, and not only there.
        WHEN statement_too_complex THEN RAISE;
        WHEN OTHERS THEN failure := SQLERRM;
    END;
    BEGIN
        CASE TG_EVENT
            WHEN 'ddl_command_end' THEN
                PERFORM respaldo.record_command(TG_TAG, context, caller, problem);
            WHEN 'sql_drop' THEN PERFORM respaldo.record_drop(TG_TAG);
            WHEN 'table_rewrite' THEN PERFORM respaldo.record_rewrite();
        END CASE;
    EXCEPTION WHEN OTHERS THEN
        failure := SQLERRM;
    END;
    IF failure IS NOT NULL THEN
        -- a customer's statement never fails because of us, and our failure does not go unseen
        BEGIN
            PERFORM respaldo.emit('respaldo.ddl', json_build_object(
                'kind', 'failed', 'tag', TG_TAG, 'error', failure));
        EXCEPTION WHEN OTHERS THEN
            BEGIN  -- a message without seal says as much: what happened is not known
                PERFORM pg_logical_emit_message(true, 'respaldo.ddl', 'failed');
                PERFORM pg_logical_emit_message(true, 'end of respaldo.ddl', '');
            EXCEPTION
                WHEN statement_too_complex THEN RAISE;  -- no room to say anything
                WHEN OTHERS THEN NULL;
            END;
        END;
    END IF;
    IF depth IS NOT NULL THEN
        caller := set_config('max_stack_depth', depth, true);
    END IF;
END
$function$
