-- Stand-ins, with what there is of them: here, and on the server as a whole.
SELECT r.rolname :: text AS name,
       EXISTS (SELECT FROM pg_shdepend d
                WHERE d.refclassid = 'pg_authid' :: regclass AND d.refobjid = r.oid
                  AND d.dbid IN (0, (SELECT oid FROM pg_database
                                      WHERE datname = current_database()))) AS is_used_here,
       ARRAY(SELECT b.datname :: text FROM pg_database b
              WHERE b.datdba = r.oid AND b.datname <> current_database()
              ORDER BY 1) AS databases
  FROM pg_roles r
 WHERE shobj_description(r.oid, 'pg_authid') = %(mark)s
   AND (%(names)s :: text[] IS NULL OR r.rolname = ANY (%(names)s :: text[]))
 ORDER BY r.rolname COLLATE "C"
