-- Roles that are not here, or only as a stand-in of an earlier restore that was cut off.
SELECT wanted
  FROM unnest(%(names)s :: text[]) AS u (wanted)
 WHERE NOT EXISTS (SELECT FROM pg_roles r
                    WHERE r.rolname = wanted
                      AND shobj_description(r.oid, 'pg_authid') IS DISTINCT FROM %(mark)s)
 ORDER BY wanted
