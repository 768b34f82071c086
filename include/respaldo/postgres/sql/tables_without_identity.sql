-- Ordinary tables whose UPDATE and DELETE would fail once they are published, by PostgreSQL's own
-- rule (RelationGetIndexList): an identity index counts when it is valid, unique, whole and immediate.
-- Tables of the system (oid below 16384), temporary and unlogged ones are never published.
-- NOT IN, because its hash is built once: this runs at nearly every DDL command.
SELECT c.oid AS relation, n.nspname AS schema, c.relname AS name, c.relreplident AS was
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r'
   AND c.relpersistence = 'p'
   AND c.relreplident <> 'f'
   AND c.oid >= 16384
   AND CASE c.relreplident
         WHEN 'd' THEN c.oid NOT IN (
             SELECT i.indrelid FROM pg_catalog.pg_index i
              WHERE i.indisprimary
                AND i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL)
         WHEN 'i' THEN c.oid NOT IN (
             SELECT i.indrelid FROM pg_catalog.pg_index i
              WHERE i.indisreplident
                AND i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL)
         ELSE true
       END
