#!/bin/bash
# Run once by the PostgreSQL image on an empty data folder: the role that the tenant's dsn names, and the schema it owns.
set -euo pipefail

dsn=$(cat /run/secrets/tim_dsn)
login=${dsn#postgresql://}
login=${login%%@*}
# Not as arguments: every user of the machine sees those.
export TENANT_ROLE=${login%%:*} TENANT_PASSWORD=${login#*:}
psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set ON_ERROR_STOP=1 <<'SQL'
\getenv role TENANT_ROLE
\getenv password TENANT_PASSWORD
CREATE ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE SCHEMA :"role" AUTHORIZATION :"role";
ALTER ROLE :"role" SET search_path = :"role";
REVOKE ALL ON SCHEMA public, :"role" FROM PUBLIC;
GRANT ALL ON SCHEMA :"role" TO :"role";
SQL
