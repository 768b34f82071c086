-- Every index that forbids rows, its columns, and whether it can find a row by them; for those
-- columns the equality operator of the index, schema first: an extension's is not in pg_catalog.
SELECT i.indexrelid AS index,
       i.indisvalid AND i.indimmediate AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
           AS finds_rows,
       ARRAY(SELECT a.attname :: text
               FROM generate_series(0, i.indnkeyatts - 1) AS k
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k]
              ORDER BY k) AS columns,
       ARRAY(SELECT ARRAY[n.nspname :: text, o.oprname :: text]
               FROM generate_series(0, i.indnkeyatts - 1) AS k
               JOIN pg_opclass c ON c.oid = i.indclass[k]
               JOIN pg_amop m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
                             AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
               JOIN pg_operator o ON o.oid = m.amopopr
               JOIN pg_namespace n ON n.oid = o.oprnamespace
              ORDER BY k) AS operators
  FROM pg_index i
 WHERE i.indrelid = %(relation)s AND (i.indisunique OR i.indisexclusion)
 ORDER BY i.indisprimary DESC, i.indexrelid
