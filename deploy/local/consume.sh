#!/usr/bin/env bash
# consume.sh TOPIC [COUNT]: prints the first COUNT (1) records of a topic that readers of committed data see, each as its value; waits for
# them up to a minute, on the Kafka that MILLRACE_KAFKA__BROKERS names. With KEYS=1 each line begins with the key and a tab.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${MILLRACE_KAFKA__BROKERS:?is not set: start services with make services-up, then: . .services/env}"
: "${1:?name a topic: consume.sh TOPIC [COUNT]}"
jars=$("$here/setup.sh")
keys=()
if [ -n "${KEYS:-}" ]; then keys=(--formatter-property print.key=true); fi
java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "-Dlog4j2.configurationFile=$here/log4j2.xml" -Xmx128m -cp "$jars/*" org.apache.kafka.tools.consumer.ConsoleConsumer \
  --bootstrap-server "$MILLRACE_KAFKA__BROKERS" --topic "$1" --from-beginning --isolation-level read_committed \
  --max-messages "${2:-1}" --timeout-ms 60000 "${keys[@]}" 2> >(sed '/^Processed a total of\|TimeoutException\|KIP-848/d' >&2) |
  awk -v count="${2:-1}" -v topic="$1" '{ print; fflush() }
    END { if (NR < count) { print "consume.sh: " topic " has " NR " records after a minute, not " count > "/dev/stderr"; exit 1 } }'
