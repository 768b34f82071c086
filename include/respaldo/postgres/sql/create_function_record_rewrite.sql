-- table_rewrite: remember which table is about to be written anew, and why (PostgreSQL's bit mask:
-- 1 persistence, 2 default value, 4 column type, 8 access method); its file says when that is done.
CREATE OR REPLACE FUNCTION respaldo.record_rewrite() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    remembered text := coalesce(respaldo.recall('respaldo.rewritten'), '[]');
BEGIN
    PERFORM respaldo.remember('respaldo.rewritten', (remembered :: jsonb || jsonb_build_object(
                'relation', c.oid, 'reason', pg_event_trigger_table_rewrite_reason(),
                'file', c.relfilenode)) :: text)
       FROM pg_class c
      WHERE c.oid = pg_event_trigger_table_rewrite_oid() AND c.relpersistence <> 't';
END
$function$
