CREATE PUBLICATION respaldo FOR ALL TABLES WITH (publish = 'insert, update, delete, truncate')
