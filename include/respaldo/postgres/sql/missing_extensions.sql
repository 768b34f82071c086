SELECT wanted
  FROM unnest(%(names)s :: text[]) AS u (wanted)
 WHERE wanted NOT IN (SELECT name FROM pg_available_extensions)
 ORDER BY wanted
