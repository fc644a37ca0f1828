#!/usr/bin/env bash
# run.sh PROGRAM: the doors tried with clients that others have written: a worker over HTTP, a training run's events.
# Needs MILLRACE_KAFKA__BROKERS and DATABASE_URL (see deploy/local/with.sh), Python 3.11 with venv, and a registry that pip reaches.
# The clients stay in the target folder, one set for each list of them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
program=$(realpath "${1:?usage: run.sh PROGRAM}")
: "${MILLRACE_KAFKA__BROKERS:?is not set: run this through make test-clients}" "${DATABASE_URL:?is not set: run this through make test-clients}"
python=${MILLRACE_PYTHON:-python3}

key=$({ "$python" --version; cat "$here/requirements.txt"; } | sha256sum | cut -c1-16)
venv=${CARGO_TARGET_DIR:-$root/target}/clients/$key
if [ ! -e "$venv/.whole" ]; then
  rm -rf "$venv"
  "$python" -m venv "$venv"
  # Wheels alone: nothing is compiled, and no code of a package runs to install it.
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: -r "$here/requirements.txt"
  touch "$venv/.whole"
fi

work=$(mktemp -d /tmp/millrace-clients.XXXXXX)
worker=
end() {
  if [ -n "$worker" ]; then kill "$worker" 2>/dev/null || :; wait "$worker" 2>/dev/null || :; fi
  rm -rf "$work"
}
trap end EXIT

"$program" models import "$root/tests/fixtures/import/llama.gguf" "$work/models/tiny" --dtype f32 >"$work/import.log"
"$program" train --recipe full --from "$root/tests/fixtures/functions/fill" --train "$here/labelled.csv" --out "$work/trained" \
  --epochs 4 --batch 8 --checks 2 --lr 1e-3 >"$work/train.log" 2>&1 || { cat "$work/train.log" >&2; exit 1; }

export MILLRACE_MODELS=$work/models
PARTITIONS=1 "$root/deploy/local/topics.sh" clients clients.out clients.dead >"$work/topics.log"
"$program" migrate --config "$here/millrace.toml" >"$work/migrate.log"
NO_COLOR=1 "$program" run --config "$here/millrace.toml" 2>"$work/worker.log" &
worker=$!
address=
for _ in $(seq 600); do
  address=$(sed -n 's/.*The admin server listens.*address=\([0-9.:]*\).*/\1/p' "$work/worker.log" | head -n 1)
  if [ -n "$address" ] && "$venv/bin/python" "$here/ready.py" "http://$address"; then break; fi
  kill -0 "$worker" 2>/dev/null || { cat "$work/worker.log" >&2; echo "run.sh: the worker ended" >&2; exit 1; }
  address=
  sleep 0.2
done
[ -n "$address" ] || { cat "$work/worker.log" >&2; echo "run.sh: the worker is not ready after two minutes" >&2; exit 1; }

# No client may ask anybody but the worker: what they ask a hub goes to a port where nobody listens.
export HF_ENDPOINT=http://127.0.0.1:9 HF_HOME=$work/hf HF_HUB_DISABLE_TELEMETRY=1
unset HF_HUB_OFFLINE TRANSFORMERS_OFFLINE HF_TOKEN OPENAI_BASE_URL OPENAI_API_KEY
export MILLRACE_CLIENTS_URL=http://$address MILLRACE_CLIENTS_RUN=$work/trained/runs
if ! "$venv/bin/python" -m unittest discover --start-directory "$here" --pattern 'test_*.py' "${@:2}"; then
  tail -n 30 "$work/worker.log" >&2
  exit 1
fi
