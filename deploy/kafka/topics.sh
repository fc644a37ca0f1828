#!/usr/bin/env bash
# topics.sh BROKERS TOPIC[:PARTITIONS]...: makes the topics that a pipeline reads and writes, with settings for production. Those that are
# there stay as they are.
#
#   PARTITIONS=12         of a topic that does not say it; more workers than partitions stand idle
#   REPLICAS=3            copies of each partition
#   MIN_ISR=2             copies that must have a record before it counts: with 3 copies one broker may be away
#   RETENTION_MS          how long records stay; default: the brokers'. A stateful pipeline reads back as far as `fold_from`
#   SEGMENT_MS            for how long a segment is written; default: the brokers', and with RETENTION_MS a tenth of it, a week at most. Kafka drops whole
#                         segments: long ones go all at once, and the alert MillraceRetentionNear sees it late
#   MAX_MESSAGE_BYTES     of the largest record; default: the brokers'. At least the pipeline's `record_bytes`
#   KAFKA_HOME            where Kafka's bin/ is; default: its tools are on the PATH
#   KAFKA_CLIENT_CONFIG   a properties file with the login of an administrator
set -euo pipefail
if (($# < 2)); then
  sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
brokers=$1
shift
tool=${KAFKA_HOME:+$KAFKA_HOME/bin/}kafka-topics.sh
login=()
if [ -n "${KAFKA_CLIENT_CONFIG:-}" ]; then login=(--command-config "$KAFKA_CLIENT_CONFIG"); fi
settings=(--config "min.insync.replicas=${MIN_ISR:-2}" --config unclean.leader.election.enable=false)
segment=${SEGMENT_MS:-}
if [ -n "${RETENTION_MS:-}" ]; then
  settings+=(--config "retention.ms=$RETENTION_MS")
  # -1 keeps everything; a week is what the brokers have unless they are told otherwise, and ten seconds are for trials.
  if [ -z "$segment" ] && ((RETENTION_MS > 0)); then
    segment=$((RETENTION_MS / 10))
    if ((segment > 604800000)); then segment=604800000; fi
    if ((segment < 10000)); then segment=10000; fi
  fi
fi
if [ -n "$segment" ]; then settings+=(--config "segment.ms=$segment"); fi
if [ -n "${MAX_MESSAGE_BYTES:-}" ]; then settings+=(--config "max.message.bytes=$MAX_MESSAGE_BYTES"); fi
for topic in "$@"; do
  partitions=${PARTITIONS:-12}
  if [[ $topic == *:* ]]; then
    partitions=${topic##*:}
    topic=${topic%:*}
  fi
  # The tool warns of dots in names, which only two topics of nearly the same name would mind.
  "$tool" --bootstrap-server "$brokers" "${login[@]}" --create --if-not-exists --topic "$topic" --partitions "$partitions" \
    --replication-factor "${REPLICAS:-3}" "${settings[@]}" | { grep -v 'limitations in metric names' || :; }
done
