-- What was remembered in this transaction; null: nothing, or it is not ours.
CREATE OR REPLACE FUNCTION respaldo.recall(name text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    sealed text := coalesce(current_setting(name, true), '');
BEGIN
    IF sealed = '' THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT substr(sealed, 65) FROM respaldo.installation i
         WHERE left(sealed, 64) = encode(sha256(convert_to(
                   i.secret || pg_current_xact_id() || name || substr(sealed, 65), 'UTF8')), 'hex'));
END
$function$
