#!/usr/bin/env bash
# load.sh print SECONDS | load.sh run BROKERS: payments with late reports of fraud, chat messages, and ratings of films with requests for lists.
# `print` writes TOPIC TAB KEY TAB JSON lines, each second of events at once; `run` sends them to Kafka until it is stopped.
#
#   LOAD_RATE=20   events a second, of all kinds together
#   LOAD_SEED=1    the same seed gives the same events, but for their times and ids
#   KAFKA_HOME     where Kafka's bin/ is; default: its tools are on the PATH
set -euo pipefail
action=${1:?usage: load.sh print SECONDS | load.sh run BROKERS}

# One second after another; 0 seconds: without an end. The run's start is in the ids: one that starts again sends other events.
events() {
  local started second
  started=$(date +%s)
  for ((second = 0; $1 == 0 || second < $1; second++)); do
    awk -v now="$(date +%s)" -v started="$started" -v second="$second" -v rate="${LOAD_RATE:-20}" -v seed="${LOAD_SEED:-1}" '
      function any(n) { return int(rand() * n) }
      function event(topic, key, json) { printf "%s\t%s\t%s\n", topic, key, json }
      function payment(    card, terminal, amount, km, id) {
        id = "t" tag; card = "card-" any(200); terminal = "terminal-" any(100)
        amount = 5 + 60 * rand() * rand(); km = 8 * rand() * rand()
        fraud = rand() < 0.02
        if (fraud) { amount *= 12; km *= 30 }
        event("transactions", card, sprintf("{\"id\":\"%s\",\"kind\":\"payment\",\"account\":\"%s\",\"terminal\":\"%s\",\"amount\":%.2f,\"currency\":\"EUR\",\"km\":%.1f,\"time\":%.0f}", id, card, terminal, amount, km, time))
        if (fraud) event("transactions", card, sprintf("{\"id\":\"l%s\",\"kind\":\"label\",\"event_id\":\"%s\",\"account\":\"%s\",\"terminal\":\"%s\",\"fraud\":true,\"time\":%.0f}", tag, id, card, terminal, time))
      }
      function message() {
        conversation = "c" any(50)
        event("chat", conversation, sprintf("{\"id\":\"m%s\",\"conversation\":\"%s\",\"text\":\"%s\",\"time\":%.0f}", tag, conversation, said[1 + any(sayings)], time))
      }
      function rating(    user) {
        user = "u" any(300)
        if (rand() < 0.2) event("clicks", user, sprintf("{\"id\":\"q%s\",\"kind\":\"request\",\"user\":\"%s\",\"time\":%.0f}", tag, user, time))
        else event("clicks", user, sprintf("{\"id\":\"k%s\",\"kind\":\"rate\",\"user\":\"%s\",\"item\":\"film-%d\",\"time\":%.0f}", tag, user, int(120 * rand() * rand()), time))
      }
      BEGIN {
        srand(seed * 100003 + second)
        sayings = split("This is wonderful.|I have waited an hour and nobody answers.|Where do I find my invoice?|Thank you, that was quick!|The card was declined again, I am tired of this.|It works now.|How do I change my address?|Worst service I have ever seen.|Great, exactly what I needed.|The app crashes when I open it.", said, "|")
        for (n = 0; n < rate; n++) {
          tag = sprintf("%s-%d-%d", started, second, n); time = now * 1000 + int(n * 1000 / rate)
          kind = rand()
          if (kind < 0.5) payment(); else if (kind < 0.8) message(); else rating()
        }
      }'
    if [ "$1" = 0 ]; then sleep 1; fi
  done
}

# One producer a topic: the console producer writes to one. What it says goes to stderr: stdout is another producer's input.
send() {
  "${KAFKA_HOME:+$KAFKA_HOME/bin/}kafka-console-producer.sh" --bootstrap-server "$1" --topic "$2" --timeout 5 --reader-property parse.key=true >&2
}

case $action in
  print) events "${2:?usage: load.sh print SECONDS}" ;;
  run)
    brokers=${2:?usage: load.sh run BROKERS}
    events 0 | awk -F '\t' -v OFS='\t' -v chat=/dev/fd/3 -v clicks=/dev/fd/4 '
      { to = $1 == "chat" ? chat : $1 == "clicks" ? clicks : "/dev/stdout"; print $2, $3 > to; fflush(to) }' \
      3> >(send "$brokers" chat) 4> >(send "$brokers" clicks) | send "$brokers" transactions
    ;;
  *)
    echo "load.sh: unknown action $action" >&2
    exit 2
    ;;
esac
