"""Backups and point-in-time restores of PostgreSQL tenants; see docs/ARCHITECTURE.md."""

__version__ = "0.1.0"
