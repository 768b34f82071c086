-- Materialized views, each with those that it is made of, directly or through plain views.
WITH RECURSIVE uses (view, used) AS (
    SELECT r.ev_class, d.refobjid
      FROM pg_rewrite r
      JOIN pg_depend d ON d.classid = 'pg_rewrite' :: regclass AND d.objid = r.oid
       AND d.refclassid = 'pg_class' :: regclass AND d.refobjid <> r.ev_class
), reaches (view, used) AS (
    SELECT u.view, u.used FROM uses u JOIN pg_class v ON v.oid = u.view AND v.relkind = 'm'
     UNION
    SELECT r.view, u.used
      FROM reaches r
      JOIN pg_class p ON p.oid = r.used AND p.relkind = 'v'
      JOIN uses u ON u.view = r.used
)
SELECT c.oid :: bigint AS oid, n.nspname :: text AS schema, c.relname :: text AS name,
       c.relispopulated AS is_populated,
       o.rolsuper AS owner_is_superuser,
       ARRAY(SELECT r.used :: bigint
               FROM reaches r JOIN pg_class m ON m.oid = r.used AND m.relkind = 'm'
              WHERE r.view = c.oid) AS uses
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_roles o ON o.oid = c.relowner
 WHERE c.relkind = 'm'
 ORDER BY c.oid
