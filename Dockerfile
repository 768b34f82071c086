# Airflow 3.3.2 on Python 3.11, as requirements.txt is resolved for. The image's own build steps
# install packages.txt and requirements.txt and copy the project; the project's root is on
# PYTHONPATH there, so `include.respaldo` can be imported.
#
# pg_dump must not be older than any server it dumps: for servers newer than the client that
# packages.txt brings, add the PGDG repository and its postgresql-client-<major> here.
FROM astrocrpublic.azurecr.io/runtime:3.3-8-python-3.11

ENV RESPALDO_CONFIG=/usr/local/airflow/respaldo.yaml
