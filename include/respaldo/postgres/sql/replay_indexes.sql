-- Every index that forbids rows, its columns, and whether it can find a row by them; for those
-- columns the equality operator of the index, schema first: an extension's is not in pg_catalog.
-- A key without overlaps (from PostgreSQL 18 on) is an index of another kind, where the third operator
-- is none of equality: there it is the type's own.
SELECT i.indexrelid AS index,
       i.indisvalid AND i.indimmediate AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
           AS finds_rows,
       ARRAY(SELECT a.attname :: text
               FROM generate_series(0, i.indnkeyatts - 1) AS k
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k]
              ORDER BY k) AS columns,
       ARRAY(SELECT (SELECT ARRAY[n.nspname :: text, o.oprname :: text]
                       FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
                      WHERE o.oid = equality.operator)
               FROM (SELECT k, (SELECT m.amopopr
                                  FROM pg_opclass b
                                  JOIN pg_amop m ON m.amopfamily = b.opcfamily AND m.amopstrategy = 3
                                                AND m.amoplefttype = b.opcintype
                                                AND m.amoprighttype = b.opcintype
                                 WHERE b.oid = CASE WHEN c.opcmethod = h.oid THEN c.oid
                                                    ELSE (SELECT d.oid FROM pg_opclass d
                                                           WHERE d.opcmethod = h.oid AND d.opcdefault
                                                             AND d.opcintype = c.opcintype) END)
                                AS operator
                       FROM generate_series(0, i.indnkeyatts - 1) AS k
                       JOIN pg_opclass c ON c.oid = i.indclass[k]
                       JOIN pg_am h ON h.amname = 'btree') equality
              WHERE equality.operator IS NOT NULL
              ORDER BY k) AS operators
  FROM pg_index i
 WHERE i.indrelid = %(relation)s AND (i.indisunique OR i.indisexclusion)
 ORDER BY i.indisprimary DESC, i.indexrelid
