#!/usr/bin/env bash
# acls.sh BROKERS PRINCIPAL PIPELINE INPUT[,INPUT...] OUTPUT DEAD_LETTERS: gives a worker's user what one pipeline needs, and no more:
#
#   its inputs            Read, Describe
#   its group PIPELINE    Read
#   output, dead letters  Write, Describe; Read, by which the publisher tells how a transaction ended that it had no answer for; and
#                         DescribeConfigs, by which `check --connect` compares sizes
#   transactional ids     Write, Describe on all that begin with PIPELINE-
#
# So the user of `risk` may also write under the ids of a pipeline `risk-cards`, and end its producers' transactions. Where pipelines have users of
# their own, let no pipeline's name be the beginning of another's: `risk-transfers` and `risk-cards`.
#
# No Create, Alter or Delete: topics are made by topics.sh. `millrace verify`, `explain` and `adopt` need no more than this. Who runs `millrace
# dead-letters redrive` also writes to the inputs: give that to an operator's user. `millrace replay` needs Read on the inputs, Read on the groups that begin with
# PIPELINE.replay-, Write and Describe on the transactional ids that begin so, and with --publish-to Read, Write and
# Describe on the side topic.
# Once a pipeline; what is there already stays.
#
#   KAFKA_HOME            where Kafka's bin/ is; default: its tools are on the PATH
#   KAFKA_CLIENT_CONFIG   a properties file with the login of an administrator
set -euo pipefail
if (($# != 6)); then
  sed -n '2,21s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
brokers=$1 principal=$2 pipeline=$3 inputs=$4 output=$5 dead_letters=$6
tool=${KAFKA_HOME:+$KAFKA_HOME/bin/}kafka-acls.sh
login=()
if [ -n "${KAFKA_CLIENT_CONFIG:-}" ]; then login=(--command-config "$KAFKA_CLIENT_CONFIG"); fi
allow() {
  "$tool" --bootstrap-server "$brokers" "${login[@]}" --add --force --allow-principal "$principal" "$@"
}
IFS=, read -r -a topics <<<"$inputs"
reads=()
for topic in "${topics[@]}"; do reads+=(--topic "$topic"); done
allow --operation Read --operation Describe "${reads[@]}"
allow --operation Read --group "$pipeline"
allow --operation Read --operation Write --operation Describe --operation DescribeConfigs --topic "$output" --topic "$dead_letters"
allow --operation Write --operation Describe --resource-pattern-type prefixed --transactional-id "$pipeline-"
