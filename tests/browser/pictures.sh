#!/usr/bin/env bash
# deploy/local/with.sh tests/browser/pictures.sh MILLRACE FOLDER: pictures of the pages of a real worker, for the documentation. It runs the pipelines of
# deploy/compose.toml under the load of deploy/compose/load.sh for some minutes; a few events cannot be read, and one partition is paused. Midway the worker
# is started again, so that its scores have some from before to be held against.
#
#   PICTURES_SECONDS=240   how long events are sent before the pictures are taken
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
: "${MILLRACE_KAFKA__BROKERS:?run this by deploy/local/with.sh}"
millrace=$(realpath "${1:?usage: pictures.sh MILLRACE FOLDER}")
folder=$(realpath -m "${2:?usage: pictures.sh MILLRACE FOLDER}")
seconds=${PICTURES_SECONDS:-240}
# shellcheck source=deploy/local/free_port.sh
. "$root/deploy/local/free_port.sh"

work=$(mktemp -d)
started=()
end() {
  local pid
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait || true
  rm -rf "$work"
}
trap end EXIT

topics=(transactions chat clicks)
PARTITIONS=1 "$root/deploy/local/topics.sh" transactions clicks transactions.scored transactions.dead-letters recommendations clicks.dead-letters
PARTITIONS=4 "$root/deploy/local/topics.sh" chat chat.sentiments chat.dead-letters
config=$root/deploy/compose.toml
port=$(free_port)
export MILLRACE_ADMIN__LISTEN=127.0.0.1:$port
"$millrace" migrate --config "$config" >/dev/null
start_worker() {
  "$millrace" run --config "$config" >>"$work/worker.log" 2>&1 &
  worker=$!
  started+=("$worker")
}
start_worker
for topic in "${topics[@]}"; do
  mkfifo "$work/$topic"
  "$root/deploy/local/produce.sh" "$topic" <"$work/$topic" >/dev/null 2>"$work/$topic.log" &
  started+=($!)
done
exec 3>"$work/transactions" 4>"$work/chat" 5>"$work/clicks"

# One second of events after another, until this script ends.
load() {
  local second
  for ((second = 1; ; second++)); do
    LOAD_RATE=${LOAD_RATE:-120} LOAD_SEED=$second "$root/deploy/compose/load.sh" print 1 | awk -F '\t' -v OFS='\t' \
      '{ to = $1 == "chat" ? "/dev/fd/4" : $1 == "clicks" ? "/dev/fd/5" : "/dev/fd/3"; print $2, $3 > to }'
    if ((second % 30 == 10)); then printf 'card-9\t{"id":"cut off\n' >&3; fi
    if ((second % 30 == 20)); then printf 'card-9\t{"id":"b%s","kind":"payment","account":"card-9","time":1}\n' "$second" >&3; fi
    sleep 1
  done
}
load &
started+=($!)
sleep "$((seconds / 2))"
kill "$worker"
wait "$worker"
start_worker
sleep "$((seconds - seconds / 2))"
"$millrace" pause --config "$config" --pipeline sentiment --topic chat --partition 3 --reason 'its producer is being mended' --by ann >/dev/null
sleep 10
curl -fsS "http://$MILLRACE_ADMIN__LISTEN/readyz" >/dev/null || { cat "$work/worker.log" >&2; exit 1; }
"$here/run.sh" pictures.mjs "http://$MILLRACE_ADMIN__LISTEN" "$folder"
