-- One column, with its value in the rows that were there before it (PostgreSQL's text form).
-- array_to_string(): the element as its own output function writes it, whatever its delimiter.
SELECT a.attnum, a.atthasmissing AS is_there, array_to_string(a.attmissingval, '') AS value,
       c.relreplident :: text AS identity
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE c.oid = %(relation)s AND a.attname = %(column)s AND NOT a.attisdropped
