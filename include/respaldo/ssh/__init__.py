"""Hosts that are reached over SSH, through OpenSSH's own programs."""
