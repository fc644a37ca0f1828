# shellcheck shell=bash
# To be sourced. free_port: prints a port below the ephemeral range on which nothing listens. another_port: sets `chosen` to one that it has not given
# before, though none of them may be bound yet.
free_port() {
  local port
  for _ in $(seq 200); do
    port=$((20000 + RANDOM % 12000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port"; return; fi
  done
  echo "no free port was found" >&2
  return 1
}

taken=' '
another_port() {
  while :; do
    chosen=$(free_port)
    case $taken in *" $chosen "*) ;; *) break ;; esac
  done
  taken="$taken$chosen "
}
