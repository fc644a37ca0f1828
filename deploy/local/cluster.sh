#!/usr/bin/env bash
# cluster.sh up DIR | start DIR N | stop DIR N | kill DIR N | down DIR: three brokers on free ports of loopback, with three replicas of each topic and two
# that must have it, as in production. DIR/brokers tells their addresses. `kill` ends broker N (1 to 3) at once; `start` brings it back with its data.
set -euo pipefail
action=${1:?usage: cluster.sh up|start|stop|kill|down DIR [N]}
dir=$(cd "${2:?usage: cluster.sh up|start|stop|kill|down DIR [N]}" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/free_port.sh"

case $action in
  up)
    ports=() controllers=() voters=''
    for node in 1 2 3; do
      another_port
      ports+=("$chosen")
      another_port
      controllers+=("$chosen")
      voters="$voters${voters:+,}$node@127.0.0.1:$chosen"
    done
    for node in 1 2 3; do
      mkdir -p "$dir/$node"
      cat >"$dir/$node/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:${ports[node - 1]},CONTROLLER://127.0.0.1:${controllers[node - 1]}
advertised.listeners=PLAINTEXT://127.0.0.1:${ports[node - 1]}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=6000
log.dirs=$dir/$node/kafka
num.partitions=4
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
unclean.leader.election.enable=false
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=3
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
num.network.threads=2
num.io.threads=2
background.threads=2
log.cleaner.dedupe.buffer.size=8388608
PROPERTIES
    done
    # Together: none of them is up before two are.
    pids=()
    for node in 1 2 3; do
      "$here/kafka.sh" start "$dir/$node" &
      pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    echo "127.0.0.1:${ports[0]},127.0.0.1:${ports[1]},127.0.0.1:${ports[2]}" >"$dir/brokers"
    ;;
  start | stop | kill)
    "$here/kafka.sh" "$action" "$dir/${3:?usage: cluster.sh $action DIR N}"
    ;;
  down)
    for node in 1 2 3; do
      if [ -d "$dir/$node" ]; then "$here/kafka.sh" kill "$dir/$node"; fi
    done
    rm -rf "$dir"/[123] "$dir/brokers"
    ;;
  *)
    echo "cluster.sh: unknown action $action" >&2
    exit 2
    ;;
esac
