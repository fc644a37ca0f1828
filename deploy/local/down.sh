#!/usr/bin/env bash
# down.sh DIR: stops what up.sh, kafka.sh, postgres.sh or link.sh started in DIR, and removes its data.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=${1:?usage: down.sh DIR}
[ -d "$dir" ] || exit 0
"$here/kafka.sh" stop "$dir"
disk=
if [ -e "$dir/disk" ]; then disk=$(cat "$dir/disk"); fi
if [ -e "$dir/postgres.dir" ]; then
  "$here/postgres.sh" stop "$dir" immediate
  if [ -n "$disk" ]; then "$here/disk.sh" unmount "$disk"; fi
  rm -rf "$(cat "$dir/postgres.dir")"
fi
"$here/disk.sh" unmount "$dir/kafka"
if [ -e "$dir/link" ]; then "$here/link.sh" down "$dir"; fi
rm -rf "$dir/disk" "$dir/kafka" "$dir/tls" "$dir"/*.log "$dir"/*.properties "$dir"/kafka.* "$dir"/postgres.* "$dir"/env
rmdir "$dir" 2>/dev/null || echo "down: $dir holds other files and stays" >&2
