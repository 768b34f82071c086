"""Debian and Ubuntu hosts: what one is, and how a bare one becomes it."""
