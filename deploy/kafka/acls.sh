#!/usr/bin/env bash
# acls.sh BROKERS PRINCIPAL PIPELINE INPUT[,INPUT...] OUTPUT DEAD_LETTERS: gives a worker's user what one pipeline needs, and no more:
#
#   its inputs            Read, Describe
#   its group PIPELINE    Read
#   output, dead letters  Write, Describe; Read, by which the publisher tells how a transaction ended that it had no answer for; and
#                         DescribeConfigs, by which `check --connect` compares sizes
#   transactional ids     Write, Describe on all that begin with PIPELINE-
#
# acls.sh --replay BROKERS PRINCIPAL PIPELINE INPUT[,INPUT...] [SIDE_TOPIC]: gives the user of who runs `millrace replay` what that takes, which a
# worker's user does not have:
#
#   the inputs            Read, Describe
#   the group PIPELINE    Describe: how far the live pipeline is
#   groups                Read on all that begin with PIPELINE.replay-
#   transactional ids     Write, Describe on all that begin with PIPELINE.replay-
#   the side topic        Read, Write, Describe: that of `--publish-to`
#
# acls.sh --look BROKERS PRINCIPAL PIPELINE TOPIC[,TOPIC...]: gives the user of who is called at night what Kafka's own commands in docs/runbooks take. It
# changes nothing. The topics are all of the pipeline: inputs, output, dead letters:
#
#   the topics            Read, Describe, DescribeConfigs
#   the group PIPELINE    Describe
#   groups                Read on all that begin with console-consumer-: those of kafka-console-consumer.sh
#   transactional ids     Describe on all: one that may not be seen is shown as a transaction that hangs
#   Kafka's own topics    Read, Describe, DescribeConfigs on __consumer_offsets and __transaction_state: their replicas, and transactions that hang in them
#   the cluster           Describe, DescribeConfigs
#
# `kafka-topics.sh --describe` without a topic fails when the user may Describe some topic and not its settings: let no other grant of his do so.
# Ending a transaction that hangs (kafka-transactions.sh abort) takes ClusterAction: an administrator's.
#
# So the user of `risk` may also write under the ids of a pipeline `risk-cards`, and end its producers' transactions. Where pipelines have users of
# their own, let no pipeline's name be the beginning of another's: `risk-transfers` and `risk-cards`.
#
# No Create, Alter or Delete: topics are made by topics.sh. `millrace verify`, `explain` and `adopt` need no more than a worker's rights. Who runs `millrace
# dead-letters redrive` also writes to the inputs: give that to an operator's user.
# Once a pipeline; what is there already stays.
#
#   KAFKA_HOME            where Kafka's bin/ is; default: its tools are on the PATH
#   KAFKA_CLIENT_CONFIG   a properties file with the login of an administrator
set -euo pipefail
usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0" >&2
  exit 2
}
kind=worker
case ${1:-} in
  --replay | --look)
    kind=${1#--}
    shift
    ;;
esac
case $kind:$# in
  worker:6 | replay:4 | replay:5 | look:4) ;;
  *) usage ;;
esac
brokers=$1 principal=$2 pipeline=$3 inputs=$4 # with --look: all topics
tool=${KAFKA_HOME:+$KAFKA_HOME/bin/}kafka-acls.sh
login=()
if [ -n "${KAFKA_CLIENT_CONFIG:-}" ]; then login=(--command-config "$KAFKA_CLIENT_CONFIG"); fi
allow() {
  "$tool" --bootstrap-server "$brokers" "${login[@]}" --add --force --allow-principal "$principal" "$@"
}
IFS=, read -r -a topics <<<"$inputs"
reads=()
for topic in "${topics[@]}"; do reads+=(--topic "$topic"); done
if [ "$kind" = look ]; then
  allow --operation Read --operation Describe --operation DescribeConfigs "${reads[@]}" --topic __consumer_offsets --topic __transaction_state
  allow --operation Describe --group "$pipeline"
  allow --operation Read --resource-pattern-type prefixed --group console-consumer-
  allow --operation Describe --transactional-id '*'
  allow --operation Describe --operation DescribeConfigs --cluster
  exit
fi
allow --operation Read --operation Describe "${reads[@]}"
if [ "$kind" = replay ]; then
  allow --operation Describe --group "$pipeline"
  allow --operation Read --resource-pattern-type prefixed --group "$pipeline.replay-"
  allow --operation Write --operation Describe --resource-pattern-type prefixed --transactional-id "$pipeline.replay-"
  if (($# == 5)); then allow --operation Read --operation Write --operation Describe --topic "$5"; fi
  exit
fi
output=$5 dead_letters=$6
allow --operation Read --group "$pipeline"
allow --operation Read --operation Write --operation Describe --operation DescribeConfigs --topic "$output" --topic "$dead_letters"
allow --operation Write --operation Describe --resource-pattern-type prefixed --transactional-id "$pipeline-"
