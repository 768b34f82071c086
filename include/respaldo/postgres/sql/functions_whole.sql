-- All of our functions as they are: owner, settings and rights of execution count as much as the body.
SELECT md5(string_agg(
           ROW(p.proname, p.prosrc, p.prolang, p.prosecdef, p.provolatile, p.proconfig, p.prorettype,
               p.proargtypes, p.proargnames, p.proisstrict, p.proacl) :: text
           || (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = p.proowner),
           '' ORDER BY p.proname COLLATE "C", p.oid))
  FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = 'respaldo' AND p.proname = ANY (%(functions)s)
