"""The servers and sites of the jobs' tests."""

from tests.jobs.conftest import installation, site

__all__ = ["installation", "site"]
