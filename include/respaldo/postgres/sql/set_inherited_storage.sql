-- Store and compress columns from now on as they are given.
UPDATE pg_catalog.pg_attribute a
   SET attstorage = w.storage :: "char", attcompression = w.compression :: "char"
  FROM unnest(%(schemas)s :: text[], %(tables)s :: text[], %(columns)s :: text[],
              %(storages)s :: text[], %(compressions)s :: text[])
       AS w (schema, name, attribute, storage, compression)
  JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
 WHERE a.attrelid = c.oid AND a.attname = w.attribute
