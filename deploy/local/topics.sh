#!/usr/bin/env bash
# topics.sh NAME...: makes topics of PARTITIONS (4) partitions on the Kafka that MILLRACE_KAFKA__BROKERS names (see `make services-up`).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${MILLRACE_KAFKA__BROKERS:?is not set: start services with make services-up, then: . .services/env}"
jars=$("$here/setup.sh")
for topic in "$@"; do
  # The tool warns of dots in names, which only two topics of nearly the same name would mind.
  java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "-Dlog4j2.configurationFile=$here/log4j2.xml" -Xmx128m -cp "$jars/*" org.apache.kafka.tools.TopicCommand \
    --bootstrap-server "$MILLRACE_KAFKA__BROKERS" --create --if-not-exists --topic "$topic" --partitions "${PARTITIONS:-4}" |
    sed '/limitations in metric names/d'
done
