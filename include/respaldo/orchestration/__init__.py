"""Airflow: task groups, sensors, triggers, connections."""
