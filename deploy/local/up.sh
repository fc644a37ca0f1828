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
jars=$("$here/setup.sh")

free_port() { # a port below the ephemeral range on which nothing listens
  local port
  for _ in $(seq 200); do
    port=$((20000 + RANDOM % 12000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port"; return; fi
  done
  echo "up: no free port found" >&2
  return 1
}

"$here/certificates.sh" "$dir/tls"

# Postgres refuses root, so it runs as nobody then, in a folder that nobody can reach.
pg_bin=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1) || pg_bin=$(dirname "$(command -v pg_ctl)")
pg_dir=$(mktemp -d /tmp/millrace-postgres.XXXXXX)
echo "$pg_dir" >"$dir/postgres.dir"
echo "$pg_bin" >"$dir/postgres.bin"
pg_port=$(free_port)
as=()
install -m 600 "$dir/tls/server.key" "$dir/tls/server.pem" "$pg_dir"
if [ "$(id -u)" = 0 ]; then
  chown nobody:nogroup "$pg_dir" "$pg_dir"/server.*
  as=(setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME=/tmp)
fi
cd "$pg_dir"
if ! "${as[@]}" "$pg_bin/initdb" -D "$pg_dir/data" -U postgres --auth=trust -E UTF8 --locale=C --no-instructions >"$dir/initdb.log" 2>&1; then
  cat "$dir/initdb.log" >&2
  exit 1
fi
if ! "${as[@]}" "$pg_bin/pg_ctl" -D "$pg_dir/data" -w -t 30 -l "$pg_dir/server.log" \
  -o "-p $pg_port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=200 \
  -c ssl=on -c ssl_cert_file=$pg_dir/server.pem -c ssl_key_file=$pg_dir/server.key" start >"$dir/pg_ctl.log" 2>&1; then
  cat "$pg_dir/server.log" >&2
  exit 1
fi

kafka_port=$(free_port)
secure_port=$(free_port)
while [ "$secure_port" = "$kafka_port" ]; do secure_port=$(free_port); done
controller_port=$(free_port)
while [ "$controller_port" = "$kafka_port" ] || [ "$controller_port" = "$secure_port" ]; do controller_port=$(free_port); done
cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
listeners=PLAINTEXT://127.0.0.1:$kafka_port,SECURE://127.0.0.1:$secure_port,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$kafka_port,SECURE://127.0.0.1:$secure_port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=$dir/tls/kafka.pem
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=$dir/kafka
num.partitions=4
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=8388608
PROPERTIES
log="-Dlog4j2.configurationFile=$here/log4j2.xml"
java "$log" -Xmx256m -cp "$jars/*" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qg --ignore-formatted \
  --add-scram 'SCRAM-SHA-512=[name=millrace,password=millrace-development]' -c "$dir/server.properties" >"$dir/format.log" 2>&1 || { cat "$dir/format.log" >&2; exit 1; }
nohup java "$log" -Xms256m -Xmx512m -cp "$jars/*" kafka.Kafka "$dir/server.properties" >"$dir/kafka.log" 2>&1 </dev/null &
echo $! >"$dir/kafka.pid"
for _ in $(seq 600); do
  if grep -q 'Kafka Server started' "$dir/kafka.log" 2>/dev/null; then ready=1; break; fi
  kill -0 "$(cat "$dir/kafka.pid")" 2>/dev/null || break
  sleep 0.1
done
if [ -z "${ready:-}" ]; then
  tail -n 30 "$dir/kafka.log" >&2
  echo "up: Kafka did not start" >&2
  "$here/down.sh" "$dir"
  exit 1
fi
cat >"$dir/env" <<ENV
export MILLRACE_KAFKA__BROKERS=127.0.0.1:$kafka_port
export MILLRACE_LOCAL_TLS_BROKERS=127.0.0.1:$secure_port
export MILLRACE_LOCAL_TLS_DIR=$dir/tls
export DATABASE_URL=postgres://postgres@127.0.0.1:$pg_port/postgres
ENV
cat "$dir/env"
echo "# in a shell: . $1/env"
