-- Give every table a usable replica identity; returns what went wrong, or null. Raises only where
-- there is no room left on the stack to do so (statement_too_complex).
-- Looks at all tables, not at those a command names: partitions attached or detached, and keys
-- dropped by a cascade, are not named.
CREATE OR REPLACE FUNCTION respaldo.sweep() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lc_messages = 'C'
SET lock_timeout = '200ms'
SET respaldo.internal = ''
AS $function$
DECLARE
    lacking record;
    problem text;
    published boolean;
    role text := current_setting('session_replication_role');
BEGIN
    -- two blocks: what fails in one must not undo what another has done
    BEGIN
        FOR lacking IN SELECT relation, schema, name, was FROM respaldo.tables_without_identity LOOP
            BEGIN
                published := coalesce(
                    published, EXISTS (SELECT FROM pg_publication WHERE pubname = 'respaldo'));
                -- Until there is a publication no statement fails for want of identity. A lock on
                -- a table that this transaction did not touch could then only do harm (a deadlock):
                -- `prepare` is about to give it one in a transaction of its own.
                IF NOT published AND NOT EXISTS (
                    SELECT FROM pg_locks
                     WHERE pid = pg_backend_pid() AND granted AND locktype = 'relation'
                       AND mode = 'AccessExclusiveLock' AND relation = lacking.relation
                       AND database = (SELECT oid FROM pg_database
                                        WHERE datname = current_database()))
                THEN
                    CONTINUE;
                END IF;
                PERFORM set_config('respaldo.internal', secret, true),
                        -- the application's own event triggers must not notice
                        set_config('session_replication_role', 'replica', true)
                   FROM respaldo.installation;
                EXECUTE format(
                    'ALTER TABLE ONLY %I.%I REPLICA IDENTITY FULL', lacking.schema, lacking.name);
                PERFORM set_config('respaldo.internal', '', true),
                        set_config('session_replication_role', role, true);
                BEGIN
                    INSERT INTO respaldo.replica_identity AS r (relation, was)
                    VALUES (lacking.relation, lacking.was)
                        ON CONFLICT (relation) DO UPDATE SET was = excluded.was;
                EXCEPTION WHEN OTHERS THEN
                    problem := format(
                        'not remembered %I.%I: %s', lacking.schema, lacking.name, SQLERRM);
                END;
            EXCEPTION
                WHEN statement_too_complex THEN RAISE;
                WHEN OTHERS THEN
                    problem := format('%I.%I: %s', lacking.schema, lacking.name, SQLERRM);
            END;
        END LOOP;
    EXCEPTION
        WHEN statement_too_complex THEN RAISE;
        WHEN OTHERS THEN problem := SQLERRM;
    END;

    BEGIN
        -- what got a primary key returns to it: FULL costs more WAL, and was never the owner's wish
        FOR lacking IN
            SELECT c.oid AS relation, n.nspname AS schema, c.relname AS name
              FROM respaldo.replica_identity r
              JOIN pg_class c ON c.oid = r.relation AND c.relreplident = 'f'
              JOIN pg_namespace n ON n.oid = c.relnamespace
              JOIN pg_index i
                ON i.indrelid = c.oid AND i.indisprimary AND i.indisvalid AND i.indimmediate
             WHERE r.was = 'd'
        LOOP
            BEGIN
                PERFORM set_config('respaldo.internal', secret, true),
                        -- the application's own event triggers must not notice
                        set_config('session_replication_role', 'replica', true)
                   FROM respaldo.installation;
                EXECUTE format(
                    'ALTER TABLE ONLY %I.%I REPLICA IDENTITY DEFAULT', lacking.schema, lacking.name);
                PERFORM set_config('respaldo.internal', '', true),
                        set_config('session_replication_role', role, true);
            EXCEPTION WHEN OTHERS THEN
                problem := format('%I.%I: %s', lacking.schema, lacking.name, SQLERRM);
            END;
        END LOOP;
        DELETE FROM respaldo.replica_identity r
         WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = r.relation AND c.relreplident = 'f');
    EXCEPTION WHEN OTHERS THEN
        problem := coalesce(problem || '; ', '') || SQLERRM;
    END;
    RETURN problem;
END
$function$
