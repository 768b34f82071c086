-- How far this database is prepared.
SELECT (SELECT pg_get_userbyid(nspowner) FROM pg_namespace
         WHERE nspname = 'respaldo') AS schema_owner,
       (SELECT rolsuper FROM pg_namespace JOIN pg_roles r ON r.oid = nspowner
         WHERE nspname = 'respaldo') AS schema_owner_is_superuser,
       to_regclass('respaldo.installation') IS NOT NULL
           AND to_regclass('respaldo.replica_identity') IS NOT NULL AS has_tables,
       (SELECT md5(string_agg(md5(convert_to(p.prosrc, 'UTF8')), '' ORDER BY p.proname COLLATE "C"))
          FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE n.nspname = 'respaldo' AND p.proname = ANY (%(functions)s)) AS functions_digest,
       -- whichever version is installed
       (SELECT count(*) FROM pg_event_trigger t
          JOIN pg_proc p ON p.oid = t.evtfoid
          JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE n.nspname = 'respaldo' AND t.evtenabled = 'A'
           AND (t.evtname, t.evtevent) IN (
               ('respaldo_ddl', 'ddl_command_end'), ('00_respaldo_ddl', 'ddl_command_end'),
               ('respaldo_drop', 'sql_drop'),
               ('respaldo_rewrite', 'table_rewrite'))) = 3 AS is_recording,
       (SELECT count(*) FROM pg_event_trigger t
          JOIN pg_proc p ON p.oid = t.evtfoid
          JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE n.nspname = 'respaldo' AND t.evtenabled = 'A' AND t.evttags IS NULL
           AND (t.evtname, t.evtevent, p.proname) IN (
               ('00_respaldo_caller', 'ddl_command_end', 'caller'),
               ('00_respaldo_ddl', 'ddl_command_end', 'capture'),
               ('respaldo_drop', 'sql_drop', 'capture'),
               ('respaldo_rewrite', 'table_rewrite', 'capture'))) = 4 AS has_triggers,
       EXISTS (SELECT FROM pg_publication
                WHERE pubname = 'respaldo' AND puballtables
                  AND pubinsert AND pubupdate AND pubdelete AND pubtruncate
                  AND NOT pubviaroot) AS has_publication,
       EXISTS (SELECT FROM pg_publication WHERE pubname = 'respaldo') AS has_some_publication
