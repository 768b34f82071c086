-- The fingerprint of an object's catalog entries: md5 of its definition, then of its rights.
-- Null: no such object; it begins with "!" where it says why there is none. Never raises.
CREATE OR REPLACE FUNCTION respaldo.fingerprint(catalog oid, object oid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    described text[];
BEGIN
    described := respaldo.describe(catalog, object);
    RETURN md5(convert_to(described[1], 'UTF8')) || md5(convert_to(described[2], 'UTF8'));
EXCEPTION WHEN OTHERS THEN
    RETURN '!' || SQLERRM;
END
$function$
