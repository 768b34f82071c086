-- Statements that give an object the rights of one made without any default privileges.
WITH address AS (
    SELECT a.classid, a.objid, (pg_identify_object(a.classid, a.objid, 0)).identity
      FROM pg_get_object_address(%(type)s, %(names)s :: text[], %(args)s :: text[]) a
     WHERE a.objsubid = 0
), object (kind, identity, owner, acl, usual) AS (
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, a.identity, c.relowner,
           c.relacl,
           acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END :: "char", c.relowner)
      FROM address a JOIN pg_class c ON a.classid = 'pg_class' :: regclass AND c.oid = a.objid
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
     UNION ALL
    SELECT 'ROUTINE', a.identity, p.proowner, p.proacl, acldefault('f', p.proowner)
      FROM address a JOIN pg_proc p ON a.classid = 'pg_proc' :: regclass AND p.oid = a.objid
     UNION ALL
    SELECT 'TYPE', a.identity, t.typowner, t.typacl, acldefault('T', t.typowner)
      FROM address a JOIN pg_type t ON a.classid = 'pg_type' :: regclass AND t.oid = a.objid
     UNION ALL
    SELECT 'SCHEMA', a.identity, n.nspowner, n.nspacl, acldefault('n', n.nspowner)
      FROM address a JOIN pg_namespace n ON a.classid = 'pg_namespace' :: regclass
                                        AND n.oid = a.objid
)
SELECT format(
           CASE WHEN is_there THEN 'REVOKE %%s ON %%s %%s FROM %%s' ELSE 'GRANT %%s ON %%s %%s TO %%s' END,
           x.privilege_type, o.kind, o.identity,
           CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee :: regrole :: text END)
  FROM object o, LATERAL (
           (SELECT true, e.* FROM aclexplode(o.acl) e
            EXCEPT
            SELECT true, e.* FROM aclexplode(o.usual) e)
            UNION ALL
           (SELECT false, e.* FROM aclexplode(o.usual) e
            EXCEPT
            SELECT false, e.* FROM aclexplode(o.acl) e)
       ) x (is_there, grantor, grantee, privilege_type, is_grantable)
 WHERE o.acl IS NOT NULL
