SELECT c.oid AS relation,
       c.relkind :: text AS kind,
       c.reltuples :: double precision AS rows,
       EXISTS (SELECT FROM pg_constraint f
                WHERE f.contype = 'f' AND f.confrelid = c.oid AND f.conrelid <> c.oid) AS is_referenced
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relname = %(name)s
