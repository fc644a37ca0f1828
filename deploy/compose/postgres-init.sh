#!/usr/bin/env bash
# Runs once, when the database is made: the logins of deploy/postgres/roles.sql, with the passwords of .env.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f /millrace/roles.sql
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -v migrator="$MILLRACE_MIGRATOR_PASSWORD" \
  -v app="$MILLRACE_APP_PASSWORD" -v dashboard="$MILLRACE_DASHBOARD_PASSWORD" <<'SQL'
ALTER ROLE millrace_migrator PASSWORD :'migrator';
ALTER ROLE millrace_app PASSWORD :'app';
ALTER ROLE millrace_dashboard PASSWORD :'dashboard';
SQL
