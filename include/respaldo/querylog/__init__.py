"""The query log, pure: bytes in, values out; Parquet segments; set-based reduction."""
