-- What this transaction has added as NOT VALID is valid from now on, whatever the rows say.
UPDATE pg_catalog.pg_constraint SET convalidated = true
 WHERE contype = 'f' AND NOT convalidated AND xmin = pg_current_xact_id() :: xid
