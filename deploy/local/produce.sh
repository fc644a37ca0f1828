#!/usr/bin/env bash
# produce.sh TOPIC: sends each line of standard input as an event to the Kafka that MILLRACE_KAFKA__BROKERS names. A line may begin with
# a key and a tab: events of one key stay in order, and risk and recommend need them keyed by what they look back on.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${MILLRACE_KAFKA__BROKERS:?is not set: start services with make services-up, then: . .services/env}"
: "${1:?name a topic: produce.sh TOPIC}"
jars=$("$here/setup.sh")
java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "-Dlog4j2.configurationFile=$here/log4j2.xml" -Xmx128m -cp "$jars/*" org.apache.kafka.tools.ConsoleProducer \
  --bootstrap-server "$MILLRACE_KAFKA__BROKERS" --topic "$1" --timeout 5 \
  --reader-property parse.key=true --reader-property ignore.error=true --reader-property key.separator=$'\t'
