-- ddl_command_end: put the command in the log, with all that running it again takes.
CREATE OR REPLACE FUNCTION respaldo.record_command(
    tag text, context text, caller text, problem text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    -- bytes of a table up to which its rows, written anew, are put in the log
    small CONSTANT bigint := 8388608;
    -- bytes of a client's string up to which it is put in the log
    longest CONSTANT bigint := 8388608;
    -- in any case
    to_full CONSTANT text := ' [Rr][Ee][Pp][Ll][Ii][Cc][Aa] [Ii][Dd][Ee][Nn][Tt][Ii][Tt][Yy]'
                             ' [Ff][Uu][Ll][Ll]';
    query text := coalesce(current_query(), '');
    query_id text;
    stamp text;
    sent text := coalesce(current_setting('respaldo.sent', true), '');
    objects json;
    relations oid[];
    matters boolean;
    dropped boolean := coalesce(current_setting('respaldo.dropped', true), '') <> '';
    rewritten jsonb := respaldo.recall('respaldo.rewritten');
    rewrites json;
    refilled oid[];
    body jsonb;
    relation oid;
BEGIN
    SELECT json_agg(json_build_object(
               'type', a.type, 'names', a.object_names, 'args', a.object_args,
               'identity', c.object_identity, 'schema', c.schema_name, 'tag', c.command_tag,
               'in_extension', c.in_extension,
               'oid', c.objid :: bigint, 'catalog', c.classid :: regclass,
               'fingerprint', CASE WHEN f.fingerprint NOT LIKE '!%' THEN f.fingerprint END)
               ORDER BY c.ordinality) FILTER (WHERE a.type IS NOT NULL),
           array_agg(c.objid) FILTER (WHERE c.classid = 'pg_class' :: regclass),
           -- of GRANT and ALTER DEFAULT PRIVILEGES PostgreSQL does not tell the objects, and of
           -- DROP OWNED not even that it took rights away
           count(*) > 0 OR tag = 'DROP OWNED',
           nullif(concat_ws('; ', problem, string_agg(
               format('%s: %s', c.object_identity, substr(f.fingerprint, 2)), '; ')
               FILTER (WHERE f.fingerprint LIKE '!%')), '')
      INTO objects, relations, matters, problem
      FROM pg_event_trigger_ddl_commands() WITH ORDINALITY c
      LEFT JOIN LATERAL pg_identify_object_as_address(c.classid, c.objid, c.objsubid) a
             ON c.objid IS NOT NULL
      -- a transaction with one snapshot sees catalog entries that others have changed since as they
      -- were, and beside them its own that follow from the new ones
      LEFT JOIN LATERAL respaldo.fingerprint(c.classid, c.objid) f (fingerprint)
             ON a.type IS NOT NULL AND NOT c.in_extension
            AND current_setting('transaction_isolation') IN ('read committed', 'read uncommitted')
      -- a trigger, rule, policy and so on has no schema of its own: its table's counts
     WHERE coalesce(
               c.schema_name,
               CASE WHEN a.type IN (
                   'trigger', 'rule', 'policy', 'default value', 'table constraint')
               THEN a.object_names[1] END,
               '') NOT IN ('pg_temp', 'pg_toast_temp')
       -- these change no definition and no row
       AND c.command_tag IS DISTINCT FROM 'REINDEX' AND c.command_tag IS DISTINCT FROM 'CLUSTER';

    -- An identity that the application sets to FULL itself, where we had, changes nothing in the
    -- catalog; from then on it is its own.
    IF tag = 'ALTER TABLE' AND concat(query, context) ~* 'replica\s+identity\s+full' THEN
        DELETE FROM respaldo.replica_identity r
         USING pg_class c,
               LATERAL (SELECT regexp_replace(concat(' ', query, ' ', context), '\s+', ' ', 'g'),
                               regexp_replace(regexp_replace(
                                   replace(c.relname, '"', '""'), '\s+', ' ', 'g'),
                                   '\W', '\\\&', 'g')) AS written (text, name)
         WHERE c.oid = r.relation AND c.oid = ANY (relations)
           -- "Orders" is not "orders"; Orders is
           AND (written.text ~ concat('[ .]"', written.name, '"', to_full)
             OR lower(written.text) ~ concat('[ .]', written.name, lower(to_full))
                AND c.relname = lower(c.relname));
    END IF;

    -- A command that runs within another one, inside a rewrite, is not the one that rewrites: then
    -- a table still has its old file.
    IF rewritten IS NOT NULL AND NOT EXISTS (
        SELECT FROM jsonb_to_recordset(rewritten) AS r (relation oid, file oid)
          JOIN pg_class c ON c.oid = r.relation AND c.relfilenode = r.file)
    THEN
        PERFORM respaldo.remember('respaldo.rewritten', '');
        SELECT json_agg(json_build_object(
                   'schema', n.nspname, 'table', c.relname, 'reason', r.reason,
                   'rows', r.rows)),
               array_agg(c.oid) FILTER (WHERE r.rows = 'sent')
          INTO rewrites, refilled
          FROM (SELECT r.relation, bit_or(r.reason) AS reason,
                       CASE
                         -- what is not published has no rows in the log
                         WHEN c.relkind <> 'r' OR c.relpersistence <> 'p' THEN 'none'
                         -- an unlogged table's rows were never in the log
                         WHEN bit_or(r.reason) & 7 = 0 THEN 'none'
                         WHEN bit_or(r.reason) & 1 = 0 AND pg_relation_size(c.oid) = 0 THEN 'none'
                         WHEN pg_table_size(c.oid) <= small THEN 'sent'
                         ELSE 'not sent'
                       END AS rows
                  FROM jsonb_to_recordset(rewritten) AS r (relation oid, reason int)
                  JOIN pg_class c ON c.oid = r.relation
                 GROUP BY r.relation, c.oid, c.relkind, c.relpersistence) r
          JOIN pg_class c ON c.oid = r.relation
          JOIN pg_namespace n ON n.oid = c.relnamespace;
    END IF;
    IF NOT (matters OR dropped OR rewrites IS NOT NULL) THEN
        RETURN;
    END IF;
    IF coalesce(caller, '') = '' THEN
        RAISE 'who ran the command is not known: event trigger 00_respaldo_caller did not fire';
    END IF;
    IF rewrites IS NOT NULL THEN
        PERFORM respaldo.emit('respaldo.ddl', json_build_object(
            'kind', 'rewrite', 'tables', rewrites));
    END IF;

    -- a long string of many commands has its digest taken once
    stamp := extract(epoch FROM statement_timestamp()) || ' ' || octet_length(query) || ' ';
    IF starts_with(coalesce(current_setting('respaldo.query', true), ''), stamp) THEN
        query_id := substr(current_setting('respaldo.query', true), length(stamp) + 1);
    ELSE
        query_id := md5(convert_to(query, 'UTF8'));
        PERFORM set_config('respaldo.query', stamp || query_id, true);
    END IF;
    body := jsonb_build_object(
        'kind', 'command', 'tag', tag, 'query_id', query_id, 'context', context,
        'caller', caller :: json,
        'statement_at', to_char(statement_timestamp(), 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'));
    IF strpos(sent, query_id) = 0 THEN
        -- remembered as the log itself does: a rollback to a savepoint takes back both; and not
        -- for ever: a transaction of thousands of strings is not to carry them all along
        PERFORM set_config('respaldo.sent', right(sent || query_id, 32 * 16), true);
        body := body || jsonb_build_object(
            'query', CASE WHEN octet_length(query) <= longest THEN query END);
    END IF;
    IF objects IS NOT NULL THEN
        body := body || jsonb_build_object('objects', objects);
    END IF;
    IF problem IS NOT NULL THEN
        body := body || jsonb_build_object('problem', problem);
    END IF;
    IF starts_with(context, 'SQL function "') THEN
        -- the context does not show its text, but its number in the function's
        body := body || coalesce((
            SELECT jsonb_build_object('source', min(p.prosrc))
              FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
             WHERE l.lanname = 'sql'
               AND p.proname = (regexp_match(
                       context, '^SQL function "(.*?)" statement \d+(\n|$)'))[1]
            HAVING count(*) = 1 AND octet_length(min(p.prosrc)) <= longest), '{}');
    END IF;
    IF tag = 'ALTER TABLE' THEN
        body := body || coalesce(respaldo.missing_values(relations), '{}');
    ELSIF tag IN ('CREATE TABLE AS', 'SELECT INTO') THEN
        body := body || coalesce(respaldo.created_tables(relations), '{}');
    END IF;
    PERFORM respaldo.emit('respaldo.ddl', body :: json);
    PERFORM set_config('respaldo.dropped', '', true);
    FOREACH relation IN ARRAY coalesce(refilled, '{}') LOOP
        PERFORM respaldo.record_rows(relation);
    END LOOP;
END
$function$
