#!/usr/bin/env bash
# standby.sh up|cut|take PRIMARY DIR, standby.sh promote DIR: a standby in DIR of the Postgres that postgres.sh made in PRIMARY, by streaming replication
# over loopback. `up` copies the primary and follows it, asynchronously unless the primary is told otherwise (synchronous_standby_names); `cut` takes
# the link away: from then on the standby falls behind. `take` gives it the primary's port, once that one is dead (postgres.sh kill): it answers there,
# but is read-only still; `promote` makes it the primary. postgres.sh start|stop|kill DIR works too.
set -euo pipefail
usage='usage: standby.sh up|cut|take PRIMARY DIR | standby.sh promote DIR'
action=${1:?$usage}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/free_port.sh"
primary=$(cd "${2:?$usage}" && pwd)
if [ "$action" = promote ]; then dir=$primary; else dir=$(cd "${3:?$usage}" && pwd); fi

# As in postgres.sh: Postgres refuses root.
as=()
if [ "$(id -u)" = 0 ]; then as=(setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME=/tmp); fi
bin=$(cat "$primary/postgres.bin")
for tool in pg_basebackup psql; do
  if [ ! -x "$bin/$tool" ]; then
    echo "standby.sh: $bin has no $tool: that PostgreSQL has the server alone; install the whole (apt-get install postgresql), or name it in MILLRACE_POSTGRES_BIN" >&2
    exit 1
  fi
done

at() {
  "$bin/psql" -XqAt -v ON_ERROR_STOP=1 "postgres://postgres@127.0.0.1:$(cat "$1/postgres.port")/postgres" "${@:2}"
}

# Waits until a query of the standby says `t`.
until_true() {
  for _ in $(seq 600); do
    if [ "$(at "$dir" -c "$1" 2>/dev/null)" = t ]; then return; fi
    sleep 0.05
  done
  tail -n 20 "$(cat "$dir/postgres.dir")/server.log" >&2
  echo "standby.sh $action: within 30 s the standby did not say t to: $1" >&2
  exit 1
}

case $action in
  up)
    pg_dir=$(mktemp -d /tmp/millrace-postgres.XXXXXX)
    echo "$pg_dir" >"$dir/postgres.dir"
    echo "$bin" >"$dir/postgres.bin"
    install -m 600 "$(cat "$primary/postgres.dir")"/server.{key,pem} "$pg_dir"
    if [ "$(id -u)" = 0 ]; then chown nobody:nogroup "$pg_dir" "$pg_dir"/server.*; fi
    port=$(free_port)
    echo "$port" >"$dir/postgres.port"
    echo "postgres://postgres@127.0.0.1:$port/postgres" >"$dir/postgres.url"
    cd "$pg_dir"
    "${as[@]}" "$bin/pg_basebackup" -D "$pg_dir/data" -R -X stream -c fast \
      -d "host=127.0.0.1 port=$(cat "$primary/postgres.port") user=postgres application_name=standby" >&2
    "$here/postgres.sh" start "$dir"
    until_true "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')"
    ;;
  cut)
    at "$dir" -c "ALTER SYSTEM SET primary_conninfo = ''" -c 'SELECT pg_reload_conf()' >/dev/null
    until_true 'SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)'
    ;;
  take)
    if "${as[@]}" "$bin/pg_ctl" -D "$(cat "$primary/postgres.dir")/data" status >/dev/null; then
      echo "standby.sh take: the primary of $primary still runs; end it first: postgres.sh kill $primary" >&2
      exit 1
    fi
    "$here/postgres.sh" stop "$dir"
    cp "$primary/postgres.port" "$primary/postgres.url" "$dir"
    "$here/postgres.sh" start "$dir"
    ;;
  promote)
    cd "$(cat "$dir/postgres.dir")"
    "${as[@]}" "$bin/pg_ctl" -D "$PWD/data" -w -t 30 promote >/dev/null
    ;;
  *)
    echo "standby.sh: unknown action $action; $usage" >&2
    exit 2
    ;;
esac
