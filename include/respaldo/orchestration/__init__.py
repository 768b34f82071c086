"""Airflow's side: connections, tasks, sensor and trigger; what is done, `jobs` does."""
