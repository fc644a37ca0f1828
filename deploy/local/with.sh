#!/usr/bin/env bash
# with.sh COMMAND...: runs a command beside a private Kafka and Postgres, and leaves nothing running.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d /tmp/millrace-services.XXXXXX)
# Services that a test started for itself, in folders of MILLRACE_SERVICES, go first.
end() {
  local own
  for own in "$dir"/own.*; do if [ -d "$own" ]; then "$here/down.sh" "$own"; fi; done
  "$here/down.sh" "$dir"
}
trap end EXIT
"$here/up.sh" "$dir" >&2
. "$dir/env"
export MILLRACE_SERVICES=$dir
"$@"
