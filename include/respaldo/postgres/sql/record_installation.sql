INSERT INTO respaldo.installation AS i (version) VALUES (%(version)s)
    ON CONFLICT (only_row) DO UPDATE
   SET version = excluded.version,
       installed_xid = excluded.installed_xid,
       installed_at = excluded.installed_at
