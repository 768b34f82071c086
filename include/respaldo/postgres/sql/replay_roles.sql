-- Roles as a replayed command meets them: those of the list that are here, and who owns something.
SELECT r.rolname :: text AS name, r.rolsuper AS is_superuser,
       shobj_description(r.oid, 'pg_authid') IS NOT DISTINCT FROM %(mark)s AS stands_in,
       r.rolname = ANY (%(names)s :: text[]) AS is_named,
       has_database_privilege(r.oid, current_database(), 'CREATE') AS may_create
  FROM pg_roles r
 WHERE r.rolname = ANY (%(names)s :: text[])
    OR r.oid IN (SELECT d.refobjid
                   FROM pg_shdepend d
                  WHERE d.refclassid = 'pg_authid' :: regclass AND d.deptype = 'o'
                    AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()))
 ORDER BY r.rolname COLLATE "C"
