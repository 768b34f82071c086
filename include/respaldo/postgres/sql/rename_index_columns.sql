-- Give columns of indexes names as they are given: nothing but a copy's own name follows from them.
UPDATE pg_catalog.pg_attribute a
   SET attname = w.name
  FROM unnest(%(schemas)s :: text[], %(indexes)s :: text[], %(numbers)s :: int[],
              %(names)s :: text[]) AS w (schema, index, number, name)
  JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
  JOIN pg_catalog.pg_class c
    ON c.relnamespace = n.oid AND c.relname = w.index AND c.relkind IN ('i', 'I')
 WHERE a.attrelid = c.oid AND a.attnum = w.number
