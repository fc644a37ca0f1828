#!/usr/bin/env bash
# up.sh DIR: starts a private Kafka and Postgres on free ports of loopback; DIR/env tells their addresses.
# Both take TLS too: Postgres on the same port, Kafka on a second one, as SASL_SSL with the user millrace. DIR/tls holds the authority.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=${1:?usage: up.sh DIR}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
if [ -e "$dir/env" ]; then
  echo "up: services of $dir are up already (or were not taken down: down.sh $dir)" >&2
  exit 1
fi
# What is half up when this ends is taken down again.
up=
end() {
  trap '' INT TERM HUP
  [ -n "$up" ] || "$here/down.sh" "$dir"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
"$here/setup.sh" >/dev/null
"$here/postgres.sh" up "$dir"
"$here/kafka.sh" up "$dir"
cat >"$dir/env" <<ENV
export MILLRACE_KAFKA__BROKERS=$(cat "$dir/kafka.brokers")
export MILLRACE_LOCAL_TLS_BROKERS=$(cat "$dir/kafka.tls-brokers")
export MILLRACE_LOCAL_LIMITED_BROKERS=$(cat "$dir/kafka.limited-brokers")
export MILLRACE_LOCAL_EXPIRED_BROKERS=$(cat "$dir/kafka.expired-brokers")
export MILLRACE_LOCAL_TLS_DIR=$dir/tls
export DATABASE_URL=$(cat "$dir/postgres.url")
ENV
up=1
cat "$dir/env"
echo "# in a shell: . $1/env"
