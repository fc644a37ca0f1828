#!/usr/bin/env bash
# down.sh DIR: stops what up.sh started in DIR, and removes its data.
set -euo pipefail
dir=${1:?usage: down.sh DIR}
[ -d "$dir" ] || exit 0
if [ -e "$dir/kafka.pid" ]; then
  pid=$(cat "$dir/kafka.pid")
  if kill "$pid" 2>/dev/null; then
    for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    if kill -0 "$pid" 2>/dev/null; then kill -9 "$pid"; fi
  fi
fi
if [ -e "$dir/postgres.dir" ]; then
  pg_dir=$(cat "$dir/postgres.dir")
  as=()
  if [ "$(id -u)" = 0 ]; then as=(setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME=/tmp); fi
  if [ -e "$pg_dir/data/postmaster.pid" ]; then
    (cd "$pg_dir" && "${as[@]}" "$(cat "$dir/postgres.bin")/pg_ctl" -D "$pg_dir/data" -w -m fast stop >/dev/null)
  fi
  rm -rf "$pg_dir"
fi
rm -rf "$dir/kafka" "$dir/tls" "$dir"/*.log "$dir"/*.properties "$dir"/kafka.pid "$dir"/postgres.* "$dir"/env
rmdir "$dir" 2>/dev/null || echo "down: $dir holds other files and stays" >&2
