"""Servers for the demo and the tests: on 127.0.0.1 only, each in one folder that can be deleted."""
