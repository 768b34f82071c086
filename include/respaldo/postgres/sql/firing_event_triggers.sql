-- Event triggers that fire even while session_replication_role is replica.
SELECT evtname, evtenabled :: text
  FROM pg_event_trigger
 WHERE evtenabled IN ('A', 'R')
