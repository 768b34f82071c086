-- Triggers and rules that fire even while session_replication_role is replica.
SELECT 'TRIGGER' AS kind, tgname AS name, tgenabled :: text AS enabled
  FROM pg_trigger
 WHERE tgrelid = %(relation)s AND tgenabled IN ('A', 'R')
 UNION ALL
SELECT 'RULE', rulename, ev_enabled :: text
  FROM pg_rewrite
 WHERE ev_class = %(relation)s AND ev_enabled IN ('A', 'R')
