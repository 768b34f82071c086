-- Run one captured statement as the function's owner. Lives in the session's own temporary schema.
CREATE FUNCTION pg_temp.respaldo_run(statement pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER
AS $function$
BEGIN
    EXECUTE statement;
    -- what a trigger has put off to the commit runs here, as the owner too
    SET CONSTRAINTS ALL IMMEDIATE;
    -- and a cursor WITH HOLD would run at the commit
    EXECUTE 'CLOSE ALL';
END
$function$
