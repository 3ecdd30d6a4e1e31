#!/bin/sh
# Run once, when the database is made: a role and a database each for MLflow and Prefect, which see nothing of one
# another, and a role that may read statistics.
set -eu

psql --set=ON_ERROR_STOP=1 --no-psqlrc --quiet --dbname=postgres <<SQL
CREATE ROLE mlops LOGIN PASSWORD '$MLFLOW_PASSWORD';
CREATE ROLE prefect LOGIN PASSWORD '$PREFECT_DB_PASSWORD';
CREATE ROLE monitor LOGIN PASSWORD '$MONITOR_PASSWORD' CONNECTION LIMIT 5;
GRANT pg_monitor TO monitor;
CREATE DATABASE mlflow OWNER mlops;
CREATE DATABASE prefect OWNER prefect;
REVOKE CONNECT ON DATABASE mlflow, prefect, postgres FROM PUBLIC;
GRANT CONNECT ON DATABASE mlflow, prefect, postgres TO monitor;
SQL
