-- Names and rights of what can be named in the definition of something else, or granted on.
SELECT 'pg_class', oid :: bigint, 0, relname :: text, relnamespace :: bigint, relacl :: text
  FROM pg_catalog.pg_class WHERE oid >= 16384
 UNION ALL
SELECT 'pg_type', oid :: bigint, 0, typname :: text, typnamespace :: bigint, typacl :: text
  FROM pg_catalog.pg_type WHERE oid >= 16384
 UNION ALL
SELECT 'pg_proc', oid :: bigint, 0, proname :: text, pronamespace :: bigint, proacl :: text
  FROM pg_catalog.pg_proc WHERE oid >= 16384
 UNION ALL
SELECT 'pg_namespace', oid :: bigint, 0, nspname :: text, 0 :: bigint, nspacl :: text
  FROM pg_catalog.pg_namespace
 UNION ALL
SELECT 'pg_attribute', attrelid :: bigint, attnum, attname :: text, 0 :: bigint, attacl :: text
  FROM pg_catalog.pg_attribute WHERE attrelid >= 16384 AND attnum > 0 AND NOT attisdropped
