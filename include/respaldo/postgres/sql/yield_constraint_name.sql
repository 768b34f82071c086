-- Where a foreign key refers to a partitioned table, or is a partitioned table's, PostgreSQL adds one
-- for each partition, under a name that is free just then. The key that a statement (%(statement)s,
-- as pg_dump writes it) adds needs its name: the other one takes another.
UPDATE pg_catalog.pg_constraint k SET conname = left(k.conname :: text, 40) || '_' || k.oid
  FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n
 WHERE k.contype = 'f' AND k.conparentid <> 0 AND c.oid = k.conrelid AND n.oid = c.relnamespace
   AND strpos(convert_from(%(statement)s, pg_client_encoding()),
              format(E'%%I.%%I\n    ADD CONSTRAINT %%I FOREIGN KEY', n.nspname, c.relname, k.conname))
       > 0
