INSERT INTO respaldo.replica_identity AS r (relation, was) VALUES (%(relation)s, %(was)s)
    ON CONFLICT (relation) DO UPDATE SET was = excluded.was
