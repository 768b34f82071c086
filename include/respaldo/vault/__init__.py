"""The write-once store of verified backups."""
