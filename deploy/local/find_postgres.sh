# shellcheck shell=bash
# To be sourced. postgres_bin: prints the folder with pg_ctl and initdb: MILLRACE_POSTGRES_BIN; the newest installed one
# (under MILLRACE_POSTGRES_INSTALLED, default /usr/lib/postgresql); on the PATH; what setup.sh has fetched. The demo looks alike.
# Root's home is closed to the user nobody, as whom the server runs then.
if [ -n "${MILLRACE_CACHE:-}" ]; then
  postgres_cache=$MILLRACE_CACHE
elif [ "$(id -u)" = 0 ]; then
  postgres_cache=/var/cache/millrace
else
  postgres_cache=$HOME/.cache/millrace
fi

postgres_bin() {
  local found
  if [ -n "${MILLRACE_POSTGRES_BIN:-}" ]; then echo "$MILLRACE_POSTGRES_BIN"; return; fi
  found=$(compgen -G "${MILLRACE_POSTGRES_INSTALLED:-/usr/lib/postgresql}/*/bin/pg_ctl" | sort -V | tail -n 1) || found=
  [ -n "$found" ] || found=$(command -v pg_ctl) || found=
  [ -n "$found" ] || found=$(compgen -G "$postgres_cache/postgres-*/bin/pg_ctl" | sort -V | tail -n 1) || found=
  [ -n "$found" ] || return 1
  dirname "$found"
}
