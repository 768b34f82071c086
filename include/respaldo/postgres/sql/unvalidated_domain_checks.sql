-- Checks of domains that values older than them need not fulfil (NOT VALID).
SELECT oid FROM pg_catalog.pg_constraint WHERE contype = 'c' AND contypid <> 0 AND NOT convalidated
