-- Ordinary tables whose UPDATE and DELETE would fail once they are published, by PostgreSQL's own
-- rule (RelationGetIndexList): an identity index counts when it is valid, unique, whole and immediate.
-- Tables of the system (oid below 16384), temporary and unlogged ones are never published.
SELECT c.oid AS relation, n.nspname AS schema, c.relname AS name, c.relreplident AS was
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r'
   AND c.relpersistence = 'p'
   AND c.relreplident <> 'f'
   AND c.oid >= 16384
   AND NOT EXISTS (
         SELECT FROM pg_catalog.pg_index i
          WHERE i.indrelid = c.oid
            AND i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL
            AND CASE c.relreplident
                  WHEN 'd' THEN i.indisprimary
                  WHEN 'i' THEN i.indisreplident
                  ELSE false
                END)
