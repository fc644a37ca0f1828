#!/usr/bin/env bash
# postgres.sh up|start|stop|kill DIR [MODE], postgres.sh certify DIR FILE: a private Postgres on a free port of loopback. `up` makes it, `stop` takes
# pg_ctl's mode (fast, immediate), `kill` ends all its processes at once as a dying machine does, `start` brings it back on the same port.
# DIR/postgres.url tells its address. It takes TLS too; DIR/tls holds the authority, and `certify` gives the certificate in FILE to new connections.
# standby.sh makes a standby of it. With MILLRACE_DISK_MIB=N `up` puts its data, but not its WAL, on a disk of N MiB: DIR/disk names it, disk.sh
# fills it. With MILLRACE_ALSO_AT=ADDRESS it listens there too, for who is in that net of four: DIR/postgres.there.
set -euo pipefail
usage='usage: postgres.sh up|start|stop|kill DIR [MODE] | postgres.sh certify DIR FILE'
action=${1:?$usage}
dir=$(cd "${2:?$usage}" && pwd)
if [ "$action" = certify ]; then certificate=$(realpath "${3:?$usage}"); fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/free_port.sh"
. "$here/find_postgres.sh"

# Postgres refuses root, so it runs as nobody then, in a folder that nobody can reach.
as=()
if [ "$(id -u)" = 0 ]; then as=(setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME=/tmp); fi

if [ "$action" = up ]; then
  pg_bin=$(postgres_bin)
  echo "$pg_bin" >"$dir/postgres.bin"
  pg_dir=$(mktemp -d /tmp/millrace-postgres.XXXXXX)
  echo "$pg_dir" >"$dir/postgres.dir"
  [ -d "$dir/tls" ] || "$here/certificates.sh" "$dir/tls"
  install -m 600 "$dir/tls/server.key" "$dir/tls/server.pem" "$pg_dir"
  if [ "$(id -u)" = 0 ]; then chown nobody:nogroup "$pg_dir" "$pg_dir"/server.*; fi
  free_port >"$dir/postgres.port"
  cd "$pg_dir"
  wal=()
  if [ -n "${MILLRACE_DISK_MIB:-}" ]; then
    mkdir "$pg_dir/data"
    "$here/disk.sh" mount "$pg_dir/data" "$MILLRACE_DISK_MIB"
    echo "$pg_dir/data" >"$dir/disk"
    if [ "$(id -u)" = 0 ]; then chown nobody:nogroup "$pg_dir/data"; fi
    chmod 700 "$pg_dir/data"
    wal=(--waldir "$pg_dir/wal")
  fi
  if ! "${as[@]}" "$pg_bin/initdb" "${wal[@]}" -D "$pg_dir/data" -U postgres --auth=trust -E UTF8 --locale=C --no-instructions >"$dir/initdb.log" 2>&1; then
    cat "$dir/initdb.log" >&2
    exit 1
  fi
  echo "postgres://postgres@127.0.0.1:$(cat "$dir/postgres.port")/postgres" >"$dir/postgres.url"
  if [ -n "${MILLRACE_ALSO_AT:-}" ]; then
    echo "host all all $MILLRACE_ALSO_AT/30 trust" >>"$pg_dir/data/pg_hba.conf"
    echo "$MILLRACE_ALSO_AT:$(cat "$dir/postgres.port")" >"$dir/postgres.there"
  fi
fi

pg_dir=$(cat "$dir/postgres.dir")
pg_ctl=$(cat "$dir/postgres.bin")/pg_ctl
cd "$pg_dir"
case $action in
  up | start)
    addresses=127.0.0.1
    if [ -e "$dir/postgres.there" ]; then addresses+=,$(cut -d: -f1 "$dir/postgres.there"); fi
    if ! "${as[@]}" "$pg_ctl" -D "$pg_dir/data" -w -t 30 -l "$pg_dir/server.log" -o "-p $(cat "$dir/postgres.port") \
      -c listen_addresses=$addresses -c unix_socket_directories='' -c max_connections=200 \
      -c ssl=on -c ssl_cert_file=$pg_dir/server.pem -c ssl_key_file=$pg_dir/server.key" start >"$dir/pg_ctl.log" 2>&1; then
      cat "$pg_dir/server.log" >&2
      exit 1
    fi
    ;;
  stop)
    # What was killed leaves its file.
    if "${as[@]}" "$pg_ctl" -D "$pg_dir/data" status >/dev/null; then
      "${as[@]}" "$pg_ctl" -D "$pg_dir/data" -w -m "${3:-fast}" stop >/dev/null
    fi
    ;;
  certify)
    # In place: whose file it is stays.
    cat "$certificate" >"$pg_dir/server.pem"
    "${as[@]}" "$pg_ctl" -D "$pg_dir/data" reload >/dev/null
    ;;
  kill)
    postmaster=$(head -n 1 "$pg_dir/data/postmaster.pid")
    # Together: none may end in good order because another is gone.
    mapfile -t children < <(ps -o pid= --ppid "$postmaster")
    kill -KILL "$postmaster" "${children[@]}" 2>/dev/null || : # One of them may have ended by itself.
    for _ in $(seq 100); do kill -0 "$postmaster" 2>/dev/null || exit 0; sleep 0.05; done
    echo "postgres.sh: $postmaster did not end" >&2
    exit 1
    ;;
  *)
    echo "postgres.sh: unknown action $action" >&2
    exit 2
    ;;
esac
