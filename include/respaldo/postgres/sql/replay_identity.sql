-- What a table's replica identity is, if an application's publication could refuse to update or
-- delete its rows for want of one (PostgreSQL's own rule, as in tables_without_identity.sql).
SELECT c.relreplident :: text
  FROM pg_catalog.pg_class c
 WHERE c.oid = %(relation)s
   AND c.relkind = 'r'
   AND c.relpersistence = 'p'
   AND c.relreplident <> 'f'
   AND EXISTS (SELECT FROM pg_catalog.pg_publication)
   AND NOT EXISTS (
       SELECT FROM pg_catalog.pg_index i
        WHERE i.indrelid = c.oid
          AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident
                                  ELSE false END
          AND i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL)
