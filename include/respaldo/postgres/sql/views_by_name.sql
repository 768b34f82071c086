-- Schema and name of the materialized views that a dump names, in its own encoding and as SQL.
SELECT n.nspname :: text, c.relname :: text
  FROM unnest(%(names)s :: bytea[]) WITH ORDINALITY AS v (name, ordinality)
  JOIN pg_class c ON c.oid = to_regclass(convert_from(v.name, %(encoding)s))
  JOIN pg_namespace n ON n.oid = c.relnamespace
 ORDER BY v.ordinality
