#!/usr/bin/env bash
# kafka.sh up|start|stop|kill|freeze|thaw DIR: a private Kafka on a free port of loopback. `up` makes it, `kill` ends it at
# once, `start` brings it back on the same port with its data, `freeze` stops the process where it stands. DIR/kafka.brokers
# tells its address. A second port speaks SASL_SSL to the user millrace: DIR/kafka.tls-brokers and DIR/tls. A third speaks SASL_PLAINTEXT to the
# user limited (password limited-development), who may do nothing but what ACLs allow: DIR/kafka.limited-brokers. A fourth speaks SSL with a
# certificate whose time is over: DIR/kafka.expired-brokers. With KAFKA_PROXIED=PORT clients of one more, DIR/kafka.behind, are told to come to
# 127.0.0.1:PORT, where a proxy is. With MILLRACE_ALSO_AT=ADDRESS it listens there too: DIR/kafka.there. KAFKA_BROKER_SESSION_MS: how long the
# controller waits for a broker before its partitions have no leader. MILLRACE_DISK_MIB=N puts its logs on a disk of N MiB: DIR/disk names it,
# disk.sh fills it.
set -euo pipefail
action=${1:?usage: kafka.sh up|start|stop|kill|freeze|thaw DIR}
dir=$(cd "${2:?usage: kafka.sh up|start|stop|kill|freeze|thaw DIR}" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/free_port.sh"
log="-Dlog4j2.configurationFile=$here/log4j2.xml"

start() {
  local jars
  jars=$("$here/setup.sh")
  if [ ! -e "$dir/kafka/meta.properties" ]; then
    java "$log" -Xmx256m -cp "$jars/*" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qg --ignore-formatted \
      --add-scram 'SCRAM-SHA-512=[name=millrace,password=millrace-development]' -c "$dir/server.properties" >"$dir/format.log" 2>&1 || { cat "$dir/format.log" >&2; exit 1; }
  fi
  nohup java "$log" -Xms256m -Xmx512m -cp "$jars/*" kafka.Kafka "$dir/server.properties" >"$dir/kafka.log" 2>&1 </dev/null &
  echo $! >"$dir/kafka.pid"
  for _ in $(seq 600); do
    if grep -q 'Kafka Server started' "$dir/kafka.log" 2>/dev/null; then return; fi
    kill -0 "$(cat "$dir/kafka.pid")" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 30 "$dir/kafka.log" >&2
  echo "kafka.sh: Kafka did not start" >&2
  exit 1
}

# Whether the stored number is still this folder's Kafka: a number comes again, and somebody else's process must not be touched.
is_ours() {
  [ -e "$dir/kafka.pid" ] && grep -zqxF -- "$dir/server.properties" "/proc/$(cat "$dir/kafka.pid")/cmdline" 2>/dev/null
}

# Sends a signal to this folder's Kafka.
tell() {
  if ! is_ours; then
    echo "kafka.sh: no Kafka of $dir is running" >&2
    return 1
  fi
  kill "$1" "$(cat "$dir/kafka.pid")"
}

# Ends the broker, by force when it takes longer than 15 s, and waits until it is gone.
stop() {
  if is_ours; then
    tell "$1"
    if is_ours; then tell -CONT 2>/dev/null || :; fi # It may be frozen, or gone by now.
    for _ in $(seq 150); do is_ours || break; sleep 0.1; done
    if is_ours; then tell -KILL; fi
  fi
  rm -f "$dir/kafka.pid"
}

case $action in
  up)
    [ -d "$dir/tls" ] || "$here/certificates.sh" "$dir/tls"
    if [ -n "${MILLRACE_DISK_MIB:-}" ]; then
      mkdir "$dir/kafka"
      "$here/disk.sh" mount "$dir/kafka" "$MILLRACE_DISK_MIB"
      echo "$dir/kafka" >"$dir/disk"
    fi
    another_port
    port=$chosen
    another_port
    secure_port=$chosen
    another_port
    limited_port=$chosen
    another_port
    controller_port=$chosen
    another_port
    expired_port=$chosen
    more_listeners='' more_addresses='' more_protocols=''
    if [ -n "${KAFKA_PROXIED:-}" ]; then
      another_port
      more_listeners+=",PROXIED://127.0.0.1:$chosen"
      more_addresses+=",PROXIED://127.0.0.1:$KAFKA_PROXIED"
      more_protocols+=,PROXIED:PLAINTEXT
      echo "127.0.0.1:$chosen" >"$dir/kafka.behind"
    fi
    if [ -n "${MILLRACE_ALSO_AT:-}" ]; then
      another_port
      more_listeners+=",THERE://$MILLRACE_ALSO_AT:$chosen"
      more_addresses+=",THERE://$MILLRACE_ALSO_AT:$chosen"
      more_protocols+=,THERE:PLAINTEXT
      echo "$MILLRACE_ALSO_AT:$chosen" >"$dir/kafka.there"
    fi
    # A broker session of 1.5 s: after `kill` the next start need not wait for the old registration to lapse. A machine that stands still for longer
    # fences its only broker.
    cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
listeners=PLAINTEXT://127.0.0.1:$port,SECURE://127.0.0.1:$secure_port,LIMITED://127.0.0.1:$limited_port,EXPIRED://127.0.0.1:$expired_port,CONTROLLER://127.0.0.1:$controller_port$more_listeners
advertised.listeners=PLAINTEXT://127.0.0.1:$port,SECURE://127.0.0.1:$secure_port,LIMITED://127.0.0.1:$limited_port,EXPIRED://127.0.0.1:$expired_port$more_addresses
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,LIMITED:SASL_PLAINTEXT,EXPIRED:SSL,CONTROLLER:PLAINTEXT$more_protocols
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:millrace
listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.limited.sasl.enabled.mechanisms=PLAIN
listener.name.limited.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_limited="limited-development";
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=$dir/tls/kafka.pem
listener.name.expired.ssl.keystore.type=PEM
listener.name.expired.ssl.keystore.location=$dir/tls/kafka-expired.pem
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=${KAFKA_BROKER_SESSION_MS:-1500}
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
    start
    echo "127.0.0.1:$port" >"$dir/kafka.brokers"
    echo "127.0.0.1:$secure_port" >"$dir/kafka.tls-brokers"
    echo "127.0.0.1:$limited_port" >"$dir/kafka.limited-brokers"
    echo "127.0.0.1:$expired_port" >"$dir/kafka.expired-brokers"
    ;;
  start) start ;;
  stop) stop -TERM ;;
  kill) stop -KILL ;;
  freeze) tell -STOP ;;
  thaw) tell -CONT ;;
  *)
    echo "kafka.sh: unknown action $action" >&2
    exit 2
    ;;
esac
