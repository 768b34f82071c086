-- Every sequence, with each whole-number column that it numbers: by ownership, identity or default.
SELECT n.nspname AS schema, c.relname AS name, s.seqrelid AS oid,
       s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle,
       ARRAY(SELECT ARRAY[tn.nspname :: text, t.relname :: text, a.attname :: text]
               FROM (SELECT d.refobjid AS relation, d.refobjsubid :: int AS attnum
                       FROM pg_depend d
                      WHERE d.classid = 'pg_class' :: regclass AND d.objid = s.seqrelid
                        AND d.refclassid = 'pg_class' :: regclass AND d.refobjsubid > 0
                        AND d.deptype IN ('a', 'i')
                      UNION
                     SELECT f.adrelid, f.adnum
                       FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
                      WHERE d.classid = 'pg_attrdef' :: regclass
                        AND d.refclassid = 'pg_class' :: regclass AND d.refobjid = s.seqrelid) u
               JOIN pg_attribute a ON a.attrelid = u.relation AND a.attnum = u.attnum
               JOIN pg_class t ON t.oid = u.relation AND t.relkind IN ('r', 'p')
               JOIN pg_namespace tn ON tn.oid = t.relnamespace
              WHERE a.atttypid IN ('int2' :: regtype, 'int4' :: regtype, 'int8' :: regtype,
                                   'numeric' :: regtype)
              ORDER BY 1) AS columns
  FROM pg_sequence s
  JOIN pg_class c ON c.oid = s.seqrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relpersistence <> 't' AND n.nspname <> 'respaldo'
 ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
