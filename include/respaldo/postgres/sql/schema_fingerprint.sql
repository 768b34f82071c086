-- A digest of the catalogs' rows that make up the schema; where it is not wanted %(whole)s, one of
-- each row, without rights and comments, and of all columns of a table together.
-- Left out: what changes without a schema change (sizes, files, statistics, flags that VACUUM corrects, values of added columns, populations,
-- invalid indexes, the mark that CLUSTER leaves), temporary and TOAST objects, replica identities,
-- and what is Respaldo's own.
-- Indexes by name, all else by oid: REINDEX CONCURRENTLY makes another index.
-- Objects of the system itself count by their owners and rights.
WITH space AS MATERIALIZED (
    SELECT oid, nspname FROM pg_namespace
     WHERE nspname NOT IN ('respaldo', 'pg_toast') AND nspname !~ '^pg_(toast_)?temp_[0-9]+$'
), class AS MATERIALIZED (
    SELECT c.*, CASE WHEN c.relkind IN ('i', 'I')
                     THEN c.relnamespace || '.' || c.relname ELSE c.oid :: text END AS key
      FROM pg_class c
      JOIN space ON space.oid = c.relnamespace
      LEFT JOIN pg_index i ON i.indexrelid = c.oid
     WHERE c.oid >= 16384 AND (i.indisvalid IS NOT false OR c.relkind = 'I')
), type AS MATERIALIZED (
    SELECT t.* FROM pg_type t JOIN space ON space.oid = t.typnamespace WHERE t.oid >= 16384
), proc AS MATERIALIZED (
    SELECT p.* FROM pg_proc p JOIN space ON space.oid = p.pronamespace WHERE p.oid >= 16384
), entry (catalog, line) AS (
    SELECT 'pg_class', ROW(
               c.key, c.relname, c.relnamespace, c.reltype, c.reloftype, c.relowner, c.relam,
               c.reltablespace, c.relpersistence, c.relkind, c.relrowsecurity,
               c.relforcerowsecurity, c.relispartition, CASE WHEN %(whole)s THEN c.relacl END,
               c.reloptions, c.relpartbound, t.reloptions) :: text
      FROM class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
 UNION ALL
    SELECT 'pg_attribute', string_agg(ROW(
               c.key, a.attnum, a.attname, a.atttypid, a.attstattarget, a.atttypmod, a.attndims,
               a.attstorage, a.attcompression, a.attnotnull, a.atthasdef, a.attidentity,
               a.attgenerated, a.attisdropped, a.attislocal, a.attinhcount, a.attcollation,
               CASE WHEN %(whole)s THEN a.attacl END, a.attfdwoptions,
               -- the server's own mark of when the column came to be is no option
               CASE WHEN a.attoptions IS NOT NULL
                    THEN ARRAY(SELECT o FROM unnest(a.attoptions) o
                                WHERE NOT starts_with(o, 'pg_attver=')) END) :: text, E'\n'
               ORDER BY a.attnum)
      FROM class c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE a.attnum > 0
     GROUP BY c.oid
 UNION ALL
    SELECT 'pg_attrdef', d :: text
      FROM class c JOIN pg_attrdef d ON d.adrelid = c.oid
 UNION ALL
    SELECT 'pg_index', ROW(
               c.key, i.indrelid, i.indisunique, i.indisprimary, i.indisexclusion, i.indimmediate,
               i.indkey, i.indcollation, i.indclass, i.indoption, i.indexprs,
               i.indpred, to_jsonb(i) -> 'indnullsnotdistinct') :: text
      FROM class c JOIN pg_index i ON i.indexrelid = c.oid
 UNION ALL
    SELECT 'pg_constraint', concat(to_jsonb(k) - 'conindid', i.key)
      FROM pg_constraint k JOIN space ON space.oid = k.connamespace
      LEFT JOIN class i ON i.oid = k.conindid
     WHERE k.oid >= 16384
 UNION ALL
    SELECT 'pg_trigger', ROW(
               t.oid, t.tgrelid, t.tgparentid, t.tgname, t.tgfoid, t.tgtype, t.tgenabled,
               t.tgisinternal, t.tgconstrrelid, t.tgconstraint, t.tgdeferrable, t.tginitdeferred,
               t.tgnargs, t.tgattr, t.tgargs, t.tgqual, t.tgoldtable, t.tgnewtable) :: text
      FROM class c JOIN pg_trigger t ON t.tgrelid = c.oid
 UNION ALL
    SELECT 'pg_rewrite', r :: text FROM class c JOIN pg_rewrite r ON r.ev_class = c.oid
 UNION ALL
    SELECT 'pg_policy', p :: text FROM class c JOIN pg_policy p ON p.polrelid = c.oid
 UNION ALL
    SELECT 'pg_inherits', ROW(c.key, p.key, h.inhseqno, h.inhdetachpending) :: text
      FROM pg_inherits h
      JOIN class c ON c.oid = h.inhrelid
      JOIN class p ON p.oid = h.inhparent
 UNION ALL
    SELECT 'pg_partitioned_table', p :: text
      FROM class c JOIN pg_partitioned_table p ON p.partrelid = c.oid
 UNION ALL
    SELECT 'pg_sequence', s :: text FROM class c JOIN pg_sequence s ON s.seqrelid = c.oid
 UNION ALL
    SELECT 'pg_foreign_table', f :: text FROM class c JOIN pg_foreign_table f ON f.ftrelid = c.oid
 UNION ALL
    SELECT 'pg_statistic_ext', s :: text
      FROM pg_statistic_ext s JOIN space ON space.oid = s.stxnamespace
 UNION ALL
    SELECT 'pg_type', t :: text FROM type t
 UNION ALL
    SELECT 'pg_enum', e :: text FROM type t JOIN pg_enum e ON e.enumtypid = t.oid
 UNION ALL
    SELECT 'pg_range', r :: text FROM type t JOIN pg_range r ON r.rngtypid = t.oid
 UNION ALL
    SELECT 'pg_proc', p :: text FROM proc p
 UNION ALL
    SELECT 'pg_aggregate', a :: text FROM proc p JOIN pg_aggregate a ON a.aggfnoid = p.oid
 UNION ALL
    SELECT 'pg_operator', o :: text FROM pg_operator o WHERE o.oid >= 16384
 UNION ALL
    SELECT 'pg_opclass', o :: text FROM pg_opclass o WHERE o.oid >= 16384
 UNION ALL
    SELECT 'pg_opfamily', o :: text FROM pg_opfamily o WHERE o.oid >= 16384
 UNION ALL
    SELECT 'pg_amop', a :: text FROM pg_amop a WHERE a.oid >= 16384
 UNION ALL
    SELECT 'pg_amproc', a :: text FROM pg_amproc a WHERE a.oid >= 16384
 UNION ALL
    SELECT 'pg_am', a :: text FROM pg_am a WHERE a.oid >= 16384
 UNION ALL
    SELECT 'pg_cast', c :: text FROM pg_cast c WHERE c.oid >= 16384
 UNION ALL
    SELECT 'pg_collation', (to_jsonb(c) - 'collversion') :: text
      FROM pg_collation c WHERE c.oid >= 16384
 UNION ALL
    SELECT 'pg_conversion', c :: text FROM pg_conversion c WHERE c.oid >= 16384
 UNION ALL
    SELECT 'pg_language', l :: text FROM pg_language l
 UNION ALL
    SELECT 'pg_namespace', n :: text FROM pg_namespace n JOIN space ON space.oid = n.oid
 UNION ALL
    SELECT 'pg_extension', e :: text FROM pg_extension e
 UNION ALL
    SELECT 'pg_foreign_data_wrapper', f :: text FROM pg_foreign_data_wrapper f
 UNION ALL
    SELECT 'pg_foreign_server', f :: text FROM pg_foreign_server f
 UNION ALL
    SELECT 'pg_user_mapping', u :: text FROM pg_user_mapping u
 UNION ALL
    SELECT 'pg_default_acl', d :: text FROM pg_default_acl d WHERE %(whole)s
 UNION ALL
    SELECT 'pg_event_trigger', e :: text
      FROM pg_event_trigger e
     WHERE NOT (e.evtname IN ('00_respaldo_caller', '00_respaldo_ddl', 'respaldo_drop',
                             'respaldo_rewrite', 'respaldo_caller', 'respaldo_ddl')
                AND e.evtfoid IN (SELECT p.oid FROM pg_proc p
                                   WHERE p.pronamespace = to_regnamespace('respaldo')))
 UNION ALL
    SELECT 'pg_publication', p :: text FROM pg_publication p WHERE p.pubname <> 'respaldo'
 UNION ALL
    SELECT 'pg_publication_rel', p :: text FROM pg_publication_rel p
 UNION ALL
    SELECT 'pg_transform', t :: text FROM pg_transform t
 UNION ALL
    SELECT 'pg_ts_config', t :: text FROM pg_ts_config t WHERE t.oid >= 16384
 UNION ALL
    SELECT 'pg_ts_config_map', t :: text FROM pg_ts_config_map t WHERE t.mapcfg >= 16384
 UNION ALL
    SELECT 'pg_ts_dict', t :: text FROM pg_ts_dict t WHERE t.oid >= 16384
 UNION ALL
    SELECT 'pg_ts_parser', t :: text FROM pg_ts_parser t WHERE t.oid >= 16384
 UNION ALL
    SELECT 'pg_ts_template', t :: text FROM pg_ts_template t WHERE t.oid >= 16384
 UNION ALL
    SELECT 'pg_description', ROW(
               d.classoid, coalesce(c.key, d.objoid :: text), d.objsubid, d.description) :: text
      FROM pg_description d
      LEFT JOIN class c ON c.oid = d.objoid AND d.classoid = 'pg_class' :: regclass
     WHERE %(whole)s AND d.objoid >= 16384
       AND (d.classoid <> 'pg_class' :: regclass OR c.oid IS NOT NULL)
 UNION ALL
    SELECT 'pg_seclabel', s :: text FROM pg_seclabel s WHERE %(whole)s
 UNION ALL
    -- membership in extensions, and owners of sequences
    SELECT 'pg_depend', ROW(
               d.classid, coalesce(c.key, d.objid :: text), d.objsubid, d.refclassid, d.refobjid,
               d.refobjsubid, d.deptype) :: text
      FROM pg_depend d
      LEFT JOIN class c ON c.oid = d.objid AND d.classid = 'pg_class' :: regclass
     WHERE d.deptype IN ('e', 'x')
        OR (d.deptype IN ('a', 'i') AND d.refobjsubid > 0 AND c.relkind = 'S')
 UNION ALL
    SELECT 'rights of the system', ROW('c', c.oid, c.relowner, c.relacl) :: text
      FROM pg_class c WHERE %(whole)s AND c.oid < 16384
 UNION ALL
    SELECT 'rights of the system', ROW('p', p.oid, p.proowner, p.proacl) :: text
      FROM pg_proc p WHERE %(whole)s AND p.oid < 16384 AND p.proacl IS NOT NULL
 UNION ALL
    SELECT 'rights of the system', ROW('t', t.oid, t.typacl) :: text
      FROM pg_type t WHERE %(whole)s AND t.oid < 16384 AND t.typacl IS NOT NULL
)
SELECT CASE WHEN %(whole)s THEN ARRAY[md5(string_agg(digest, '' ORDER BY digest))]
            ELSE array_agg(digest) END
  FROM (SELECT md5(catalog || ' ' || line) COLLATE "C" AS digest FROM entry) d
