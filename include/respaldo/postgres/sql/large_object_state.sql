SELECT (SELECT count(*) FROM pg_largeobject_metadata) AS large_objects,
       pg_stat_get_tuples_inserted(t) + pg_stat_get_tuples_updated(t) + pg_stat_get_tuples_deleted(t)
           AS large_object_writes
  FROM (VALUES ('pg_largeobject' :: regclass)) AS v (t)
