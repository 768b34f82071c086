-- What changes when a sequence is created or restarted by a command.
SELECT oid :: bigint, relfilenode :: bigint FROM pg_class
 WHERE relkind = 'S' AND relpersistence <> 't'
