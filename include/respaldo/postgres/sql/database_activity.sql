-- Rows ever written, catalogs included (so DDL counts too). Not commits: our own looks would count.
SELECT datname AS name, tup_inserted + tup_updated + tup_deleted AS counter
  FROM pg_stat_database
 WHERE datname IS NOT NULL
