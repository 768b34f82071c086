"""The command line: every job without Airflow."""
