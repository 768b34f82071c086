-- The versions in which the server has extensions, and the one that it makes unless told otherwise.
SELECT e.name, e.default_version, array_agg(v.version) AS versions
  FROM pg_available_extensions e JOIN pg_available_extension_versions v USING (name)
 WHERE e.name = ANY (%(names)s :: text[])
 GROUP BY e.name, e.default_version
