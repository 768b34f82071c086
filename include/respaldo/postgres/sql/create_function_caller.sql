-- Event trigger, ddl_command_end, before 00_respaldo_ddl (by name): remember who ran the command, under
-- which settings, and what it saw. As the caller, and without settings of its own: those would hide
-- his. So his search_path counts: every name is qualified, types and operators too. STABLE, and
-- without a query: then the snapshot is the one that was taken when the command began.
CREATE OR REPLACE FUNCTION respaldo.caller() RETURNS event_trigger
LANGUAGE plpgsql STABLE
AS $function$
DECLARE
    snapshot pg_catalog.pg_snapshot;
    caller pg_catalog.text;
BEGIN
    BEGIN
        -- that of a transaction with one for all may be far older than the command
        IF pg_catalog.current_setting('transaction_isolation')
            OPERATOR(pg_catalog.=) ANY (ARRAY['read committed', 'read uncommitted'])
        THEN
            snapshot := pg_catalog.pg_current_snapshot();
        END IF;
    EXCEPTION WHEN OTHERS THEN
        NULL;  -- there is none at the end of some commands that run in transactions of their own
    END;
    caller := pg_catalog.set_config('respaldo.caller', pg_catalog.json_build_object(
        'role', current_user,
        'session', session_user,
        'snapshot', snapshot,
        'settings', pg_catalog.json_strip_nulls(pg_catalog.json_build_object(
            'search_path', pg_catalog.current_setting('search_path'),
            'DateStyle', pg_catalog.current_setting('DateStyle'),
            'IntervalStyle', pg_catalog.current_setting('IntervalStyle'),
            'TimeZone', pg_catalog.current_setting('TimeZone'),
            'standard_conforming_strings',
                pg_catalog.current_setting('standard_conforming_strings', true),
            'backslash_quote', pg_catalog.current_setting('backslash_quote', true),
            'transform_null_equals', pg_catalog.current_setting('transform_null_equals', true),
            'array_nulls', pg_catalog.current_setting('array_nulls', true),
            'xmloption', pg_catalog.current_setting('xmloption', true),
            'check_function_bodies', pg_catalog.current_setting('check_function_bodies', true),
            'default_tablespace', pg_catalog.current_setting('default_tablespace', true),
            'default_table_access_method',
                pg_catalog.current_setting('default_table_access_method', true),
            'default_toast_compression',
                pg_catalog.current_setting('default_toast_compression', true),
            'default_text_search_config',
                pg_catalog.current_setting('default_text_search_config', true),
            'lc_monetary', pg_catalog.current_setting('lc_monetary', true),
            'lc_numeric', pg_catalog.current_setting('lc_numeric', true),
            'lc_time', pg_catalog.current_setting('lc_time', true),
            'extra_float_digits', pg_catalog.current_setting('extra_float_digits', true),
            'quote_all_identifiers', pg_catalog.current_setting('quote_all_identifiers', true),
            'row_security', pg_catalog.current_setting('row_security', true),
            'session_replication_role',
                pg_catalog.current_setting('session_replication_role', true),
            'createrole_self_grant', pg_catalog.current_setting('createrole_self_grant', true)))
        ) OPERATOR(pg_catalog.||) ''::pg_catalog.text, true);
EXCEPTION WHEN OTHERS THEN
    -- a customer's statement never fails because of us; without a caller 00_respaldo_ddl says so
    NULL;
END
$function$
