-- Remember something until this transaction ends, or this part of it is rolled back. Sealed: any
-- role may set a custom setting.
CREATE OR REPLACE FUNCTION respaldo.remember(name text, value text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM set_config(name, CASE WHEN value <> '' THEN
                encode(sha256(convert_to(i.secret || pg_current_xact_id() || name || value, 'UTF8')),
                       'hex') || value ELSE '' END, true)
       FROM respaldo.installation i;
END
$function$
