#!/usr/bin/env bash
# run.sh PROGRAM: a worker beside a registry that others have written (Apicurio Registry, by its Confluent protocol), and Confluent's own
# serialisers as producers. Needs MILLRACE_KAFKA__BROKERS and DATABASE_URL (see deploy/local/with.sh), Java 17, Maven with a repository, and
# Python 3.11 with venv and a registry that pip reaches. The registry keeps everything in memory; what was fetched stays in the target folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
program=$(realpath "${1:?usage: run.sh PROGRAM}")
: "${MILLRACE_KAFKA__BROKERS:?is not set: run this through make test-registry}" "${DATABASE_URL:?is not set: run this through make test-registry}"
version=2.6.13.Final
kept=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}/registry")
mkdir -p "$kept"

if [ ! -e "$kept/apicurio-$version/.whole" ]; then
  mvn -q -B dependency:copy -Dartifact=io.apicurio:apicurio-registry-app:$version:tar.gz:all -DoutputDirectory="$kept"
  mkdir -p "$kept/apicurio-$version"
  tar xzf "$kept/apicurio-registry-app-$version-all.tar.gz" -C "$kept/apicurio-$version"
  rm "$kept/apicurio-registry-app-$version-all.tar.gz"
  touch "$kept/apicurio-$version/.whole"
fi
key=$(sha256sum <"$here/requirements.txt" | cut -c1-16)
venv=$kept/python-$key
if [ ! -e "$venv/.whole" ]; then
  rm -rf "$venv"
  "${MILLRACE_PYTHON:-python3}" -m venv "$venv"
  # Wheels alone: nothing is compiled, and no code of a package runs to install it.
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: -r "$here/requirements.txt"
  touch "$venv/.whole"
fi

work=$(mktemp -d /tmp/millrace-registry.XXXXXX)
registry='' worker=''
end() {
  for process in "$worker" "$registry"; do
    if [ -n "$process" ]; then kill "$process" 2>/dev/null || :; wait "$process" 2>/dev/null || :; fi
  done
  rm -rf "$work"
}
trap end EXIT

port=$("$venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd "$kept/apicurio-$version" && exec java -Xmx400m -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$port" \
  -cp "apicurio-registry-app-$version-runner.jar:lib/*" io.quarkus.runner.GeneratedMain) >"$work/registry.log" 2>&1 &
registry=$!
export MILLRACE_SCHEMA_REGISTRY__URL=http://127.0.0.1:$port/apis/ccompat/v7
for _ in $(seq 300); do
  if curl -sf "$MILLRACE_SCHEMA_REGISTRY__URL/subjects" >/dev/null; then break; fi
  kill -0 "$registry" 2>/dev/null || { cat "$work/registry.log" >&2; echo "run.sh: the registry ended" >&2; exit 1; }
  sleep 0.2
done

PARTITIONS=1 "$root/deploy/local/topics.sh" written.avro written.protobuf written.json avro.out protobuf.out json.out written.dead >"$work/topics.log"
"$program" migrate --config "$here/millrace.toml" >"$work/migrate.log"
"$venv/bin/python" "$here/check.py" produce
"$program" check --connect --config "$here/millrace.toml" | grep -i 'schema registry'
NO_COLOR=1 "$program" run --config "$here/millrace.toml" 2>"$work/worker.log" &
worker=$!
if ! "$venv/bin/python" "$here/check.py" compare; then
  tail -n 30 "$work/worker.log" >&2
  exit 1
fi
kill "$worker"
wait "$worker"
worker=
echo "A registry and serialisers of others: read as they were written."
