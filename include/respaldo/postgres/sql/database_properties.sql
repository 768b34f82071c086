-- Columns that differ between versions are looked up by name.
SELECT pg_get_userbyid(d.datdba) AS owner,
       pg_encoding_to_char(d.encoding) AS encoding,
       d.datcollate AS collate,
       d.datctype AS ctype,
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS locale_provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS icu_locale,
       coalesce(to_jsonb(d) ->> 'daticurules', '') AS icu_rules,
       d.datconnlimit AS connection_limit,
       shobj_description(d.oid, 'pg_database') AS comment,
       ARRAY(SELECT ARRAY[CASE WHEN s.setrole = 0 THEN '' ELSE pg_get_userbyid(s.setrole) END, item]
               FROM pg_db_role_setting s, unnest(s.setconfig) WITH ORDINALITY AS u (item, place)
              WHERE s.setdatabase = d.oid
              ORDER BY s.setrole, place) AS settings,
       ARRAY(SELECT item :: text FROM unnest(d.datacl) AS u (item)) AS acl,
       d.datacl IS NULL AS acl_is_default,
       ARRAY(SELECT ARRAY[e.extname :: text, e.extversion, n.nspname :: text]
               FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
              ORDER BY e.extname) AS extensions,
       pg_database_size(d.oid) AS size,
       t.tables,
       t.rows_estimate,
       (SELECT count(*) FROM pg_largeobject_metadata) AS large_objects,
       ARRAY(SELECT DISTINCT r.rolname :: text
               FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid
              WHERE s.dbid = d.oid AND s.refclassid = 'pg_authid' :: regclass
              ORDER BY 1) AS roles
  FROM pg_database d,
       (SELECT count(*) AS tables,
               coalesce(sum(greatest(c.reltuples, 0)), 0) :: bigint AS rows_estimate
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.oid >= 16384
           AND n.nspname <> 'respaldo') t
 WHERE d.datname = current_database()
