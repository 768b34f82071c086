-- How many check constraints a table has, by its own count: at 0 PostgreSQL looks for none.
SELECT relchecks
  FROM pg_class
 WHERE oid = %(relation)s AND relchecks > 0
