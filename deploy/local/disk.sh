#!/usr/bin/env bash
# disk.sh mount|fill|free|unmount PATH [MIB]: a small disk of its own (a tmpfs of MIB mebibytes) on the folder PATH, for tests that fill one. `fill` takes all
# that is left on it, `free` gives that back. `unmount` does nothing where there is none. Mounting takes root (CAP_SYS_ADMIN).
set -euo pipefail
usage='usage: disk.sh mount|fill|free|unmount PATH [MIB]'
action=${1:?$usage} path=${2:?$usage}
case $action in
  mount)
    if ! mount -t tmpfs -o "size=${3:?$usage}m,mode=0755" millrace-disk "$path"; then
      echo "disk.sh: a disk of its own cannot be mounted on $path: run this as root, in a container with --cap-add SYS_ADMIN" >&2
      exit 1
    fi
    ;;
  fill)
    if ! mountpoint -q "$path"; then
      echo "disk.sh: $path is no disk of its own; it is not filled" >&2
      exit 1
    fi
    if cat /dev/zero >"$path/filler" 2>/dev/null; then
      echo "disk.sh: $path did not become full" >&2
      exit 1
    fi
    ;;
  free) rm -f "$path/filler" ;;
  unmount) if mountpoint -q "$path"; then umount "$path"; fi ;;
  *)
    echo "disk.sh: unknown action $action; $usage" >&2
    exit 2
    ;;
esac
