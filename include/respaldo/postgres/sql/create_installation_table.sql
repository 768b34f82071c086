-- One row. The secret marks our own commands (setting respaldo.internal), which are not captured:
-- any role may set a custom setting, so its value must be one that only a superuser can read.
CREATE TABLE IF NOT EXISTS respaldo.installation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    secret text NOT NULL DEFAULT gen_random_uuid() :: text,
    version text NOT NULL,
    -- digest of the functions as they were installed
    functions text,
    -- transactions older than this may have created tables that the event triggers did not see
    installed_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    installed_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
