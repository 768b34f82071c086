-- Whether the command that runs now is one of ours.
CREATE OR REPLACE FUNCTION respaldo.is_internal() RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    -- most commands are not ours, and must not pay for a look at the table
    IF coalesce(current_setting('respaldo.internal', true), '') = '' THEN
        RETURN false;
    END IF;
    RETURN EXISTS (SELECT FROM respaldo.installation
                    WHERE secret = current_setting('respaldo.internal', true));
EXCEPTION WHEN OTHERS THEN
    RETURN false;
END
$function$
