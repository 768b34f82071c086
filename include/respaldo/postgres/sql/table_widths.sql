-- Tables by name: how many columns each has ever had.
SELECT n.nspname :: text AS schema, c.relname :: text AS name, c.oid :: bigint AS oid, c.relnatts
  FROM unnest(%(schemas)s :: text[], %(names)s :: text[]) AS wanted (schema, name)
  JOIN pg_namespace n ON n.nspname = wanted.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
 WHERE c.relkind = 'r'
