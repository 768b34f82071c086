-- The columns that a table's rows are sent with, and the type to stage their values in: a domain's
-- base, since a staged row may lack values that the domain requires.
SELECT a.attname AS name,
       a.atttypid AS type_oid,
       a.atttypmod AS type_modifier,
       base.type AS staged_as,
       a.attidentity = 'a' AS always_identity
  FROM pg_attribute a
  CROSS JOIN LATERAL (
      WITH RECURSIVE chain AS (
          SELECT a.atttypid AS type, a.atttypmod AS modifier
           UNION ALL
          SELECT t.typbasetype, CASE WHEN chain.modifier = -1 THEN t.typtypmod ELSE chain.modifier END
            FROM chain JOIN pg_type t ON t.oid = chain.type AND t.typtype = 'd'
      )
      SELECT format_type(chain.type, chain.modifier) AS type
        FROM chain JOIN pg_type t ON t.oid = chain.type AND t.typtype <> 'd'
  ) base
 WHERE a.attrelid = %(relation)s AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 ORDER BY a.attnum
